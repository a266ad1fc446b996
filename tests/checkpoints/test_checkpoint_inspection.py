from __future__ import annotations

import argparse
import collections
import pathlib
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_pickles import TENSOR, container, text
from safetensors.torch import save_file

from ecgnb.checkpoints.globals_table import _TENSOR_NAMES, effect_of
from ecgnb.checkpoints.inspection import Inspection, inspect_checkpoint
from ecgnb.checkpoints.opcodes import Use


@pytest.fixture
def golden(golden_dir: Path) -> Path:
    return golden_dir / "ecg_fm"


def effects(found: Inspection) -> dict[str, str]:
    return dict(found.globals[["global", "ordinary loading"]].itertuples(index=False))


def test_inspection_of_a_pretrained_file(golden: Path) -> None:
    found = inspect_checkpoint(golden / "pretrained.pt")
    assert found.refused == [] and not found.dangerous
    assert (
        found.verdict == "tensors and plain values only: nothing in it would have run"
    )
    places = found.places.set_index("where")
    assert list(places.loc["model", ["tensors", "parameters", "dtypes"]]) == [
        55,
        114_344,
        "float32",
    ]
    assert list(
        places.loc["last_optimizer_state.state.*", ["tensors", "parameters"]]
    ) == [110, 2 * 114_344]
    assert places.loc["model", "MB"] == pytest.approx(114_344 * 4 / 1e6)
    row = found.tensors.set_index("name").loc[
        "conv_pos.pos_conv.0.parametrizations.weight.original0"
    ]
    assert list(row) == ["model", "float32", "1x1x128", 128, 512]
    assert found.configured_by == "cfg.model"
    assert (
        found.config["encoder_attention_heads"] == "4"
        and found.config["conv_feature_layers"] == "'[(32, 2, 2)] * 4'"
    )
    assert list(found.contents["entry"])[:3] == ["args", "cfg", "model"]
    counts = found.globals.set_index("global")
    assert list(counts.loc["torch._utils._rebuild_tensor_v2"]) == [
        1,
        171 - 2,
        "builds tensors",
    ]


def test_the_canary_is_shown_with_its_command(golden: Path) -> None:
    found = inspect_checkpoint(golden / "formats" / "canary.pt")
    command = r"posix\.system\('touch [^']*ecgfm_canary_dev'\)"
    assert found.dangerous
    assert re.match(
        rf"DANGEROUS: loading it the ordinary way would have run {command}\. Nothing of it ran",
        found.verdict,
    )
    assert re.fullmatch(
        rf"imports posix and calls {command}", effects(found)["posix.system"]
    )
    assert found.refused == ["posix.system"]
    assert "DANGEROUS" in str(found) and "DANGEROUS" in found._repr_html_()
    assert not (Path(tempfile.gettempdir()) / "ecgfm_canary_dev").exists()


def test_scores_and_labels_of_patients_are_counted_only(golden: Path) -> None:
    found = inspect_checkpoint(golden / "finetuned.pt")
    holds = found.contents.set_index("entry")["holds"]
    assert holds["extra_state"].endswith("and 4 NumPy arrays")
    assert found.refused == [
        "numpy._core.multiarray._reconstruct",
        "numpy.ndarray",
        "numpy.dtype",
    ]
    assert found.verdict.startswith("tensors, NumPy arrays and plain values only")


def test_values_below_the_top_level_are_never_shown(tmp_path: Path) -> None:
    scores = {
        "scores": [0.123456, 0.654321],
        "who": "Doe, Jane",
        "array": np.full(3, 0.987654),
    }
    torch.save(
        {
            "epoch": 3,
            "extra_state": scores,
            "seen": [0.111222],
            "w": torch.full((2,), 0.333444),
        },
        tmp_path / "x.pt",
    )
    found = inspect_checkpoint(tmp_path / "x.pt")
    shown = found.text(all_tensors=True) + found._repr_html_()
    assert not [
        secret
        for secret in ("0.123", "0.654", "Doe", "0.987", "0.111", "0.333")
        if secret in shown
    ]
    holds = list(found.contents["holds"])
    assert holds == [
        "3",
        "dict of 3 with 1 NumPy array",
        "list of 1",
        "a tensor float32 2",
    ]


@pytest.mark.parametrize(
    ("name", "root", "keys"),
    [("cfg_omegaconf", "cfg.model", 52), ("args_namespace", "args", 100)],
    ids=["cfg", "args"],
)
def test_configurations_in_foreign_classes(
    golden: Path, name: str, root: str, keys: int
) -> None:
    found = inspect_checkpoint(golden / "formats" / f"{name}.pt")
    assert found.configured_by == root and len(found.config) >= keys
    assert found.config["latent_temp"] == "[2.0, 0.5, 0.999995]"
    assert "to hold values, and run no more" in found.verdict and not found.dangerous


def refused_by_torch(path: Path) -> bool:
    try:
        torch.load(path, weights_only=True)
    except Exception:
        return True
    return False


class Strange:
    def __init__(self) -> None:
        self.kept = 1


SAVED: dict[str, Any] = {
    "tensors": {"w": torch.ones(2), "s": torch.eye(2).to_sparse(), "c": torch.ones(2, dtype=torch.complex64).conj()},
    "types": {"d": torch.float16, "size": torch.Size([2]), "dev": torch.device("cpu"), "n": 2**70,
              "u": torch.ones(2).to(torch.uint16)},
    "containers": collections.OrderedDict(a={1, 2}, b=collections.Counter("ab"), c=b"x", d=bytearray(b"y"), e=1j),
    "module": torch.nn.Linear(2, 2).state_dict(),
    "whole module": torch.nn.Linear(2, 2),
    "default": collections.defaultdict(list, {"a": [1]}),
    "frozen": frozenset([1]),
    "namespace": argparse.Namespace(a=1),
    "path": pathlib.PurePosixPath("a/b"),
    "array": np.ones(2),
    "own class": Strange(),
}  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("case", SAVED)
def test_what_weights_only_accepts_is_told_as_torch_does(
    tmp_path: Path, case: str, zipped: bool
) -> None:
    if not zipped and case == "types":
        pytest.skip("the old container has no such types")
    torch.save(SAVED[case], tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    found = inspect_checkpoint(tmp_path / "x.pt")
    assert bool(found.refused) == refused_by_torch(tmp_path / "x.pt")
    assert not found.dangerous


def test_protocol_4_is_refused_by_torch_and_told(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2), "cfg": ["a"]}, tmp_path / "x.pt", pickle_protocol=4)
    found = inspect_checkpoint(tmp_path / "x.pt")
    assert "the instruction FRAME" in found.refused
    with pytest.warns(UserWarning, match="protocol"):
        assert refused_by_torch(tmp_path / "x.pt")


def test_the_names_of_tensor_builders_are_those_torch_allows() -> None:
    allowed = torch._weights_only_unpickler._get_allowed_globals()  # type: ignore[attr-defined]
    assert {name for name in _TENSOR_NAMES if name.startswith("torch._utils")} <= set(
        allowed
    )
    assert (
        len(
            [
                name
                for name in _TENSOR_NAMES
                if name not in allowed and ".cuda." not in name
            ]
        )
        == 0
    )


HOSTILE = {
    b"cos\nsystem\n" + text("id") + b"\x85R": ("os.system('id')", True),
    b"c__builtin__\neval\n" + text("1") + b"\x85R": ("__builtin__.eval('1')", True),
    b"csubprocess\nPopen\n(" + text("sh") + text("-c") + b"l\x85\x81": (
        "subprocess.Popen(list('sh', '-c'))",
        True,
    ),
    b"c__builtin__\ngetattr\ncos\nsystem\n" + text("x") + b"\x86R)R": (
        "__builtin__.getattr(os.system, 'x')",
        True,
    ),
    b"csys\nmodules\n" + text("os") + b"Ns": ("a change of sys.modules itself", True),
    b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nctorch\nTensor\n)}tR": (
        "the import of os.system",
        True,
    ),
    b"ctorch\nTensor\nN}" + text("__add__") + b"ctorch\nSize\ns\x86b": (
        "a change of torch.Tensor itself",
        True,
    ),
    b"csome.package\nthing\n": ("the import of some.package.thing", False),
    b"csome.package\nThing\nG?\xf0\x00\x00\x00\x00\x00\x00\x85R": (
        "some.package.Thing(1.0)",
        False,
    ),
    b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n)R": (
        "torch._utils._rebuild_tensor_v2.__globals__()",
        False,
    ),
}


@pytest.mark.parametrize("call", HOSTILE, ids=[words for words, _ in HOSTILE.values()])
def test_what_would_have_run_is_told(tmp_path: Path, call: bytes) -> None:
    words, dangerous = HOSTILE[call]
    found = inspect_checkpoint(container(tmp_path / "x.pt", b"\x80\x02" + call + b"."))
    assert found.dangerous == dangerous and words in found.verdict and found.refused
    assert found.verdict.startswith(
        "DANGEROUS" if dangerous else "holds more than tensors"
    )
    assert any(words.split()[-1] in effect for effect in effects(found).values())


def test_control_characters_of_a_file_never_reach_the_terminal(tmp_path: Path) -> None:
    key = text("a\x1b[2J\nb")
    config = text("cfg") + b"}" + text("model") + b"}" + key + key + b"ss"
    data = (
        b"\x80\x02}("
        + key
        + b"cev\x1b[2Jil\nx\x07\n)R"
        + config
        + key
        + b"}"
        + key
        + TENSOR
        + b"su."
    )
    found = inspect_checkpoint(container(tmp_path / "x.pt", data, {"0": bytes(16)}))
    shown = str(found) + found._repr_html_()
    assert "\x1b" not in shown and "\x07" not in shown


def test_keys_too_large_to_print(tmp_path: Path) -> None:
    """A number of 24,000 bits as a key, which Python refuses to write out, and a name
    of a megabyte."""
    number, name = (
        b"\x8b" + (3000).to_bytes(4, "little") + b"\x7f" * 3000,
        text("n" * 10**6),
    )
    data = (
        b"\x80\x02}("
        + number
        + b"}"
        + name
        + TENSOR
        + b"s"
        + name
        + b"}"
        + name
        + TENSOR
        + b"su."
    )
    found = inspect_checkpoint(container(tmp_path / "x.pt", data, {"0": bytes(16)}))
    assert list(found.places["where"]) == ["a number of 23999 bits", "n" * 200]
    assert len(str(found)) < 5_000


def test_many_calls_are_counted_not_listed(tmp_path: Path) -> None:
    calls = (
        b"("
        + b"cos\nsystem\n"
        + text("id")
        + b"\x85R" * 1
        + (b"cos\nsystem\n" + text("ls") + b"\x85R") * 99
        + b"l."
    )
    found = inspect_checkpoint(container(tmp_path / "x.pt", b"\x80\x02" + calls))
    assert (
        found.globals.loc[0, "called"] == 100
        and "and 97 more" in effects(found)["os.system"]
    )
    assert len(found.verdict) < 400


def test_safetensors_hold_tensors_only(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2, 3), "b": torch.ones(3)}, tmp_path / "x.safetensors")
    found = inspect_checkpoint(tmp_path / "x.safetensors")
    assert (
        found.verdict.startswith("tensors only")
        and "weights_only=True" not in found.summary
    )
    assert list(found.contents["holds"]) == [
        "dict of 2 with 2 tensors (9 numbers, 0.0 MB)"
    ]
    assert list(found.places.loc[0, ["where", "tensors", "parameters"]]) == [
        "(top level)",
        2,
        9,
    ]


@pytest.mark.parametrize(
    "effect",
    ["builds tensors", "plain container", "plain value", "builds NumPy arrays"],
)
def test_each_kind_of_harmless_name_has_its_words(effect: str) -> None:
    names = (
        "torch.Size",
        "collections.OrderedDict",
        "_codecs.encode",
        "numpy.core.multiarray.scalar",
    )
    assert effect in {effect_of(name, Use(1, 1)).text for name in names}
