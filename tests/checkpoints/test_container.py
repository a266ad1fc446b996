from __future__ import annotations

import gc
import random
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_pickles import TENSOR, audited, container, rewritten, tensor, text
from safetensors.torch import load_file, save_file

from ecgnb.checkpoints.container import Checkpoint, open_checkpoint
from ecgnb.checkpoints.inert import Inert
from ecgnb.checkpoints.plain import plain, walk
from ecgnb.checkpoints.tensor_refs import TensorRef
from ecgnb.core.errors import CheckpointError

GOLDEN = (
    "pretrained", "pretrained_variant", "pretrained_legacykeys", "finetuned", "finetuned_variant",
    "formats/cfg_omegaconf", "formats/args_namespace", "formats/nonzip", "formats/canary",
)  # fmt: skip
#: What ``weights_only=True`` accepts, by the golden files' own account.
PLAIN = GOLDEN[:3] + GOLDEN[4:5] + ("formats/nonzip",)


@pytest.fixture
def golden(golden_dir: Path) -> Path:
    return golden_dir / "ecg_fm"


def same(found: Any, expected: Any, checkpoint: Checkpoint) -> bool:
    """Whether values are equal, every tensor bit for bit and with its strides."""
    if isinstance(expected, torch.Tensor):
        tensor = checkpoint.tensor(found)
        described = (found.dtype, found.shape, found.stride) == (
            expected.dtype,
            expected.shape,
            expected.stride(),
        )
        bits = (
            each.contiguous().view(-1).view(torch.uint8)
            for each in (tensor, expected.detach())
        )
        return described and tensor.stride() == expected.stride() and torch.equal(*bits)
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(
            same(found[key], expected[key], checkpoint) for key in expected
        )
    if isinstance(expected, list | tuple):
        return type(found) is type(expected) and all(
            map(same, found, expected, [checkpoint] * len(expected))
        )
    return type(found) is type(expected) and found == expected


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


def test_golden_configurations_come_out_of_their_classes(golden: Path) -> None:
    expected = open_checkpoint(golden / "pretrained_variant.pt").contents["cfg"]
    cfg = plain(
        open_checkpoint(golden / "formats" / "cfg_omegaconf.pt").contents["cfg"]
    )
    assert cfg["model"] == expected["model"] and list(cfg["model"]) == list(
        expected["model"]
    )
    assert cfg["optimization"] == expected["optimization"]
    assert not [item for _, _, item in walk(cfg) if isinstance(item, Inert)]
    args = plain(
        open_checkpoint(golden / "formats" / "args_namespace.pt").contents["args"]
    )
    assert {key: args[key] for key in expected["model"]} == expected["model"]


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


def test_scores_of_a_fine_tuned_file_stay_bytes(golden: Path) -> None:
    metrics = open_checkpoint(golden / "finetuned.pt").contents["extra_state"][
        "metrics"
    ]
    arrays = [
        item
        for _, _, item in walk(metrics)
        if isinstance(item, Inert) and item.name.endswith("._reconstruct")
    ]
    assert [array.state[1] for array in arrays] == [(3, 17)] * 4
    scores = np.frombuffer(arrays[0].state[4], "<f4")
    assert scores.shape == (51,) and scores.min() > 0 and scores.max() < 1


# Files of torch.save.

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.complex64, torch.complex128,
    torch.float8_e4m3fn, torch.float8_e5m2,
)  # fmt: skip


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
    found = whole.state_dicts()["_modules.0._parameters"]
    assert torch.equal(whole.tensor(found["weight"]), model[0].weight)


def test_tensors_of_other_kinds_stay_notes(tmp_path: Path) -> None:
    held = {"conjugated": torch.ones(2, dtype=torch.complex64).conj(), "sparse": torch.eye(3).to_sparse(),
            "meta": torch.empty(3, device="meta")}  # fmt: skip
    torch.save(held, tmp_path / "odd.pt")
    found = open_checkpoint(tmp_path / "odd.pt").contents
    assert {key: value.name for key, value in found.items()} == {
        "conjugated": "torch._utils._rebuild_tensor_v2",
        "sparse": "torch._utils._rebuild_sparse_tensor",
        "meta": "torch._utils._rebuild_meta_tensor_no_storage",
    }


def test_files_without_checksums_and_of_any_folder_name(tmp_path: Path) -> None:
    value = {"w": torch.arange(5.0)}
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(value, tmp_path / "no crc.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    checkpoint = open_checkpoint(tmp_path / "no crc.pt")
    assert same(checkpoint.contents, value, checkpoint)


def test_safetensors(tmp_path: Path) -> None:
    own = {
        str(dtype): (torch.rand(3, 5) * 9).to(dtype)
        for dtype in DTYPES
        if dtype != torch.complex128
    }
    held = own | {"odd": torch.ones(3, dtype=torch.uint8), "after": torch.ones(2, dtype=torch.bfloat16),
                  "scalar": torch.tensor(1.5), "empty": torch.empty(0, 2)}  # fmt: skip
    path = tmp_path / "model.safetensors"
    save_file(held, path, metadata={"format": "pt"})
    checkpoint = open_checkpoint(path)
    assert checkpoint.kind == "safetensors" and not checkpoint.globals
    expected = load_file(path)
    assert same(
        checkpoint.contents,
        {name: expected[name] for name in checkpoint.contents},
        checkpoint,
    )
    assert len(checkpoint.contents) == len(held) and list(checkpoint.state_dicts()) == [
        ""
    ]


# Files that are something else, or not whole.

OTHER = {
    "page.pt": (
        b"<!DOCTYPE html><html>Sign in</html>",
        "is a web page.*download the file itself",
    ),
    "page2.pt": (b"\xef\xbb\xbf \n<HTML>", "is a web page"),
    "error.pt": (b'{"error":"Repository not found"}', "error message of a server"),
    "pointer.pt": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "git lfs pull",
    ),
    "empty.pt": (b"", "is empty"),
    "zeros.pt": (bytes(2000), "nothing but zeros"),
    "model.pt.gz": (b"\x1f\x8b\x08\x00abc", "is a gzip file.*(?i:unpack it)"),
    "model.tar": (
        b"storages" + bytes(249) + b"ustar\x0000" + bytes(300),
        "is a tar archive",
    ),
    "model.h5": (b"\x89HDF\r\n\x1a\nabc", "is an HDF5 file"),
    "x.npy": (b"\x93NUMPY\x01\x00", "NumPy array"),
    "notes.pt": (b"any text", "begins with 'any text'"),
    "noise.pt": (b"\x07\x9b\x00\x01" * 20, "begins with 07 9b 00 01"),
    "sklearn.pkl": (b"\x80\x04csklearn.svm\nSVC\n)R.", "plain pickle.*sklearn.svm.SVC"),
    "joblib.pkl": (b"\x80\x04\x95\x00\x00\x00", "plain pickle"),
}


@pytest.mark.parametrize("name", OTHER)
def test_other_files_are_told_by_what_they_are(tmp_path: Path, name: str) -> None:
    content, told = OTHER[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=told):
        open_checkpoint(tmp_path / name)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"is a folder.*model\.pt"):
        open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="There is no file"):
        open_checkpoint(tmp_path / "absent.pt")


def test_other_zip_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    container(
        tmp_path / "script.pt",
        b"N.",
        **{"constants.pkl": b")."},
        **{"code/__torch__/m.py": b"pass"},
    )
    contents = {"nested.zip": ["model.pt"], "other.zip": ["readme.txt"], "twice.pt": ["a/data.pkl", "a/data.pkl"],
                "model.keras": ["config.json", "model.weights.h5"], "two.pt": ["a/data.pkl", "b/data.pkl"]}  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own about two entries of one name
        for name, entries in contents.items():
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                for entry in entries:
                    archive.writestr(entry, b"N.")
    told = {"arrays.npz": "NumPy archive", "nested.zip": "'model.pt' in it; unpack", "other.zip": "it has 'readme.txt'",
            "twice.pt": "two entries of one name", "script.pt": "TorchScript", "model.keras": "a Keras model",
            "two.pt": "in two folders"}  # fmt: skip
    for name, words in told.items():
        with pytest.raises(CheckpointError, match=words):
            open_checkpoint(tmp_path / name)


def test_compressed_big_endian_and_incomplete_archives(tmp_path: Path) -> None:
    source = tmp_path / "good.pt"
    torch.save({"w": torch.arange(500.0), "v": torch.ones(3)}, source)
    faults: list[tuple[dict[str, Any], str]] = [
        ({"compression": zipfile.ZIP_DEFLATED}, "compressed or encrypted"),
        ({"byteorder": b"big"}, "byte order big-endian"),
        ({"byteorder": b"middle"}, "byte order .*middle"),
        ({"data/1": None}, "storage '1', which the file does not have"),
        ({"data/0": b"\0" * 1999}, "'0' should have 2,000 bytes and has 1,999"),
        ({"data.pkl": b"\x80\x02}q"}, "data.pkl in .* its pickle is damaged"),
    ]
    for place, (changes, told) in enumerate(faults):
        path = rewritten(source, tmp_path / f"{place}.pt", **changes)
        with pytest.raises(CheckpointError, match=told):
            open_checkpoint(path)
    intact = open_checkpoint(
        rewritten(source, tmp_path / "same.pt")
    )  # offsets that are no multiple of anything
    assert torch.equal(intact.tensor(intact.contents["w"]), torch.arange(500.0))


def test_a_big_endian_legacy_file(tmp_path: Path) -> None:
    torch.save([1], tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    data = (tmp_path / "old.pt").read_bytes()
    place = data.index(b"little_endian") + len(b"little_endian")
    assert data[place : place + 3] == b"q\x02\x88"
    (tmp_path / "old.pt").write_bytes(data[: place + 2] + b"\x89" + data[place + 3 :])
    with pytest.raises(CheckpointError, match="big-endian"):
        open_checkpoint(tmp_path / "old.pt")


LIES = {
    "more elements than the storage": {"shape": b"K\x05\x85"},
    "behind the storage": {"offset": b"K\x01"},
    "stride over the end": {"stride": b"K\x02\x85"},
    "negative offset": {"offset": b"J\xff\xff\xff\xff"},
    "negative size": {"shape": b"J\xff\xff\xff\xff\x85"},
    "negative stride": {"stride": b"J\xff\xff\xff\xff\x85"},
    "sizes that overflow": {
        "shape": b"\x8a\x08" + struct.pack("<q", 2**61) + b"\x85",
        "stride": b"K\x00\x85",
    },
    "repeated without end": {"shape": b"J\x00\x00\x00\x7f\x85", "stride": b"K\x00\x85"},
    "axes that do not fit": {"stride": b"K\x01K\x01\x86"},
    "size a float": {"shape": b"G\x40\x10\x00\x00\x00\x00\x00\x00\x85"},
    "size a truth": {"shape": b"\x88\x85"},
    "storage larger than its bytes": {"numel": 5},
    "negative storage": {"numel": -1},
}


@pytest.mark.parametrize("lie", LIES)
def test_descriptions_that_lie_are_refused_before_use(tmp_path: Path, lie: str) -> None:
    honest = open_checkpoint(
        container(tmp_path / "honest.pt", tensor(), {"0": bytes(16)})
    )
    assert torch.equal(honest.tensor(honest.contents["w"]), torch.zeros(4))
    path = container(tmp_path / "lie.pt", tensor(**LIES[lie]), {"0": bytes(16)})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="pickle is damaged"):
        open_checkpoint(path)


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


def test_odd_calls_of_tensor_builders_stay_notes(tmp_path: Path) -> None:
    calls = (
        b"ctorch._utils\n_rebuild_tensor_v2\n)R"
        + b"ctorch._utils\n_rebuild_parameter\nK\x01\x85R"
    )
    calls += b"ctorch._tensor\n_rebuild_from_type_v2\n(K\x01K\x02K\x03K\x04tR"
    calls += TENSOR.replace(b"torch\nFloatStorage", b"evil\nFloatStorage")
    path = container(
        tmp_path / "odd.pt", b"\x80\x02(" + calls + b"l.", {"0": bytes(16)}
    )
    assert all(isinstance(each, Inert) for each in open_checkpoint(path).contents)


SAFETENSORS = {
    "no json": (b"{nope", "no JSON"),
    "a list": (b"[]", "no PyTorch checkpoint"),
    "offsets beyond": (
        b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
        "is incomplete",
    ),
    "size and offsets": (
        b'{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}',
        "does not have 8 bytes",
    ),
    "negative": (
        b'{"w":{"dtype":"F32","shape":[-1],"data_offsets":[8,4]}}',
        "is damaged",
    ),
    "unknown type": (
        b'{"w":{"dtype":"F9","shape":[],"data_offsets":[0,4]}}',
        "is damaged",
    ),
    "nested": (b'{"w":' + b"[" * 100_000, "no JSON"),
    "no entry": (b'{"w":5}', "is damaged"),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_damaged_safetensors(tmp_path: Path, case: str) -> None:
    header, told = SAFETENSORS[case]
    (tmp_path / "a.safetensors").write_bytes(
        struct.pack("<Q", len(header)) + header + bytes(8)
    )
    with pytest.raises(CheckpointError, match=told):
        open_checkpoint(tmp_path / "a.safetensors")


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
                found = read_all(hurt)
            except CheckpointError:
                outcomes["refused"] += 1
                continue
        assert not [event for event in events if not event.startswith("import")]
        equal = found.keys() == expected.keys() and all(
            torch.equal(found[key], expected[key]) for key in expected
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
            place = chance.randrange(3, len(spoilt))
            new = bytes(
                [chance.choice(b".(0)]}bcdehijloqrstuQRKNax\x81\x85\x93\x94\xff")]
            )
            spoilt[place : place + chance.randint(0, 1)] = new * chance.randint(0, 2)
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
