from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_keras import dense, write_sequential

from ecgnb.cli.main import main
from ecgnb.port import load_port

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def keras_file(tmp_path: Path) -> Path:
    return write_sequential(
        tmp_path / "small.h5",
        [20, 2],
        [("Flatten", {"name": "flat"}, {}), dense("d", 40, 3)],
    )


@pytest.fixture(params=[80, 120])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


@pytest.mark.parametrize("command", ["inspect", "convert", "verify"])
def test_port_help(command: str, capsys: Capture) -> None:
    assert main(["port", command, "--help"]) == 0
    assert f"ecgnb port {command}" in capsys.readouterr().out


def test_port_inspect_fits_into_the_terminal(
    golden_dir: Path, width: int, capsys: Capture
) -> None:
    for name in ("pathology_avb", "ribeiro_small"):
        assert (
            main(["port", "inspect", str(golden_dir / "keras" / name / "model.keras")])
            == 0
        )
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= width
        assert "can be ported    yes" in out and "not in the file" in out


def test_port_inspect_goes_on_after_a_file_that_cannot_be_read(
    keras_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["port", "inspect", str(tmp_path / "absent.h5"), str(keras_file)]) == 1
    output = capsys.readouterr()
    assert "small.h5: whole HDF5" in output.out and "There is no file" in output.err


def test_port_inspect_dumps_weights(
    keras_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "d.npz"
    assert main(["port", "inspect", str(keras_file), "--dump", "d", str(out)]) == 0
    with np.load(out) as arrays:
        assert arrays["kernel"].shape == (40, 3)
    assert main(["port", "inspect", str(keras_file), "--dump", "dense", str(out)]) == 1
    assert (
        main(
            [
                "port",
                "inspect",
                str(keras_file),
                str(keras_file),
                "--dump",
                "d",
                str(out),
            ]
        )
        == 2
    )
    assert "one file" in capsys.readouterr().err


def test_port_convert_writes_the_folder(
    keras_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    task = {
        "fs": 100,
        "n_samples": 20,
        "leads": ["I", "II"],
        "classes": ["a", "b", "c"],
    }
    (tmp_path / "task.json").write_text(json.dumps(task), encoding="utf-8")
    out = tmp_path / "out"
    options = [
        "--input-layout",
        "NCT",
        "--contract",
        str(tmp_path / "task.json"),
        "--class-name",
        "Net",
    ]
    assert main(["port", "convert", str(keras_file), "--out", str(out), *options]) == 0
    output = capsys.readouterr().out
    assert sorted(file.name for file in out.iterdir()) == [
        "model.py",
        "model.safetensors",
        "port.json",
        "report.html",
    ]
    assert (
        all(str(file) in output for file in out.iterdir())
        and "--python an interpreter that has it" in output
    )
    port = load_port(out)
    assert (
        port.origin.input_layout == "NCT"
        and port.contract is not None
        and port.contract.fs == 100
    )
    assert "class Net(nn.Module)" in (out / "model.py").read_text(encoding="utf-8")


def test_port_convert_refuses_a_bad_contract(
    keras_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "task.json").write_text("[", encoding="utf-8")
    arguments = [
        "port",
        "convert",
        str(keras_file),
        "--out",
        str(tmp_path / "out"),
        "--contract",
    ]
    assert main([*arguments, str(tmp_path / "task.json")]) == 2
    assert "holds no contract" in capsys.readouterr().err
    assert main([*arguments, "pathology_avc"]) == 2
    assert "Did you mean" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_port_verify_of_file_and_folder(
    golden_dir: Path, tmp_path: Path, width: int, capsys: Capture
) -> None:
    home = golden_dir / "keras" / "pathology_avb"
    out, golden = str(tmp_path / "out"), str(home / "golden.npz")
    assert (
        main(
            [
                "port",
                "convert",
                str(home / "model.json"),
                "--out",
                out,
                "--reference",
                golden,
            ]
        )
        == 0
    )
    assert "PASSED" in capsys.readouterr().out
    for path in (out, str(home / "model.json")):
        assert (
            main(
                [
                    "port",
                    "verify",
                    path,
                    "--reference",
                    golden,
                    "--plot",
                    str(tmp_path / "p.png"),
                ]
            )
            == 0
        )
        output = capsys.readouterr().out
        assert (
            "PASSED: 34 of 34 rows" in output.replace("\n", " ")
            and "Warning: output 0 is saturated" in output
        )
        assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
        assert (
            max(
                len(line)
                for line in output.splitlines()
                if str(tmp_path) not in line and golden not in line
            )
            <= width
        )


def test_port_verify_exits_with_one_when_the_port_diverges(
    golden_dir: Path, tmp_path: Path, capsys: Capture
) -> None:
    home = golden_dir / "keras" / "generic_ecg"
    with np.load(home / "golden.npz") as golden:
        arrays = dict(golden)
    arrays["layer/last_conv"] = arrays["layer/last_conv"] * 1.01
    np.savez(tmp_path / "bad.npz", **arrays)
    reference = [str(home / "model.keras"), "--reference", str(tmp_path / "bad.npz")]
    assert main(["port", "verify", *reference]) == 1
    output = capsys.readouterr()
    assert "First to diverge: last_conv" in output.out and "Likely cause" in output.out
    assert "does not agree with its reference" in output.err
    assert (
        main(
            [
                "port",
                "convert",
                reference[0],
                "--out",
                str(tmp_path / "out"),
                *reference[1:],
            ]
        )
        == 1
    )
    assert (tmp_path / "out" / "report.html").is_file()


def test_port_verify_says_what_it_needs(
    keras_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert (
        main(["port", "convert", str(keras_file), "--out", str(tmp_path / "out")]) == 0
    )
    assert main(["port", "verify", str(tmp_path / "out")]) == 2
    assert "verify the Keras file itself" in capsys.readouterr().err
    assert (
        main(
            ["port", "verify", str(keras_file), "--python", str(tmp_path / "no_python")]
        )
        == 1
    )
    assert "no Python interpreter" in capsys.readouterr().err
