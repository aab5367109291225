"""What is installed beside us: within our ranges, licensed as we allow, and nobody in our place.

`make audit`, a part of `make check`, needs no network and writes a bill of materials (CycloneDX)
to build/sbom.json. `make audit-online` asks for known vulnerabilities, and says so when nobody
answers.

Runs in: a terminal (reads installed packages, writes build/).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
OURS = "watchkeeper"
#: Packages of ours; a distribution that brings one of the same name would be imported in its place.
_OUR_PACKAGES = frozenset({"runner", "watchdog", "jobs"})
#: What must not be here, and why.
_BANNED: Mapping[str, str] = {
    "watchdog": "its module has the name of our package watchdog",
    "rfc3987-syntax": "jsonschema imports it, and every process of Ray starts a second later",
}

#: Licences that let us use and ship with the parts unmodified. MPL-2.0 binds only its own files.
_ALLOWED = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT",
        "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
        "LLVM-exception",
    }
)  # fmt: skip
#: What packages without an SPDX expression write instead.
_SPELLINGS: Mapping[str, str] = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd license": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "dfsg approved": "",
    "osi approved": "",
}
#: Read in the package's own licence file, since its metadata is silent.
_STATED: Mapping[str, str] = {"promql-parser": "MIT"}
#: The packages in a list of installed files; to parse the whole of it takes seconds.
_PACKAGE = re.compile(r"^([^/,\n]+)/__init__\.py,", re.MULTILINE)
#: What NVIDIA lets be installed beside torch, not shipped; the image's base decides about it.
_BESIDE_TORCH = re.compile(r"nvidia-.*|cuda-.*|triton")


@dataclass(frozen=True, slots=True)
class Installed:
    """A distribution by what its metadata says."""

    name: str
    version: str
    licence: str
    packages: frozenset[str]


def problems(installed: Sequence[Installed], wanted: Iterable[Requirement]) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong."""
    by_name = {normal(one.name): one for one in installed}
    for requirement in wanted:
        found = by_name.get(normal(requirement.name))
        if found is None:
            yield f"{requirement} is not installed; make setup installs it"
        elif not requirement.specifier.contains(found.version, prereleases=True):
            yield f"{found.name} {found.version} is installed, but pyproject wants {requirement}"
    for one in installed:
        if reason := _BANNED.get(normal(one.name)):
            yield f"{one.name} {one.version} is installed: {reason}; uninstall it"
        stolen = one.packages & _OUR_PACKAGES
        if stolen and normal(one.name) != OURS:
            yield f"{one.name} {one.version} brings a package called {', '.join(sorted(stolen))}"
        if not is_allowed(one):
            yield (
                f"{one.name} {one.version} has the licence {one.licence or '(none said)'}, which "
                "is not among those that deploy/audit.py allows"
            )


def is_allowed(one: Installed) -> bool:
    """Whether we may use a distribution: of what it offers by `OR`, one way must be allowed."""
    name = normal(one.name)
    licence = _STATED.get(name, one.licence)
    if name == OURS or _BESIDE_TORCH.fullmatch(name):
        return True
    ways = re.split(r"\s+OR\s+", licence.replace("(", " ").replace(")", " "))
    return any(
        _is_way_allowed(way) for way in ([licence] if licence.lower() in _SPELLINGS else ways)
    )


def _is_way_allowed(way: str) -> bool:
    parts = [part.strip() for part in re.split(r"\s+(?:AND|WITH)\s+", way)]
    named = [_SPELLINGS.get(part.lower(), part) for part in parts]
    return any(named) and all(part in _ALLOWED for part in named if part)


def normal(name: str) -> str:
    """Return the name of a distribution as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(pyproject: Path) -> list[Requirement]:
    """Return what our pyproject asks for, extras included, where its markers apply here."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        texts += extra
    found = [Requirement(text) for text in texts]
    return [one for one in found if one.marker is None or one.marker.evaluate()]


def all_installed() -> list[Installed]:
    """Return the distributions of this environment, each once."""
    found: dict[str, Installed] = {}
    for one in metadata.distributions():
        packages = _PACKAGE.findall(one.read_text("RECORD") or "")
        found.setdefault(
            normal(one.name),
            Installed(one.name, one.version, _licence(one.metadata), frozenset(packages)),
        )
    return sorted(found.values(), key=lambda one: normal(one.name))


def _licence(about: metadata.PackageMetadata) -> str:
    for expression in about.get_all("License-Expression") or []:
        return str(expression)
    classifiers = about.get_all("Classifier") or []
    named = [str(text).split(" :: ")[-1] for text in classifiers if text.startswith("License ::")]
    first = next((str(text).strip() for text in about.get_all("License") or []), "")
    return " AND ".join(named) or next(iter(first.splitlines()), "")


def unanswered(report: Mapping[str, object]) -> tuple[int, int]:
    """Return how many packages of pip-audit's report nobody could tell about, and how many all."""
    rows = report.get("dependencies")
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return sum("skip_reason" in row for row in found), len(found)


def main() -> int:
    """Check, and write the bill of materials; return 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m deploy.audit", description=__doc__)
    parser.add_argument("--online", action="store_true", help="ask for known vulnerabilities")
    args = parser.parse_args()
    return _ask_online() if args.online else _check()


def _tools() -> str:
    """Return the interpreter of the environment that holds the tools; `make audit` makes it."""
    ours = Path(sys.prefix)
    return str(ours.with_name(f"{ours.name}-audit") / "bin" / "python")


def _check() -> int:
    installed = all_installed()
    found = list(problems(installed, requirements(ROOT / "pyproject.toml")))
    pip = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    if pip.returncode:
        found += [f"pip check: {line}" for line in (pip.stdout + pip.stderr).splitlines()]
    for sentence in found:
        sys.stderr.write(f"error: {sentence}\n")
    bill = ROOT / "build" / "sbom.json"
    bill.parent.mkdir(exist_ok=True)
    command = [_tools(), "-m", "cyclonedx_py", "environment", sys.executable]
    command += ["--output-reproducible"]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "application"]
    command += ["--output-format", "JSON", "--output-file", str(bill)]
    subprocess.run(command, check=True, capture_output=True)
    parts = len(json.loads(bill.read_text(encoding="utf-8"))["components"])
    sys.stdout.write(
        f"audit: {len(installed)} distributions, {len(found)} problems; bill of materials of "
        f"{parts} parts in {bill.relative_to(ROOT)}\n"
    )
    return 1 if found else 0


def _ask_online() -> int:
    command = [_tools(), "-m", "pip_audit", "--path", sysconfig.get_paths()["purelib"]]
    command += ["--format", "json"]
    command += ["--progress-spinner", "off", "--timeout", "30"]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        sys.stderr.write(
            f"error: pip-audit could not reach its database, nothing is known: {last}\n"
        )
        return 2
    unknown, total = unanswered(report)
    if unknown >= total - 1:  # our own package is on no index
        sys.stderr.write(
            f"error: the database knows none of the {total} packages; likely it is not PyPI's own "
            "index that pip uses here; nothing is known of their vulnerabilities\n"
        )
        return 2
    found = [
        (row["name"], row["version"], row["vulns"])
        for row in report["dependencies"]
        if row.get("vulns")
    ]
    for name, version, vulnerabilities in found:
        ids = ", ".join(one["id"] for one in vulnerabilities)
        fixes = sorted({fix for one in vulnerabilities for fix in one.get("fix_versions", ())})
        sys.stderr.write(
            f"error: {name} {version}: {ids}; mended in {', '.join(fixes) or 'none yet'}\n"
        )
    sys.stdout.write(
        f"audit: {total - unknown} of {total} packages asked for, {len(found)} vulnerable\n"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
