"""Ports of the golden models in every container: real weights, real recordings, values
computed by TensorFlow."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from zoo_cases import ZOO, run_layers

from ecgnb.core.errors import ConfigError
from ecgnb.port import port_keras

CONTAINERS = {
    "pathology_avb": (
        "model.json",
        "whole_keras2.h5",
        "model.keras",
        "model_tfkeras2.keras",
    ),
    "generic_ecg": (
        "model.json",
        "whole_keras2_with_optimizer.h5",
        "model.keras",
        "model_tfkeras2.keras",
    ),
    "ribeiro_small": ("whole_keras2.h5", "model.keras"),
}
FILES = [(model, file) for model, files in CONTAINERS.items() for file in files]
PARAMETERS = {"pathology_avb": 64_386, "generic_ecg": 201_667, "ribeiro_small": 44_966}


@pytest.mark.parametrize(("name", "file"), FILES)
def test_ported_layers_outputs_and_gradients_are_those_of_keras(
    golden_dir: Path, name: str, file: str
) -> None:
    folder = golden_dir / "keras" / name
    port = port_keras(folder / file)
    with np.load(folder / "golden.npz") as golden:
        key = next(each for each in golden.files if each.startswith("in/"))
        signal = torch.from_numpy(golden[key]).requires_grad_()
        layers, (output,) = run_layers(port, [signal])
        stored = [
            each.removeprefix("layer/")
            for each in golden.files
            if each.startswith("layer/")
        ]
        assert len(stored) >= 9
        for label in stored:
            got = layers[label].detach().numpy()
            assert list(got.shape) == golden[f"shape/{label}"].tolist()
            kept = (
                got[:, golden[f"steps/{label}"]] if f"steps/{label}" in golden else got
            )
            scale = max(golden[f"mean/{label}"][1], 1e-3)
            assert np.abs(kept - golden[f"layer/{label}"]).max() <= 1e-5 * scale, label
            assert (
                abs(np.abs(got).max() - golden[f"mean/{label}"][1]) <= 1e-5 * scale
            ), label
        np.testing.assert_allclose(
            output.detach(),
            golden["out/0"],
            atol=1e-6 if name != "generic_ecg" else 1e-5,
        )
        logits = (
            port.logits(signal) if port.origin.activations == ("softmax",) else output
        )
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), signal)
        wanted = golden[f"grad0/{key[3:]}"]
        assert np.abs(gradient.numpy() - wanted).max() <= 1e-4 * np.abs(wanted).max()
    assert (
        sum(p.numel() for p in port.parameters()) + _statistics(port)
        == PARAMETERS[name]
    )


def _statistics(port: nn.Module) -> int:
    """Count moving means and variances, which Keras counts as parameters and PyTorch
    does not."""
    return sum(
        buffer.numel()
        for name, buffer in port.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    )


def test_ported_modules_are_real_ones_under_the_keras_names(golden_dir: Path) -> None:
    port = port_keras(golden_dir / "keras/pathology_avb/model.json")
    kinds = {name: type(module) for name, module in port.named_children()}
    assert kinds["conv1d"] is kinds["conv1d_4"] is nn.Conv1d
    assert kinds["activation_4"] is nn.ELU and kinds["max_pooling1d"] is nn.MaxPool1d
    assert (
        kinds["dense_3"] is nn.Linear
        and kinds["softmax"] is nn.Softmax
        and kinds["dropout"] is nn.Dropout
    )
    assert list(kinds)[-1] == "softmax" and len(kinds) == 31
    assert not port.training


def test_ported_logits_share_the_weights_and_lack_the_softmax(golden_dir: Path) -> None:
    port = port_keras(golden_dir / "keras/pathology_avb/model.json")
    x = torch.randn(2, 2000, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(port.logits(x).softmax(-1), port(x))
    assert dict(port.logits.named_modules()).keys() == dict(
        port.named_modules()
    ).keys() - {"softmax"}
    assert port.logits.dense_3.weight is port.dense_3.weight
    with torch.no_grad():
        port.dense_3.bias += 1
    torch.testing.assert_close(port.logits(x).softmax(-1), port(x))


def test_ported_copies_are_of_their_own(golden_dir: Path) -> None:
    port = port_keras(golden_dir / "keras/generic_ecg/model.keras")
    x = torch.randn(1, 3000, 1)
    twin = copy.deepcopy(port).double()
    assert twin.origin == port.origin and twin(x.double()).dtype == torch.float64
    with torch.no_grad():
        twin.dense.weight.zero_()
    assert port.dense.weight.abs().sum() > 0
    with pytest.raises(ConfigError, match="must be a tensor of shape"):
        twin(x[:, :100].double())


def test_ported_inputs_of_another_kind_are_refused_with_what_to_do(
    golden_dir: Path,
) -> None:
    port = port_keras(golden_dir / "keras/generic_ecg/model.keras")
    with pytest.raises(
        ConfigError, match=r"must be a tensor; it was given ndarray.*from_numpy"
    ):
        port(np.zeros((1, 3000, 1), np.float32))
    with pytest.raises(ConfigError, match=r"is torch.float64, the model torch.float32"):
        port(torch.zeros(1, 3000, 1, dtype=torch.float64))


def test_ported_models_leave_the_users_random_numbers_alone(golden_dir: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    port_keras(golden_dir / "keras/generic_ecg/model.keras")
    assert torch.equal(torch.get_rng_state(), before)


BLOCKED = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "keras", "tf_keras", "onnx"):
            raise AssertionError(f"somebody imports {name}")
sys.meta_path.insert(0, Refuse())
import torch
from ecgnb.port import compare, convert, inspect_keras, load_port, port_keras, source_code
from ecgnb.explain import explain
out, file = sys.argv[2], sys.argv[3]
inspect_keras(file)
port = port_keras(file)
print(compare(port, sys.argv[4]).passed)
convert(file, out)
load_port(out)
source_code(port)
shape = [size or 64 for size in list(port.origin.inputs.values())[0][1:]]
explain(port, torch.randn(1, *shape), "gradient", 0)
assert not {"tensorflow", "keras", "tf_keras"} & set(sys.modules)
"""


def test_ported_without_keras_and_tensorflow(tmp_path: Path) -> None:
    """Everything but the oracle, in a process in which nobody can import them."""
    command = [sys.executable, "-c", BLOCKED, str(ZOO), str(tmp_path / "port")]
    files = [ZOO / "net_inception_k3.keras", ZOO / "net_inception.npz"]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"
