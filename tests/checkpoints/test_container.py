from __future__ import annotations

import gc
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_pickles import TENSOR, audited, container, tensor, text
from safetensors.torch import save_file
from tensor_checks import DTYPES, same

from ecgnb.checkpoints.container import open_checkpoint
from ecgnb.checkpoints.plain import walk
from ecgnb.checkpoints.tensor_refs import TensorRef
from ecgnb.core.errors import CheckpointError

GOLDEN = (
    "pretrained", "pretrained_variant", "pretrained_legacykeys", "finetuned", "finetuned_variant",
    "formats/cfg_omegaconf", "formats/args_namespace", "formats/nonzip", "formats/canary",
)  # fmt: skip


#: What ``weights_only=True`` accepts, by the golden files' own account.
PLAIN = GOLDEN[:3] + GOLDEN[4:5] + ("formats/nonzip",)


@pytest.mark.parametrize("name", PLAIN)
def test_golden_files_agree_with_torch_in_every_value_and_bit(
    golden: Path, name: str
) -> None:
    path = golden / f"{name}.pt"
    checkpoint = open_checkpoint(path)
    assert checkpoint.kind == ("legacy" if name == "formats/nonzip" else "zip")
    expected = torch.load(path, weights_only=True)
    assert same(checkpoint.contents, expected, checkpoint)
    assert len(checkpoint.state_dicts()["model"]) == len(expected["model"])


@pytest.mark.parametrize(
    "name",
    [
        "formats/nonzip",
        "formats/cfg_omegaconf",
        "formats/args_namespace",
        "formats/canary",
    ],
)
def test_golden_formats_hold_the_weights_of_the_variant(
    golden: Path, name: str
) -> None:
    expected = torch.load(golden / "pretrained_variant.pt", weights_only=True)["model"]
    checkpoint = open_checkpoint(golden / f"{name}.pt")
    assert len(expected) == 55 and same(
        checkpoint.contents["model"], expected, checkpoint
    )


def test_the_canary_is_named_and_stays_silent(golden: Path) -> None:
    canary = Path(tempfile.gettempdir()) / "ecgfm_canary_dev"
    assert not canary.exists()
    with audited() as events:
        checkpoint = open_checkpoint(golden / "formats" / "canary.pt")
    assert not canary.exists() and not [
        event for event in events if not event.startswith("import")
    ]
    (call,) = checkpoint.globals["posix.system"].examples
    assert call.args is not None and call.args[0].endswith("/ecgfm_canary_dev")
    assert call in checkpoint.contents["extra_state"].values()


def every_kind_of_tensor() -> dict[str, Any]:
    torch.manual_seed(0)
    base = torch.randn(4, 6)
    own = {str(dtype): (torch.rand(3, 2) * 9).to(dtype) for dtype in DTYPES}
    linear = torch.nn.Linear(3, 2)
    parameter = torch.nn.Parameter(torch.randn(2))
    parameter.no_decay = True  # type: ignore[attr-defined]
    marked = torch.randn(3)
    marked.note = "kept out"  # type: ignore[attr-defined]
    return own | {
        "base": base, "transposed": base.t(), "row": base[1], "strided": base[:, ::2], "wide": torch.ones(1).expand(9),
        "scalar": torch.tensor(2.5), "empty": torch.empty(0), "no rows": torch.empty(0, 5), "size": torch.Size([1, 2]),
        "parameter": parameter, "marked": marked, "module": linear.state_dict(), "list": [base, (base,)],
        "numbers": [1, 2.5, None, True, "\u00e4", b"\x00", 2**70, {3: 4}],
    }  # fmt: skip


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def saved(
    request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[Path, dict[str, Any]]:
    values = every_kind_of_tensor()
    if not request.param:  # the old container holds a storage in one type only
        values = {
            key: value
            for key, value in values.items()
            if not key.startswith(("torch.uint", "torch.float8"))
        }
        values["torch.uint8"] = torch.arange(5, dtype=torch.uint8)
    torch.save(
        values, tmp_path / "saved.pt", _use_new_zipfile_serialization=request.param
    )
    return tmp_path / "saved.pt", values


def test_all_types_views_parameters_and_state_dicts(
    saved: tuple[Path, dict[str, Any]],
) -> None:
    path, values = saved
    checkpoint = open_checkpoint(path)
    expected = {**values, "size": (1, 2), "module": dict(values["module"])}
    assert same(checkpoint.contents, expected, checkpoint)
    assert set(checkpoint.state_dicts()) == {"module"}
    assert not checkpoint.tensor(checkpoint.contents["parameter"]).requires_grad


def test_sharing_is_kept_and_the_file_is_not_written(
    saved: tuple[Path, dict[str, Any]],
) -> None:
    path, _ = saved
    before = path.read_bytes()
    checkpoint = open_checkpoint(path)
    base, row, again = (
        checkpoint.tensor(checkpoint.contents[name]) for name in ("base", "row", "base")
    )
    base[1] = 7.0
    assert torch.equal(row, torch.full((6,), 7.0)) and torch.equal(again, base)
    assert (
        checkpoint.tensor(checkpoint.contents["list"][1][0]).data_ptr()
        == base.data_ptr()
    )
    assert (
        base.untyped_storage().nbytes() == 4 * 6 * 4
    )  # its own, so that saving it does not save the whole file
    assert path.read_bytes() == before
    assert open_checkpoint(path).tensor(checkpoint.contents["base"])[1, 0] != 7.0


def test_tensors_outlive_their_checkpoint(saved: tuple[Path, dict[str, Any]]) -> None:
    path, values = saved
    checkpoint = open_checkpoint(path)
    kept = checkpoint.tensor(checkpoint.contents["transposed"])
    del checkpoint
    gc.collect()
    assert torch.equal(kept, values["base"].t())


def test_a_bare_state_dict_and_a_whole_module(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save(model.state_dict(), tmp_path / "bare.pt")
    bare = open_checkpoint(tmp_path / "bare.pt")
    assert list(bare.state_dicts()) == [""] and list(bare.state_dicts()[""]) == list(
        model.state_dict()
    )
    torch.save(model, tmp_path / "whole.pt")
    whole = open_checkpoint(tmp_path / "whole.pt")
    assert whole.contents.name == "torch.nn.modules.container.Sequential"
    result = whole.state_dicts()["_modules.0._parameters"]
    assert torch.equal(whole.tensor(result["weight"]), model[0].weight)


def test_a_reference_to_elsewhere_is_refused(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(
        container(tmp_path / "a.pt", tensor(), {"0": bytes(16)})
    )
    for ref in (
        TensorRef(torch.float32, (5,), (1,), 0, "0"),
        TensorRef(torch.float32, (1,), (1,), 0, "9"),
    ):
        with pytest.raises(CheckpointError, match="has no tensor"):
            checkpoint.tensor(ref)
    (tmp_path / "a.pt").write_bytes(b"shorter")
    with pytest.raises(CheckpointError, match="has changed since"):
        checkpoint.tensor(checkpoint.contents["w"])
    (tmp_path / "a.pt").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.tensor(checkpoint.contents["w"])


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_cut_files_are_never_taken_for_whole(tmp_path: Path, kind: str) -> None:
    whole = tmp_path / "whole.pt"
    held = {"a": torch.arange(100.0), "b": torch.ones(7)}
    if kind == "safetensors":
        save_file(held, whole)
    else:
        torch.save(held, whole, _use_new_zipfile_serialization=kind == "zip")
    data = whole.read_bytes()
    for length in range(0, len(data), 7):
        (tmp_path / "cut.pt").write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            open_checkpoint(tmp_path / "cut.pt")
    with pytest.raises(CheckpointError, match=r"cut short|incomplete"):
        (tmp_path / "cut.pt").write_bytes(data[: len(data) * 9 // 10])
        open_checkpoint(tmp_path / "cut.pt")


def read_all(path: Path) -> dict[str, torch.Tensor]:
    checkpoint = open_checkpoint(path)
    return {
        f"{where}.{name}": checkpoint.tensor(item)
        for where, name, item in walk(checkpoint.contents)
        if isinstance(item, TensorRef)
    }


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_flipped_bits_are_errors_or_change_nothing(tmp_path: Path, kind: str) -> None:
    """Nothing runs, nothing but `CheckpointError` is raised; a zip has checksums and
    never gives other numbers."""
    whole = tmp_path / "whole.pt"
    held = {
        "model": {"a": torch.randn(8, 3), "b": torch.ones(5, dtype=torch.int64)},
        "cfg": {"lr": 0.1, "name": "x"},
    }
    if kind == "safetensors":
        save_file(held["model"], whole)
    else:
        torch.save(held, whole, _use_new_zipfile_serialization=kind == "zip")
    data, expected, chance = whole.read_bytes(), read_all(whole), random.Random(0)
    outcomes = {"refused": 0, "the same": 0, "other": 0}
    for attempt in range(400):
        hurt = (
            tmp_path / f"{attempt}.pt"
        )  # Windows would not overwrite a file that is mapped
        spoilt = bytearray(data)
        spoilt[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        hurt.write_bytes(spoilt)
        with audited() as events:
            try:
                result = read_all(hurt)
            except CheckpointError:
                outcomes["refused"] += 1
                continue
        assert not [event for event in events if not event.startswith("import")]
        equal = result.keys() == expected.keys() and all(
            torch.equal(result[key], expected[key]) for key in expected
        )
        outcomes["the same" if equal else "other"] += 1
    assert outcomes["refused"] > 100
    assert kind != "zip" or outcomes["other"] == 0


def test_spoilt_pickles_within_good_archives(tmp_path: Path) -> None:
    """Behind the checksums: bytes of the pickle itself replaced, inserted and
    dropped."""
    chance = random.Random(1)
    good = (
        b"\x80\x02}("
        + text("w")
        + TENSOR
        + text("n")
        + b"ccollections\nOrderedDict\n)Rq\x01h\x01"
        + text("cfg")
    )
    good += b"(K\x01G?\xf0\x00\x00\x00\x00\x00\x00lu."
    for attempt in range(400):
        spoilt = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            position = chance.randrange(3, len(spoilt))
            new = bytes(
                [chance.choice(b".(0)]}bcdehijloqrstuQRKNax\x81\x85\x93\x94\xff")]
            )
            spoilt[position : position + chance.randint(0, 1)] = new * chance.randint(
                0, 2
            )
        path = container(tmp_path / f"{attempt}.pt", bytes(spoilt), {"0": bytes(16)})
        try:
            read_all(path)
        except CheckpointError as error:
            assert len(str(error)) < 1000


MEASURE = """
import sys
from pathlib import Path
import torch
from ecgnb.checkpoints.container import open_checkpoint

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024

float(torch.ones(1024, 1024).sum())
before = peak()
checkpoint = open_checkpoint(sys.argv[1])
tensors = {name: checkpoint.tensor(ref) for name, ref in checkpoint.contents["model"].items()}
total = sum(float(tensor.sum()) for tensor in tensors.values())
print(peak() - before, sum(tensor.numel() for tensor in tensors.values()), total, "pandas" in sys.modules)
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="the peak of resident memory is read from /proc"
)
def test_weights_take_no_more_memory_than_themselves_and_moments_none(
    tmp_path: Path,
) -> None:
    model = {f"layer{n}": torch.full((1024, 1024), float(n)) for n in range(8)}
    moments = {
        n: {"exp_avg": torch.zeros(1024, 1024), "exp_avg_sq": torch.ones(1024, 1024)}
        for n in range(8)
    }
    torch.save(
        {"model": model, "last_optimizer_state": {"state": moments}},
        tmp_path / "adam.pt",
    )
    weights = 8 * 2**22
    assert (tmp_path / "adam.pt").stat().st_size > 3 * weights
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "adam.pt")],
        capture_output=True,
        text=True,
        check=True,
    )
    growth, numel, total, pandas = done.stdout.split()
    assert (int(numel), float(total), pandas) == (8 * 2**20, 28.0 * 2**20, "False")
    assert 0.8 * weights < int(growth) < 1.3 * weights


def test_the_loading_path_imports_torch_numpy_and_safetensors_only() -> None:
    code = "import sys, ecgnb.checkpoints.container; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "torch" in loaded and not loaded & {
        "pandas",
        "scipy",
        "sklearn",
        "matplotlib",
        "lightning_fabric",
        "h5py",
    }
