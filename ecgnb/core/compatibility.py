"""Which versions break, what breaks and what to do; and which extras are installed.

The package pins nothing, so that it fits into a laboratory's environment. Its lower
bounds stand in its metadata and are read from there; what is known to break above them
stands here, each with the place where it was reported, or with the versions that it was
seen with.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ecgnb.core.errors import EcgnbError

NAME = "ecgnb"

#: Packages of which the preflight tells in any case what is known: most of what breaks,
#: breaks with them.
ALWAYS = ("torch", "numpy", "pandas")

#: Extras for those who work on ecgnb itself.
DEVELOPERS = ("test", "dev")

#: The newest versions that the tests are run with; ``requirements.txt`` installs them.
NEWEST_TESTED = {
    "python": "3.14",
    "torch": "2.13.0",
    "numpy": "2.4.6",
    "pandas": "3.1.1",
    "scipy": "1.17.1",
    "scikit-learn": "1.9.1",
    "jinja2": "3.1.6",
    "matplotlib": "3.11.2",
    "seaborn": "0.13.2",
    "wfdb": "4.3.1",
    "jupyterlab": "4.6.6",
    "papermill": "2.7.0",
    "nbval": "0.11.0",
    "tqdm": "4.70.1",
    "lightning-fabric": "2.6.6",
    "safetensors": "0.8.0",
    "joblib": "1.6.0",
    "packaging": "26.3",
    "h5py": "3.16.0",
    "huggingface-hub": "2.4.0",
}


class Known(NamedTuple):
    """Something known about some versions of a package.

    Attributes:
        package: its name, or "python".
        versions: the versions that it is true of, as pip writes them.
        status: "fail" stops a run, "warn" may spoil one, "pass" is good to know.
        what: what breaks, or behaves otherwise than before.
        what_to_do: in one sentence or command.
        source: the report, or the versions that it was seen with.
        other: another package or "python", where it is true only together with that.
        other_versions: of the other one.
    """

    package: str
    versions: str
    status: str
    what: str
    what_to_do: str
    source: str
    other: str = ""
    other_versions: str = ""


_STOLEN = (
    "it steals passwords and tokens as soon as it is imported",
    "Uninstall it, and change all passwords and tokens that this machine knows.",
    "GHSA-w37p-236h-pfx3",
)

#: What is known, the packages in no order.
KNOWN: tuple[Known, ...] = (
    Known(
        "torch", "<2.6", "fail",
        "a checkpoint can run programs on this machine, also with weights_only=True",
        'pip install "torch>=2.6"', "CVE-2025-32434",
    ),
    Known(
        "torch", ">=2.6,<2.10", "warn",
        "a checkpoint made for it can corrupt memory, also with weights_only=True",
        'pip install "torch>=2.10" before you open checkpoints of people you do not know.', "CVE-2026-24747",
    ),
    Known(
        "torch", ">=2.6", "pass",
        "torch.load refuses checkpoints that hold more than weights",
        "`ecgnb checkpoint inspect FILE` tells what one holds.", "release notes of 2.6",
    ),
    Known(
        "numpy", ">=2.4", "pass",
        "float() and int() of an array with one element raise TypeError",
        "In transforms of your own, take `.item()`.", "release notes of 2.4",
    ),
    Known(
        "pandas", "<2.2.2", "fail",
        "it was built for numpy 1, and importing it raises ValueError (numpy.dtype size changed)",
        'pip install "pandas>=2.2.2"', "numpy issue 26710; seen with 2.2.1 and numpy 2.4.6",
        "numpy", ">=2",
    ),
    Known(
        "pandas", ">=3", "pass",
        "columns of text have the type str in place of object, and `table[column][rows] = value` changes nothing",
        "In cells of your own, write `table.loc[rows, column] = value`.", "release notes of 3.0",
    ),
    Known(
        "wfdb", "<4.2", "warn",
        "reading annotations raises OverflowError",
        'pip install "wfdb>=4.2"', "wfdb-python issue 493; seen with 4.1.2 and numpy 2.4.6",
        "numpy", ">=2",
    ),
    Known(
        "wfdb", "<4.3.1", "warn",
        "importing it raises TypeError, so packed WFDB formats and annotations cannot be read",
        'pip install "wfdb>=4.3.1"', "seen with 4.2.0, 4.3.0 and pandas 3.1.1",
        "pandas", ">=3",
    ),
    Known(
        "seaborn", "<0.13.2", "warn",
        "histograms and box plots raise OptionError, ValueError or AttributeError; ecgnb itself draws none with it",
        'pip install "seaborn>=0.13.2"', "seen with 0.12.2, 0.13.0, 0.13.1 and pandas 3.1.1",
        "pandas", ">=3",
    ),
    Known(
        "papermill", "<2.8", "pass",
        "its authors have not released it for Python 3.14 yet: there, their own test of a failing notebook fails",
        "Look into the executed notebook when `ecgnb run` ends early, or use Python 3.13.", "papermill issue 841",
        "python", ">=3.14",
    ),
    Known(
        "ipykernel", ">=7", "pass",
        "in VS Code, cells may hang",
        'If they do, restart the kernel, or pip install "ipykernel<7".', "vscode-jupyter issue 17228",
    ),
    Known(
        "huggingface-hub", ">=1", "pass",
        "it finds a proxy by HTTP_PROXY and HTTPS_PROXY alone",
        "Behind a hospital's proxy, set both before Python starts.", "its migration guide to 1.0",
    ),
    Known("lightning", ">=2.6.2,<=2.6.3", "fail", *_STOLEN),
    Known("pytorch-lightning", ">=2.6.2,<=2.6.3", "fail", *_STOLEN),
)  # fmt: skip


class Verdict(NamedTuple):
    """One line of what was found: ``status`` ("pass", "warn", "fail"), ``finding`` and
    ``what_to_do``.
    """

    status: str
    finding: str
    what_to_do: str = ""


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of all packages that something is known or
    declared about, where installed.
    """
    names = {
        *NEWEST_TESTED,
        *(each.package for each in KNOWN),
        *(each.name for each in _requirements()),
    } - {"python"}
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in sorted(names):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def judge_versions(installed: Mapping[str, str]) -> Iterator[Verdict]:
    """Judge versions: what breaks, what is missing, and what is good to know.

    Args:
        installed: the version of "python" and of each package, as `installed_versions`
            gives them.

    Yields:
        A line for each trouble and for each package that something is known about or
        that is newer than any tested; a line for each of `ALWAYS`; and one for all
        others together.
    """
    needed = {each.name: each for each in _declared()}
    silent = []
    for package in dict.fromkeys(
        (*ALWAYS, "python", *needed, *(each.package for each in KNOWN))
    ):
        lines = list(_troubles(package, installed, needed.get(package)))
        if package in installed:
            allowed = str(needed[package].specifier) if package in needed else ""
            lines += _remarks(package, installed, allowed, troubled=bool(lines))
            silent += (
                []
                if lines or package not in {*needed, "python"}
                else [f"{package} {installed[package]}"]
            )
        yield from lines
    if silent:
        yield Verdict("pass", f"nothing is known against {', '.join(silent)}")


def judge_extras(installed: Mapping[str, str]) -> Verdict:
    """Tell which extras are installed and how to install the others; ``installed`` as
    for `judge_versions`.
    """
    here: list[str] = []
    missing: dict[str, str] = {}
    for extra in extras():
        needed = extra_requirements(extra)
        if all(_satisfied(each, installed) for each in needed):
            here.append(
                f"{extra} ({', '.join(f'{each.name} {installed[each.name]}' for each in needed)})"
            )
        else:
            missing[extra] = (
                f"{extra} ({', '.join(f'{each.name}{each.specifier}' for each in needed)})"
            )
    told = [f"installed: {', '.join(here)}"] if here else []
    told += [f"not installed: {', '.join(missing.values())}"] if missing else []
    advice = (
        f'Where you need them: pip install "{NAME}[{",".join(missing)}]"'
        if missing
        else ""
    )
    return Verdict(
        "pass",
        "; ".join(told) or f"unknown, since {NAME} was not installed by pip",
        advice,
    )


def refuse_broken() -> None:
    """Raise an `EcgnbError` where an installed version is known to stop a run; none of
    them is imported.
    """
    broken = [
        each for each in judge_versions(installed_versions()) if each.status == "fail"
    ]
    if broken:
        told = "\n".join(f"- {each.finding} {each.what_to_do}" for each in broken)
        raise EcgnbError(f"This installation cannot work as it is:\n{told}")


def extras() -> list[str]:
    """Return the names of the extras that users may install, from the metadata of the
    installed package.
    """
    try:
        names = importlib.metadata.metadata(NAME).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [name for name in names if name not in DEVELOPERS]


def extra_requirements(extra: str) -> list[Requirement]:
    """Return what an extra installs on this machine, other extras that it names
    resolved.
    """
    found: list[Requirement] = []
    for each in _requirements():
        if (
            each.marker
            and each.marker.evaluate({"extra": extra})
            and not each.marker.evaluate({"extra": ""})
        ):
            found += (
                chain(*map(extra_requirements, sorted(each.extras)))
                if each.name == NAME
                else [each]
            )
    return found


def _declared() -> list[Requirement]:
    """Return what the package needs in any case on this machine."""
    return [
        each
        for each in _requirements()
        if each.marker is None or each.marker.evaluate({"extra": ""})
    ]


def _requirements() -> list[Requirement]:
    """Return all requirements of the installed package; none where it is only lying in
    a folder.
    """
    try:
        return [Requirement(text) for text in importlib.metadata.requires(NAME) or []]
    except importlib.metadata.PackageNotFoundError:
        return []


def _troubles(
    package: str, installed: Mapping[str, str], needed: Requirement | None
) -> Iterator[Verdict]:
    """Yield what fails or warns about a package; that it is missing or too old only
    where nothing worse is known.
    """
    stopped = False
    for each in _known(package, installed):
        if each.status != "pass":
            stopped = stopped or each.status == "fail"
            together = (
                f" with {each.other} {installed[each.other]}" if each.other else ""
            )
            finding = f"{package} {installed[package]}{together}: {each.what} ({each.source})."
            yield Verdict(each.status, finding, each.what_to_do)
    if needed and not stopped and not _satisfied(needed, installed):
        found = (
            f"{package} {installed[package]}"
            if package in installed
            else f"{package} is not installed"
        )
        yield Verdict(
            "fail",
            f"{found}: {NAME} needs {needed.name}{needed.specifier}.",
            f'pip install "{needed}"',
        )


def _remarks(
    package: str, installed: Mapping[str, str], allowed: str, *, troubled: bool
) -> Iterator[Verdict]:
    """Yield what is good to know about a package, in one line, where there is something
    to tell.
    """
    version, newest = installed[package], NEWEST_TESTED.get(package, "")
    known = [each for each in _known(package, installed) if each.status == "pass"]
    told = [f"{each.what} ({each.source})" for each in known]
    advice = [each.what_to_do for each in known]
    status = "pass"
    if newest and _newer(version, newest):
        told.append(f"newer than any that was tested ({newest})")
        advice.append(f"If something breaks, take {newest}.")
        # Libraries break what they announced with a new first number; of Python it is
        # the second.
        depth = 2 if package == "python" else 1
        status = (
            "warn"
            if Version(version).release[:depth] != Version(newest).release[:depth]
            else "pass"
        )
    if package in ALWAYS and not troubled:
        told.insert(
            0, f"nothing is known against it ({allowed} is allowed, {newest} tested)"
        )
    if told:
        yield Verdict(
            status, f"{package} {version}: {'; '.join(told)}", " ".join(advice)
        )


def _known(package: str, installed: Mapping[str, str]) -> list[Known]:
    return [
        each
        for each in KNOWN
        if each.package == package
        and _within(each.versions, installed.get(package))
        and (not each.other or _within(each.other_versions, installed.get(each.other)))
    ]


def _within(versions: str, version: str | None) -> bool:
    return version is not None and SpecifierSet(versions).contains(
        version, prereleases=True
    )


def _satisfied(needed: Requirement, installed: Mapping[str, str]) -> bool:
    return _within(str(needed.specifier), installed.get(needed.name))


def _newer(version: str, newest: str) -> bool:
    tested = Version(newest).release
    return Version(version).release[: len(tested)] > tested
