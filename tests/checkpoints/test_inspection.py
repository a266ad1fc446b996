from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_pickles import TENSOR, container, text
from safetensors.torch import save_file

from ecgnb.checkpoints.inspection import Inspection, inspect_checkpoint


def effects(result: Inspection) -> dict[str, str]:
    return dict(result.globals[["global", "ordinary loading"]].itertuples(index=False))


def test_inspection_of_a_pretrained_file(golden: Path) -> None:
    result = inspect_checkpoint(golden / "pretrained.pt")
    assert result.refused == [] and not result.dangerous
    assert (
        result.verdict == "tensors and plain values only: nothing in it would have run"
    )
    containers = result.containers.set_index("where")
    assert list(containers.loc["model", ["tensors", "parameters", "dtypes"]]) == [
        55,
        114_344,
        "float32",
    ]
    assert list(
        containers.loc["last_optimizer_state.state.*", ["tensors", "parameters"]]
    ) == [110, 2 * 114_344]
    assert containers.loc["model", "MB"] == pytest.approx(114_344 * 4 / 1e6)
    row = result.tensors.set_index("name").loc[
        "conv_pos.pos_conv.0.parametrizations.weight.original0"
    ]
    assert list(row) == ["model", "float32", "1x1x128", 128, 512]
    assert result.configured_by == "cfg.model"
    assert (
        result.config["encoder_attention_heads"] == "4"
        and result.config["conv_feature_layers"] == "'[(32, 2, 2)] * 4'"
    )
    assert list(result.contents["entry"])[:3] == ["args", "cfg", "model"]
    counts = result.globals.set_index("global")
    assert list(counts.loc["torch._utils._rebuild_tensor_v2"]) == [
        1,
        171 - 2,
        "builds tensors",
    ]


def test_the_canary_is_shown_with_its_command(golden: Path) -> None:
    result = inspect_checkpoint(golden / "formats" / "canary.pt")
    command = r"posix\.system\('touch [^']*ecgfm_canary_dev'\)"
    assert result.dangerous
    assert re.match(
        rf"DANGEROUS: loading it the ordinary way would have run {command}\. Nothing of it ran",
        result.verdict,
    )
    assert re.fullmatch(
        rf"imports posix and calls {command}", effects(result)["posix.system"]
    )
    assert result.refused == ["posix.system"]
    assert "DANGEROUS" in str(result) and "DANGEROUS" in result._repr_html_()
    assert not (Path(tempfile.gettempdir()) / "ecgfm_canary_dev").exists()


def test_scores_and_labels_of_patients_are_counted_only(golden: Path) -> None:
    result = inspect_checkpoint(golden / "finetuned.pt")
    holds = result.contents.set_index("entry")["holds"]
    assert holds["extra_state"].endswith("and 4 NumPy arrays")
    assert result.refused == [
        "numpy._core.multiarray._reconstruct",
        "numpy.ndarray",
        "numpy.dtype",
    ]
    assert result.verdict.startswith("tensors, NumPy arrays and plain values only")


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
    result = inspect_checkpoint(tmp_path / "x.pt")
    shown = result.text(all_tensors=True) + result._repr_html_()
    assert not [
        secret
        for secret in ("0.123", "0.654", "Doe", "0.987", "0.111", "0.333")
        if secret in shown
    ]
    holds = list(result.contents["holds"])
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
    result = inspect_checkpoint(golden / "formats" / f"{name}.pt")
    assert result.configured_by == root and len(result.config) >= keys
    assert result.config["latent_temp"] == "[2.0, 0.5, 0.999995]"
    assert "to hold values, and run no more" in result.verdict and not result.dangerous


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
def test_what_would_have_run_is_named(tmp_path: Path, call: bytes) -> None:
    words, dangerous = HOSTILE[call]
    result = inspect_checkpoint(container(tmp_path / "x.pt", b"\x80\x02" + call + b"."))
    assert result.dangerous == dangerous and words in result.verdict and result.refused
    assert result.verdict.startswith(
        "DANGEROUS" if dangerous else "holds more than tensors"
    )
    assert any(words.split()[-1] in effect for effect in effects(result).values())


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
    result = inspect_checkpoint(container(tmp_path / "x.pt", data, {"0": bytes(16)}))
    shown = str(result) + result._repr_html_()
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
    result = inspect_checkpoint(container(tmp_path / "x.pt", data, {"0": bytes(16)}))
    assert list(result.containers["where"]) == ["a number of 23999 bits", "n" * 200]
    assert len(str(result)) < 5_000


def test_many_calls_are_counted_not_listed(tmp_path: Path) -> None:
    calls = (
        b"("
        + b"cos\nsystem\n"
        + text("id")
        + b"\x85R" * 1
        + (b"cos\nsystem\n" + text("ls") + b"\x85R") * 99
        + b"l."
    )
    result = inspect_checkpoint(container(tmp_path / "x.pt", b"\x80\x02" + calls))
    assert (
        result.globals.loc[0, "called"] == 100
        and "and 97 more" in effects(result)["os.system"]
    )
    assert len(result.verdict) < 400


def test_safetensors_hold_tensors_only(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2, 3), "b": torch.ones(3)}, tmp_path / "x.safetensors")
    result = inspect_checkpoint(tmp_path / "x.safetensors")
    assert (
        result.verdict.startswith("tensors only")
        and "weights_only=True" not in result.summary
    )
    assert list(result.contents["holds"]) == [
        "dict of 2 with 2 tensors (9 numbers, 0.0 MB)"
    ]
    assert list(result.containers.loc[0, ["where", "tensors", "parameters"]]) == [
        "(top level)",
        2,
        9,
    ]
