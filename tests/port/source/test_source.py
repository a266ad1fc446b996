from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_keras import dense, write_sequential
from zoo_cases import ZooModel, zoo_models

from ecgnb.core.errors import ConfigError
from ecgnb.port import port_keras, source_code

#: Loads every exported model in a process in which ecgnb and h5py cannot be imported,
#: and keeps what it computes.
RUN = """
import importlib.util, sys
from pathlib import Path
sys.modules["ecgnb"] = sys.modules["h5py"] = None
import torch
torch.set_num_threads(int(sys.argv[2]))  # another number of threads sums in another order
for folder in sorted(Path(sys.argv[1]).iterdir()):
    spec = importlib.util.spec_from_file_location(f"exported_{folder.name}", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.load()
    inputs = torch.load(folder / "inputs.pt", weights_only=True)
    with torch.no_grad():
        torch.save([model(*inputs), model.logits(*inputs), list(model.state_dict())], folder / "outputs.pt")
"""


def each_case() -> list[ZooModel]:
    """One container of each case and version of Keras; the architecture is the same in
    all."""
    return list({(model.case, model.keras): model for model in zoo_models()}.values())


def flat(outputs: torch.Tensor | tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)


@pytest.fixture(scope="module")
def exported(saved_zoo: Path) -> Path:
    """The saved ports, and beside each what its ``model.py`` computes elsewhere."""
    subprocess.run(
        [sys.executable, "-c", RUN, str(saved_zoo), str(torch.get_num_threads())],
        check=True,
        cwd=saved_zoo,
    )
    return saved_zoo


def test_source_of_every_zoo_model_computes_the_same_without_ecgnb(
    exported: Path,
) -> None:
    different = []
    for folder in sorted(exported.iterdir()):
        found = torch.load(folder / "outputs.pt", weights_only=True)
        wanted = torch.load(folder / "wanted.pt", weights_only=True)
        same = all(
            torch.equal(one, other)
            for place in (0, 1)
            for one, other in zip(flat(found[place]), flat(wanted[place]), strict=True)
        )
        if not same or sorted(found[2]) != sorted(wanted[2]):
            different.append(folder.name)
    assert not different
    assert len(list(exported.iterdir())) == len(each_case()) > 80


def test_source_is_formatted_and_imports_pytorch_alone(exported: Path) -> None:
    files = sorted(exported.glob("*/model.py"))
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert max(map(len, text.splitlines())) <= 112, file.parent.name
        nodes = list(ast.walk(ast.parse(text)))
        plain = {
            alias.name
            for node in nodes
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        named = {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        roots = {name.split(".")[0] for name in plain | named}
        assert not roots - {"torch", "safetensors"} - sys.stdlib_module_names, (
            file.parent.name
        )
    ruff = [sys.executable, "-m", "ruff"]
    if subprocess.run([*ruff, "--version"], capture_output=True).returncode == 0:
        options = ["--isolated", "--line-length", "88", str(exported)]
        done = subprocess.run(
            [*ruff, "format", "--check", *options], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
        done = subprocess.run(
            [*ruff, "check", "--select", "E,F,W,I", "--ignore", "E501", *options],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["pathology_avb", "generic_ecg", "ribeiro_small"])
def test_source_of_the_golden_models(
    golden_dir: Path, tmp_path: Path, name: str
) -> None:
    port = port_keras(golden_dir / "keras" / name / "model.keras")
    with np.load(golden_dir / "keras" / name / "golden.npz") as golden:
        x = [
            torch.from_numpy(golden[key])
            for key in golden.files
            if key.startswith("in/")
        ]
    module = run(source_code(port))
    model = module["Model"]().eval()
    model.load_state_dict(port.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(model(*x), port(*x))
        assert torch.equal(model.logits(*x), port.logits(*x))


def run(text: str) -> dict:
    names: dict = {"__file__": "model.py"}
    exec(compile(text, "model.py", "exec"), names)
    return names


def test_source_reads_like_code_that_people_write(golden_dir: Path) -> None:
    text = source_code(
        port_keras(
            golden_dir / "keras/pathology_avb/model.json", contract="pathology_avb"
        ),
        "AVB",
    )
    assert "class AVB(nn.Module):\n" in text
    assert '        self.conv1d = nn.Conv1d(12, 64, 3, padding="same")\n' in text
    assert (
        "        # [B, 2000, 12] -> [B, 12, 2000], channels before time\n"
        "        x = signal.transpose(1, 2)\n" in text
    )
    assert "        return self.softmax(self.logits(signal))\n" in text
    assert "from the file 'model.json' written by Keras 2.6.0" in text
    assert "rate     500 Hz" in text and "CC BY 4.0" in text
    assert "relevance" not in text and "noqa" not in text


def test_source_refuses_another_shape_than_the_model_was_trained_with(
    tmp_path: Path,
) -> None:
    path = write_sequential(
        tmp_path / "m.h5",
        [20, 2],
        [("Flatten", {"name": "flat"}, {}), dense("d", 40, 1)],
    )
    model = run(source_code(port_keras(path)))["Model"]()
    assert model(torch.zeros(3, 20, 2)).shape == (3, 1)
    for shape in ((3, 2, 20), (3, 21, 2), (20, 2)):
        with pytest.raises(
            ValueError, match=r"signal must have the shape \(None, 20, 2\)"
        ):
            model(torch.zeros(shape))


HOSTILE = [
    'a"""\nimport os\nos.abort()\n"""',
    "b\nraise SystemExit",
    "c'); raise SystemExit #",
    "d\\",
    "{class_name}",
    "__hidden",
    "load",
    "forward",
    "logits",
    "check_shape",
    "ﬁne",
    "\u202eesrever",
    "class",
    "7",
    "\x1b[2J",
]


def test_source_takes_no_code_from_names_in_the_file(tmp_path: Path) -> None:
    """Layer, model and file names are the attacker's; the exported file must hold
    definitions and nothing else."""
    entries = [dense(name.replace("/", "_"), 3, 3) for name in HOSTILE]
    path = tmp_path / "m'\nraise SystemExit\n.h5"
    port = port_keras(
        write_sequential(path, [3], entries, name='x"""\nraise SystemExit\n"""')
    )
    text = source_code(port)
    kinds = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
    docstring, *rest = ast.parse(text).body
    assert isinstance(docstring, ast.Expr) and isinstance(docstring.value, ast.Constant)
    assert all(isinstance(each, kinds) for each in rest)
    assert {sign for sign in text if not sign.isprintable()} == {"\n"}
    model = run(text)["Model"]().eval()
    model.load_state_dict(port.state_dict(), strict=True)
    x = torch.randn(4, 3)
    assert torch.equal(model(x), port(x))
    assert len(port.state_dict()) == 2 * len(HOSTILE)


@pytest.mark.parametrize(
    "name", ["", "7up", "class", "nn", "Tensor", "load", "SamePad1d", "a b"]
)
def test_source_refuses_a_class_name_that_cannot_be(tmp_path: Path, name: str) -> None:
    pool = (
        "MaxPooling1D",
        {"name": "p", "pool_size": [3], "strides": [2], "padding": "same"},
        {},
    )
    port = port_keras(write_sequential(tmp_path / "m.h5", [5, 2], [pool]))
    with pytest.raises(ConfigError, match="class_name"):
        source_code(port, name)
