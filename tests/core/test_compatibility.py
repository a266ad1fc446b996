from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.specifiers import SpecifierSet

import ecgnb
from ecgnb.core import compatibility
from ecgnb.core.compatibility import (
    KNOWN,
    Verdict,
    extra_requirements,
    extras,
    installed_versions,
    judge_extras,
    judge_versions,
)
from ecgnb.core.errors import EcgnbError, MissingExtraError

ROOT = Path(ecgnb.__file__).parent.parent
ZOO = Path(__file__).parents[1] / "port" / "zoo"

#: Versions without a known problem, for all requirements.
GOOD = {
    "python": "3.13.5",
    "torch": "2.13.0",
    "numpy": "2.4.6",
    "pandas": "3.1.1",
    "scipy": "1.17.1",
    "wfdb": "4.3.1",
    "papermill": "2.7.0",
}


def judged(**changed: str) -> list[Verdict]:
    """Judge versions without a problem, with some changed ("" removes a package)."""
    names = {name.replace("_", "-"): version for name, version in changed.items()}
    return list(judge_versions({name: v for name, v in {**GOOD, **names}.items() if v}))


@pytest.fixture
def few_requirements(declare: Callable) -> None:
    declare({"": ["torch>=2.6", "numpy>=2.0", "pandas>=2.2.2", "wfdb>=4.2"]})


def test_versions_without_a_problem_are_one_line(few_requirements: None) -> None:
    (verdict,) = judged()
    assert verdict == Verdict(
        "pass",
        "no known problem with python 3.13.5, torch 2.13.0, numpy 2.4.6, pandas 3.1.1, "
        "wfdb 4.3.1",
    )


def test_this_installation_has_no_problem_that_stops_a_run() -> None:
    verdicts = list(judge_versions(installed_versions()))
    assert "fail" not in {verdict.status for verdict in verdicts}
    assert "numpy" in verdicts[-1].finding


@pytest.mark.parametrize(
    ("changed", "status", "finding", "advice"),
    [
        ({"torch": "2.9.1"}, "warn", "torch 2.9.1: .*CVE-2026-24747", ">=2.10"),
        ({"torch": "2.5.1+cu121"}, "warn", r"torch 2.5.1\+cu121: ", ">=2.10"),
        (
            {"numpy": "1.26.4"},
            "fail",
            r"numpy 1.26.4: ecgnb needs numpy>=2\.0",
            'pip install "numpy>=2.0"',
        ),
        ({"numpy": ""}, "fail", "numpy is not installed: ecgnb needs", "numpy>=2.0"),
        (
            {"wfdb": "4.3.0"},
            "warn",
            r"wfdb 4.3.0 with pandas 3\.1\.1: importing it raises TypeError",
            "wfdb>=4.3.1",
        ),
        ({"python": "3.14.1"}, "warn", "papermill 2.7.0 with python 3.14.1", "3.13"),
        ({"python": "3.15.0"}, "warn", "papermill", "3.13"),
    ],
)
def test_a_problem_is_named_with_its_advice(
    few_requirements: None,
    changed: dict[str, str],
    status: str,
    finding: str,
    advice: str,
) -> None:
    verdict = judged(**changed)[0]
    assert verdict.status == status
    assert re.match(finding, verdict.finding) and advice in verdict.what_to_do


def test_a_problem_of_two_packages_needs_both(few_requirements: None) -> None:
    assert len(judged(wfdb="4.3.0", pandas="2.3.3")) == 1
    assert [verdict.status for verdict in judged(torch="2.5.1")] == [
        "warn",
        "fail",
        "pass",
    ]


def test_the_table_is_well_formed() -> None:
    for known in KNOWN:
        SpecifierSet(known.versions), SpecifierSet(known.other_versions)
        assert known.status in ("warn", "fail")
        assert known.problem and known.advice and known.source
        assert bool(known.other) == bool(known.other_versions)


class Metadata:
    """Replaces the metadata of an installed package."""

    def __init__(self, requires: dict[str, list[str]]) -> None:
        self.extras = [extra for extra in requires if extra]
        self.requires = [
            f"{text}{' and' if ';' in text else ';'} extra == '{extra}'"
            if extra
            else text
            for extra, texts in requires.items()
            for text in texts
        ]

    def get_all(self, name: str) -> list[str]:
        assert name == "Provides-Extra"
        return self.extras


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, list[str]]], None]:
    def change(requires: dict[str, list[str]]) -> None:
        metadata = Metadata(requires)
        monkeypatch.setattr(
            compatibility.importlib.metadata, "metadata", lambda _: metadata
        )
        monkeypatch.setattr(
            compatibility.importlib.metadata, "requires", lambda _: metadata.requires
        )

    return change


def test_extras_are_read_from_the_metadata(declare: Callable) -> None:
    declare({
        "": ["numpy>=2"],
        "port": ["h5py>=3.11"],
        "hub": ["huggingface-hub>=1.0", "other>=1; (python_version < '3')"],
        "test": ["pytest"],
    })  # fmt: skip
    assert extras() == ["port", "hub"]
    assert [item.name for item in extra_requirements("hub")] == ["huggingface-hub"]
    assert judge_extras({"h5py": "3.16.0", "huggingface-hub": "0.36.0"}) == Verdict(
        "pass",
        "installed: port; not installed: hub",
        'Where you need them: pip install "ecgnb[hub]"',
    )
    both = judge_extras({"h5py": "3.16.0", "huggingface-hub": "2.4.0"})
    assert both == Verdict("pass", "installed: port, hub")


def test_requirements_of_other_machines_do_not_count(declare: Callable) -> None:
    system = default_environment()["sys_platform"]
    declare(
        {
            "": [
                f"numpy>=2; sys_platform == '{system}'",
                f"winpty; sys_platform != '{system}'",
            ]
        }
    )
    verdict, _ = judge_versions({"python": "3.13.5"})
    assert verdict.finding == "numpy is not installed: ecgnb needs numpy>=2."


def test_without_metadata_nothing_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "NAME", "there-is-no-such-package")
    assert judge_extras({}).finding == "installed: none"
    assert list(judge_versions(GOOD)) == [
        Verdict("pass", "no known problem with python 3.13.5")
    ]


# Every extra: with its package blocked, each way to it says which extra to install.


def keras_archive(folder: Path) -> Path:
    return next(ZOO.glob("*.keras"))


def read_archive(folder: Path) -> Any:
    from ecgnb.port.reading.keras_file import read_keras

    return read_keras(keras_archive(folder))


def port_whole_file(folder: Path) -> Any:
    from ecgnb.port import port_keras

    return port_keras(ZOO / "nested_frozen_k2.h5")


def port_pair(folder: Path) -> Any:
    from ecgnb.port import port_keras

    return port_keras(
        ZOO / "nested_frozen_k2.json", weights=ZOO / "nested_frozen_k2_weights.h5"
    )


def inspect_file(folder: Path) -> Any:
    from ecgnb.port import inspect_keras

    return inspect_keras(ZOO / "nested_frozen_k2.h5")


def dump_layer(folder: Path) -> Any:
    from ecgnb.port import dump_weights

    return dump_weights(ZOO / "nested_frozen_k2.h5", "dense", folder / "out.npz")


def convert_file(folder: Path) -> Any:
    from ecgnb.port import convert

    return convert(ZOO / "nested_frozen_k2.h5", folder / "port")


def fetch_file(folder: Path) -> Any:
    from ecgnb.hub.huggingface import fetch

    return fetch("owner/repository/model.pt")


def fetch_files(folder: Path) -> Any:
    from ecgnb.hub.huggingface import fetch_folder

    return fetch_folder("owner/repository", ["model.pt"])


def load_from_hub(folder: Path) -> Any:
    from ecgnb.foundation.ecg_fm_checkpoint import load_ecg_fm

    return load_ecg_fm("owner/repository/model.pt")


def bundle_from_hub(folder: Path) -> Any:
    from ecgnb.deploy.hub_bundles import from_hub

    return from_hub("owner/repository")


def open_from_hub(folder: Path) -> Any:
    from ecgnb.deploy.opening import open_bundle

    return open_bundle("owner/repository")


def push_bundle(folder: Path) -> Any:
    from ecgnb.data.config import PrepareConfig
    from ecgnb.deploy.bundle import Bundle
    from ecgnb.deploy.bundle_folder import save_bundle
    from ecgnb.deploy.hub_bundles import push_to_hub
    from ecgnb.models import build_model
    from ecgnb.transforms.pipeline import build_pipeline

    model = build_model(
        "resnet1d",
        n_leads=2,
        n_samples=200,
        fs=100.0,
        n_classes=2,
        widths=(4,),
        depths=(1,),
    )
    prepare = PrepareConfig(target_fs=100, target_samples=200, leads=("I", "II"))
    save_bundle(
        Bundle(model.eval(), ("NORM", "MI"), "multiclass", prepare, build_pipeline([])),
        folder / "bundle",
    )
    return push_to_hub(folder / "bundle", "owner/repository")


#: Extra -> its package as it is imported, the modules that import it, and the public
#: ways to them.
WAYS: dict[str, tuple[str, set[str], list[Callable[[Path], Any]]]] = {
    "port": (
        "h5py",
        {"ecgnb.port.reading.hdf5", "ecgnb.port.reading.keras_weights"},
        [
            read_archive,
            port_whole_file,
            port_pair,
            inspect_file,
            dump_layer,
            convert_file,
        ],
    ),
    "hub": (
        "huggingface_hub",
        {
            "ecgnb.hub.huggingface",
            "ecgnb.hub.http_session",
            "ecgnb.deploy.card",
            "ecgnb.deploy.hub_bundles",
        },
        [
            fetch_file,
            fetch_files,
            load_from_hub,
            bundle_from_hub,
            open_from_hub,
            push_bundle,
        ],
    ),
}


@pytest.mark.parametrize(
    ("extra", "way"), [(extra, way) for extra in WAYS for way in WAYS[extra][2]]
)
def test_without_its_package_an_extra_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    extra: str,
    way: Callable[[Path], Any],
) -> None:
    package = WAYS[extra][0]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in {
        package,
        *(item for item in sys.modules if item.startswith(f"{package}.")),
    }:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        MissingExtraError, match=re.escape(f'pip install "ecgnb[{extra}]"')
    ):
        way(tmp_path)


def test_all_imports_of_extras_are_known_and_lazy() -> None:
    """A new extra, or another module that imports an extra's package, needs a way to it
    above."""
    assert set(extras()) <= WAYS.keys()
    packages = {package: extra for extra, (package, _, _) in WAYS.items()}
    result: dict[str, set[str]] = {extra: set() for extra in WAYS}
    for path in (ROOT / "ecgnb").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for package in {name.split(".")[0] for name in names} & packages.keys():
                assert node not in tree.body, (
                    f"{path} imports {package} before anybody needs it"
                )
                result[packages[package]].add(
                    ".".join(path.relative_to(ROOT).with_suffix("").parts)
                )
    assert result == {extra: modules for extra, (_, modules, _) in WAYS.items()}


def test_broken_versions_are_reported_before_they_are_imported(monkeypatch) -> None:
    monkeypatch.setattr(
        compatibility,
        "installed_versions",
        lambda: {**installed_versions(), "torch": "2.5.1"},
    )
    with pytest.raises(EcgnbError, match=r"cannot work as it is:\n- torch 2\.5\.1"):
        compatibility.refuse_broken()
    monkeypatch.undo()
    compatibility.refuse_broken()
