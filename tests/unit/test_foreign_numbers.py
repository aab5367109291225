import math

import pytest

from watchdog.foreign_logs.numbers import is_logged, number


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3.0),
        ("2.5e-3", 0.0025),
        (" '1.5' ", 1.5),
        ("85 %", 85.0),
        ("tensor(2.3)", 2.3),
        ("tensor(2.3, device='cuda:0', grad_fn=<NllLossBackward0>)", 2.3),
        ("[0.001]", 0.001),
        ("np.float64(0.5)", 0.5),
        (10**400, math.inf),
        (-(10**400), -math.inf),
    ],
)
def test_spelling_of_a_number_is_read(value: object, expected: float) -> None:
    assert number(value) == expected


@pytest.mark.parametrize("text", ["NaN", "nan", "NAN", "-nan", "-nan(ind)", "1.#QNAN", "-1.#IND"])
def test_nan_is_a_number_in_all_spellings(text: str) -> None:
    value = number(text)
    assert value is not None
    assert math.isnan(value)


@pytest.mark.parametrize("text", ["inf", "Infinity", "INF", "+inf", "1.#INF", "tensor(inf)"])
def test_infinity_is_a_number_in_all_spellings(text: str) -> None:
    assert number(text) == math.inf


def test_infinity_keeps_its_sign() -> None:
    assert [number(text) for text in ("-inf", "-Infinity", "-1.#INF")] == [-math.inf] * 3


@pytest.mark.parametrize("value", [None, "", "  ", "NA", "N/A", "None", "null", "-"])
def test_what_was_not_logged_is_none_and_not_zero(value: object) -> None:
    assert number(value) is None
    assert not is_logged(value)


@pytest.mark.parametrize("value", [True, "high", "1.2.3", [1, 2], {}, "[1, 2]", "0x", "%"])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        number(value)
