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
    names = {item.name for item in _requirements()}
    names.update(known.package for known in KNOWN)
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
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
    required = _required()
    for requirement in required:
        if not _satisfied(requirement, installed):
            name = requirement.name
            with_problems.add(name)
            version = installed.get(name, "is not installed")
            finding = f"{name} {version}: {NAME} needs {name}{requirement.specifier}."
            yield Verdict("fail", finding, f'pip install "{requirement}"')
    good = [f"python {installed['python']}"]
    for requirement in required:
        if requirement.name not in with_problems:
            good.append(f"{requirement.name} {installed[requirement.name]}")
    yield Verdict("pass", f"no known problem with {', '.join(good)}")


def judge_extras(installed: Mapping[str, str]) -> Verdict:
    """Return which extras are installed and how to install the others; ``installed`` as
    for `judge_versions`.
    """
    present, missing = [], []
    for extra in extras():
        requirements = extra_requirements(extra)
        if all(_satisfied(requirement, installed) for requirement in requirements):
            present.append(extra)
        else:
            missing.append(extra)
    finding = f"installed: {', '.join(present) or 'none'}"
    if not missing:
        return Verdict("pass", finding)
    return Verdict(
        "pass",
        f"{finding}; not installed: {', '.join(missing)}",
        f'Where you need them: pip install "{NAME}[{",".join(missing)}]"',
    )


def refuse_broken() -> None:
    """Raise an `EcgnbError` if an installed version stops a run; none of the packages
    is imported for it.
    """
    verdicts = judge_versions(installed_versions())
    failed = [verdict for verdict in verdicts if verdict.status == "fail"]
    if failed:
        lines = [f"- {verdict.finding} {verdict.what_to_do}" for verdict in failed]
        raise EcgnbError("This installation cannot work as it is:\n" + "\n".join(lines))


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
    required = _required()
    requirements = []
    for requirement in _requirements():
        marker = requirement.marker  # such as: extra == "port"
        if requirement in required or marker is None:
            continue
        if marker.evaluate({"extra": extra}):
            requirements.append(requirement)
    return requirements


def _required() -> list[Requirement]:
    """Return what the package requires on this machine without any extra."""
    required = []
    for requirement in _requirements():
        marker = requirement.marker  # such as: sys_platform == "win32"
        if marker is None or marker.evaluate({"extra": ""}):
            required.append(requirement)
    return required


def _requirements() -> list[Requirement]:
    """Return all requirements of the installed package, none if it is not installed."""
    try:
        texts = importlib.metadata.requires(NAME) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Requirement(text) for text in texts]


def _applies(known: Known, installed: Mapping[str, str]) -> bool:
    if not _within(known.versions, installed.get(known.package)):
        return False
    return not known.other or _within(known.other_versions, installed.get(known.other))


def _satisfied(requirement: Requirement, installed: Mapping[str, str]) -> bool:
    return _within(str(requirement.specifier), installed.get(requirement.name))


def _within(versions: str, version: str | None) -> bool:
    return version is not None and SpecifierSet(versions).contains(
        version, prereleases=True
    )
