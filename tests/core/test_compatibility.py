from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import ecgnb
from ecgnb.core import compatibility
from ecgnb.core.compatibility import (
    ALWAYS,
    KNOWN,
    NEWEST_TESTED,
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


def judged(**changed: str) -> dict[str, list[Verdict]]:
    """Judge the newest tested versions with some changed ("" takes a package away); by
    package."""
    names = {name.replace("_", "-"): version for name, version in changed.items()}
    installed = {
        name: version for name, version in {**NEWEST_TESTED, **names}.items() if version
    }
    found: dict[str, list[Verdict]] = {}
    for verdict in judge_versions(installed):
        found.setdefault(verdict.finding.split()[0], []).append(verdict)
    return found


def test_the_tested_versions_pass_and_are_told() -> None:
    found = judged()
    assert {verdict.status for verdicts in found.values() for verdict in verdicts} == {
        "pass"
    }
    for package in ALWAYS:
        (verdict,) = found[package]
        assert verdict.finding.startswith(
            f"{package} {NEWEST_TESTED[package]}: nothing is known against it (>="
        )
        assert f", {NEWEST_TESTED[package]} tested)" in verdict.finding
    (others,) = found["nothing"]
    assert (
        f"scipy {NEWEST_TESTED['scipy']}" in others.finding
        and "torch" not in others.finding
    )


def test_this_installation_is_judged() -> None:
    found = {
        verdict.finding.split()[0]: verdict
        for verdict in judge_versions(installed_versions())
    }
    assert set(ALWAYS) <= found.keys()
    assert found["numpy"].finding.startswith(f"numpy {np.__version__}: ")


@pytest.mark.parametrize(
    ("changed", "status", "told", "advice"),
    [
        (
            {"torch": "2.5.1+cu121"},
            "fail",
            r"torch 2.5.1\+cu121: a checkpoint can run programs.*CVE-2025-32434",
            ">=2.6",
        ),
        (
            {"torch": "2.9.1"},
            "warn",
            "torch 2.9.1: .*corrupt memory.*CVE-2026-24747",
            ">=2.10",
        ),
        (
            {"torch": "2.10.0"},
            "pass",
            "torch 2.10.0: nothing is known against it",
            "inspect",
        ),
        (
            {"numpy": "1.26.4"},
            "fail",
            r"numpy 1.26.4: ecgnb needs numpy>=2\.0",
            'pip install "numpy>=2.0"',
        ),
        (
            {"pandas": "2.2.1"},
            "fail",
            r"pandas 2.2.1 with numpy 2\.4\.6: .*ValueError",
            "pandas>=2.2.2",
        ),
        (
            {"pandas": "2.2.2"},
            "pass",
            r"pandas 2.2.2: nothing is known against it \(",
            "",
        ),
        (
            {"wfdb": "4.3.0"},
            "warn",
            r"wfdb 4.3.0 with pandas 3\.1\.1: importing it raises TypeError",
            "wfdb>=4.3.1",
        ),
        (
            {"seaborn": "0.13.1"},
            "warn",
            "seaborn 0.13.1 with pandas 3.1.1: histograms",
            "seaborn>=0.13.2",
        ),
        (
            {"lightning": "2.6.3"},
            "fail",
            "lightning 2.6.3: it steals passwords",
            "Uninstall it",
        ),
        (
            {"lightning-fabric": ""},
            "fail",
            "lightning-fabric is not installed: ecgnb needs",
            "lightning-fabric>=",
        ),
        (
            {"papermill": "2.7.0", "python": "3.14.1"},
            "pass",
            "papermill 2.7.0: .*Python 3.14",
            "3.13",
        ),
        (
            {"scipy": "1.99.0"},
            "pass",
            r"scipy 1.99.0: newer than any that was tested \(1\.17\.1\)",
            "take 1.17.1",
        ),
        (
            {"scipy": "2.0.0rc1"},
            "warn",
            "scipy 2.0.0rc1: newer than any",
            "take 1.17.1",
        ),
        (
            {"torch": "3.0.0.dev20270101"},
            "warn",
            "torch 3.0.0.dev20270101: nothing is known.*newer than any",
            "2.13.0",
        ),
        (
            {"python": "3.15.0"},
            "warn",
            r"python 3.15.0: newer than any that was tested \(3\.14\)",
            "take 3.14",
        ),
    ],
)
def test_what_is_known_is_told(
    changed: dict[str, str], status: str, told: str, advice: str
) -> None:
    verdict = judged(**changed)[next(iter(changed))][0]
    assert verdict.status == status
    assert re.match(told, verdict.finding) and advice in verdict.what_to_do


def test_what_depends_on_another_package_is_told_with_it_alone() -> None:
    assert "wfdb" not in judged(wfdb="4.3.0", pandas="2.3.3")
    assert "papermill" not in judged(papermill="2.7.0", python="3.13.5")
    (too_old,) = judged(seaborn="0.13.1", pandas="2.3.3")["seaborn"]
    assert too_old.finding == "seaborn 0.13.1: ecgnb needs seaborn>=0.13.2."


def test_a_package_that_fails_is_told_once_as_failing() -> None:
    found = judged(torch="2.5.1")["torch"]
    assert [verdict.status for verdict in found] == ["fail"]
    assert [verdict.status for verdict in judged(wfdb="4.1.2")["wfdb"]] == [
        "warn",
        "warn",
        "fail",
    ]


def test_the_table_is_well_formed() -> None:
    for each in KNOWN:
        SpecifierSet(each.versions), SpecifierSet(each.other_versions)
        assert each.status in ("pass", "warn", "fail")
        assert each.what and each.what_to_do and each.source
        assert bool(each.other) == bool(each.other_versions)


def test_the_newest_tested_versions_are_those_that_the_requirements_install() -> None:
    pins: dict[str, str] = {}
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"([\w.-]+)==([\w.]+)", line):
            name, version = found.groups()
            pins[name] = max(pins.get(name, "0"), version, key=Version)
    wrong = {
        name: pins[name]
        for name, version in NEWEST_TESTED.items()
        if name in pins and pins[name] != version
    }
    assert not wrong
    needed = {each.name for each in compatibility._declared()} | {
        r.name for e in extras() for r in extra_requirements(e)
    }
    assert needed <= NEWEST_TESTED.keys()


def test_what_the_remarks_say_is_true_here() -> None:
    """Of the versions that are installed; the reports speak for the others."""
    versions = installed_versions()
    if Version(versions["numpy"]) >= Version("2.4"):
        with pytest.raises(TypeError):
            float(np.array([1.0]))
    if Version(versions["pandas"]) >= Version("3"):
        table = pd.DataFrame({"text": ["x"], "number": [1]})
        assert str(table["text"].dtype) == "str"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table["number"][0] = 2
        assert table.loc[0, "number"] == 1
        table.loc[0, "number"] = 2
        assert table.loc[0, "number"] == 2


class Metadata:
    """Stands for the metadata of an installed package."""

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
        "all": ["ecgnb[port,hub]"],
        "test": ["pytest"],
    })  # fmt: skip
    assert extras() == ["port", "hub", "all"]
    assert [str(each.name) for each in extra_requirements("all")] == [
        "huggingface-hub",
        "h5py",
    ]
    found = judge_extras({"h5py": "3.16.0", "huggingface-hub": "0.36.0"})
    assert found.status == "pass"
    told = "installed: port (h5py 3.16.0); not installed: hub (huggingface-hub>=1.0), "
    assert found.finding == told + "all (huggingface-hub>=1.0, h5py>=3.11)"
    assert found.what_to_do == 'Where you need them: pip install "ecgnb[hub,all]"'
    found = judge_extras({"h5py": "3.16.0", "huggingface-hub": "2.4.0"})
    assert not found.what_to_do and "not installed" not in found.finding


def test_requirements_of_other_machines_do_not_count(declare: Callable) -> None:
    here = default_environment()["sys_platform"]
    declare(
        {
            "": [
                f"numpy>=2; sys_platform == '{here}'",
                f"winpty; sys_platform != '{here}'",
            ]
        }
    )
    assert [each.name for each in compatibility._declared()] == ["numpy"]


def test_a_package_that_lies_in_a_folder_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "NAME", "there-is-no-such-package")
    assert "not installed by pip" in judge_extras({}).finding
    assert {
        verdict.status
        for verdict in judge_versions({"torch": "2.13.0", "numpy": "2.4.6"})
    } == {"pass"}


def test_the_metadata_are_those_of_this_package() -> None:
    assert {each.name for each in compatibility._declared()} >= {
        "torch",
        "numpy",
        "pandas",
        "wfdb",
    }
    assert "port" in extras() and [
        each.name for each in extra_requirements("port")
    ] == ["h5py"]
    assert isinstance(extra_requirements("port")[0], Requirement)


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
        {"ecgnb.port.reading.keras_file", "ecgnb.port.reading.keras_weights"},
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
        {"ecgnb.hub.huggingface", "ecgnb.hub.http_session", "ecgnb.deploy.hub_bundles"},
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
        *(each for each in sys.modules if each.startswith(f"{package}.")),
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
    found: dict[str, set[str]] = {extra: set() for extra in WAYS}
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
                found[packages[package]].add(
                    ".".join(path.relative_to(ROOT).with_suffix("").parts)
                )
    assert found == {extra: modules for extra, (_, modules, _) in WAYS.items()}


def test_broken_versions_are_told_before_they_are_imported(monkeypatch) -> None:
    monkeypatch.setattr(
        compatibility,
        "installed_versions",
        lambda: {**installed_versions(), "torch": "2.5.1"},
    )
    with pytest.raises(EcgnbError, match=r"cannot work as it is:\n- torch 2\.5\.1"):
        compatibility.refuse_broken()
    monkeypatch.undo()
    compatibility.refuse_broken()
