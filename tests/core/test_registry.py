from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from ecgnb.core.errors import ConfigError
from ecgnb.core.registry import Registry, nearest


@pytest.fixture
def models() -> Registry[type]:
    registry: Registry[type] = Registry("model")
    for name in ("resnet1d", "xresnet1d101", "xresnet1d18", "ecg_fm"):
        registry.register(name)(type(name, (), {}))
    return registry


def test_lists_in_alphabetical_order_and_builds(models: Registry[type]) -> None:
    assert models.available() == ("ecg_fm", "resnet1d", "xresnet1d101", "xresnet1d18")
    assert models.get("ecg_fm").__name__ == "ecg_fm"
    assert "resnet1d" in models and "resnet" not in models and len(models) == 4


def test_a_name_is_taken_once(models: Registry[type]) -> None:
    with pytest.raises(ConfigError, match="'resnet1d' is registered already"):
        models.register("resnet1d")(object)


def test_an_unknown_name_gets_the_nearest(models: Registry[type]) -> None:
    with pytest.raises(
        ConfigError,
        match=r"no model called 'resnet1'\. Did you mean 'resnet1d' or 'xresnet1d18'",
    ):
        models.get("resnet1")
    with pytest.raises(ConfigError, match="Available: ecg_fm, resnet1d"):
        models.get("zzz")


def test_nearest_ignores_case() -> None:
    assert nearest("EPOCH", ["EPOCHS", "LR", "Epoch_Length"])[0] == "EPOCHS"
    assert nearest("epochs", ["EPOCHS", "LR"]) == ["EPOCHS"]


def test_the_facts_given_at_registration_are_kept(models: Registry[type]) -> None:
    models.register("cpc", paper="Mehari and Strodthoff 2022")(object)
    assert models.about("cpc") == {"paper": "Mehari and Strodthoff 2022"}
    assert models.about("resnet1d") == {}
    with pytest.raises(ConfigError, match="no model called 'cpx'"):
        models.about("cpx")


def test_a_new_file_in_a_package_is_imported_without_being_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "laboratory"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from ecgnb.core.registry import Registry, import_submodules\n"
        "MODELS = Registry('model')\n"
        "import_submodules(__name__)\n"
    )
    (package / "tiny.py").write_text(
        "from laboratory import MODELS\n@MODELS.register('tiny')\nclass Tiny: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.import_module("laboratory").MODELS.available() == ("tiny",)
