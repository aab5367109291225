from bench.detectors_page import PAGE, page
from watchdog.detectors import DETECTORS


def test_page_of_the_detectors_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m bench.detectors_page"


def test_what_is_only_told_is_marked_so() -> None:
    told = {name for name in DETECTORS if f"| [{name}]" in page() and _is_told_only(name)}
    assert told == {"gradients", "overfitting", "stall", "straggler", "unstable_validation"}


def _is_told_only(name: str) -> bool:
    row = next(line for line in page().splitlines() if line.startswith(f"| [{name}]"))
    return row.endswith("told only |")
