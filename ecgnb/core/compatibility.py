"""Check installed versions: known problems, missing requirements, optional extras.

The package pins nothing, so that it fits into an existing environment. Lower bounds
are read from its metadata; problems above them are in `KNOWN`, each with its source.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ecgnb.core.errors import EcgnbError

NAME = "ecgnb"

#: Extras for developers of ecgnb.
DEVELOPERS = ("test", "dev")


class Known(NamedTuple):
    """A known problem of some versions of a package.

    Attributes:
        package: its name, or "python".
        versions: the versions with the problem, as pip writes them.
        status: "fail" stops a run, "warn" may spoil one.
        problem: what breaks.
        advice: what to do, in one sentence or command.
        source: the report, or the versions it was seen with.
        other: another package or "python" that must be installed for the problem.
        other_versions: versions of the other one.
    """

    package: str
    versions: str
    status: str
    problem: str
    advice: str
    source: str
    other: str = ""
    other_versions: str = ""


KNOWN = (
    Known(
        "torch",
        "<2.10",
        "warn",
        "a checkpoint made for it can corrupt memory, also with weights_only=True",
        'pip install "torch>=2.10" before you open checkpoints of people you do not '
        "know.",
        "CVE-2026-24747",
    ),
    Known(
        "wfdb",
        "<4.3.1",
        "warn",
        "importing it raises TypeError, so packed WFDB formats and annotations cannot "
        "be read",
        'pip install "wfdb>=4.3.1"',
        "seen with 4.2.0, 4.3.0 and pandas 3.1.1",
        "pandas",
        ">=3",
    ),
    Known(
        "papermill",
        "<2.8",
        "warn",
        "it is not released for Python 3.14 yet: its own test of a failing notebook "
        "fails there",
        "Look into the executed notebook when `ecgnb run` ends early, or use Python "
        "3.13.",
        "papermill issue 841",
        "python",
        ">=3.14",
    ),
)


class Verdict(NamedTuple):
    """One result: ``status`` ("pass", "warn", "fail"), ``finding``, ``what_to_do``."""

    status: str
    finding: str
    what_to_do: str = ""


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of all packages that are checked, where
    installed.
    """
    names = {known.package for known in KNOWN}
    names.update(requirement.name for requirement in _all_requirements())
    # Without "rc1" or "+", as platform.python_version() may have them.
    versions = {"python": "{}.{}.{}".format(*sys.version_info)}
    for name in sorted(names):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def judge_versions(installed: Mapping[str, str]) -> Iterator[Verdict]:
    """Judge the installed versions.

    Args:
        installed: the version of "python" and of each package, from
            `installed_versions`.

    Yields:
        One verdict per problem, and one for all packages without any.
    """
    with_problems = set()
    for known in KNOWN:
        if _applies(known, installed):
            with_problems.add(known.package)
            finding = f"{known.package} {installed[known.package]}"
            if known.other:
                finding += f" with {known.other} {installed[known.other]}"
            finding += f": {known.problem} ({known.source})."
            yield Verdict(known.status, finding, known.advice)
    good = [f"python {installed['python']}"]
    for requirement in _requirements():
        name, versions = requirement.name, requirement.specifier
        version = installed.get(name, "is not installed")
        if not _is_installed(name, versions, installed):
            finding = f"{name} {version}: {NAME} needs {name}{versions}."
            yield Verdict("fail", finding, f'pip install "{requirement}"')
        elif name not in with_problems:
            good.append(f"{name} {version}")
    yield Verdict("pass", f"no known problem with {', '.join(good)}")


def judge_extras(installed: Mapping[str, str]) -> Verdict:
    """Return which extras are installed and how to install the others; ``installed`` as
    for `judge_versions`.
    """
    present, missing = [], []
    for extra in extras():
        if all(
            _is_installed(requirement.name, requirement.specifier, installed)
            for requirement in extra_requirements(extra)
        ):
            present.append(extra)
        else:
            missing.append(extra)
    finding = f"installed: {', '.join(present) or 'none'}"
    advice = ""
    if missing:
        finding += f"; not installed: {', '.join(missing)}"
        advice = f'Where you need them: pip install "{NAME}[{",".join(missing)}]"'
    return Verdict("pass", finding, advice)


def refuse_broken() -> None:
    """Raise an `EcgnbError` if an installed version stops a run; none of the packages
    is imported for it.
    """
    lines = ["This installation cannot work as it is:"]
    for verdict in judge_versions(installed_versions()):
        if verdict.status == "fail":
            lines.append(f"- {verdict.finding} {verdict.what_to_do}")
    if len(lines) > 1:
        raise EcgnbError("\n".join(lines))


def extras() -> list[str]:
    """Return the names of the extras for users, from the metadata of the installed
    package; none if it is not installed.
    """
    try:
        names = importlib.metadata.metadata(NAME).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [name for name in names if name not in DEVELOPERS]


def extra_requirements(extra: str) -> list[Requirement]:
    """Return what an extra installs on this machine, beyond what is always required."""
    required = _requirements()
    return [other for other in _requirements(extra) if other not in required]


def _requirements(extra: str = "") -> list[Requirement]:
    """Return what is required on this machine with an extra; "" is none."""
    requirements = []
    for requirement in _all_requirements():
        marker = requirement.marker  # such as: sys_platform == "win32", extra == "port"
        if marker is None or marker.evaluate({"extra": extra}):
            requirements.append(requirement)
    return requirements


def _all_requirements() -> list[Requirement]:
    """Return the requirements of the installed package on any machine and with any
    extra, none if it is not installed.
    """
    try:
        return list(map(Requirement, importlib.metadata.requires(NAME) or []))
    except importlib.metadata.PackageNotFoundError:
        return []


def _applies(known: Known, installed: Mapping[str, str]) -> bool:
    if not _is_installed(known.package, SpecifierSet(known.versions), installed):
        return False
    other_versions = SpecifierSet(known.other_versions)
    return not known.other or _is_installed(known.other, other_versions, installed)


def _is_installed(
    name: str, versions: SpecifierSet, installed: Mapping[str, str]
) -> bool:
    version = installed.get(name)
    # A prerelease counts too: 2.10.0rc1 of PyTorch has what 2.10 has.
    return version is not None and versions.contains(version, prereleases=True)
