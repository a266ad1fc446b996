from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import faults_zoo
import numpy as np
import pytest
import torch
from faults import FAULTS
from pairs import GOLDEN, ZOO, faulty_pair, golden_pair, port_of, zoo_pair

from ecgnb.core.errors import PortError
from ecgnb.port import port_keras
from ecgnb.port.proof.compare import compare, untested_weights
from ecgnb.port.proof.layer_rows import Verification
from ecgnb.port.proof.reference import Reference, read_reference

assert faults_zoo
ON_GOLDEN = [fault for fault in FAULTS if fault.golden]
ON_ZOO = [fault for fault in FAULTS if not fault.golden]
#: The mistakes that must be named, not only found.
NAMED = (
    "transposed kernel",
    "flatten order",
    "BatchNorm epsilon",
    "padding side",
    "gate order",
    "missing activation",
)


@pytest.fixture
def twice():
    """A network of two inputs, shared parts and its reference."""
    port, golden = zoo_pair("nested_twice")
    return port, read_reference(golden)


def check(fault, golden_dir) -> None:
    comparison = compare(*faulty_pair(fault, golden_dir))
    assert not comparison.passed
    assert comparison.first_divergent == fault.layer
    assert fault.cause in comparison.cause
    assert fault.cause or "unknown" in comparison.cause, (
        "a cause that is named must be expected"
    )


@pytest.mark.parametrize("fault", ON_GOLDEN, ids=lambda fault: fault.name)
def test_compare_finds_each_fault(fault, golden_dir) -> None:
    check(fault, golden_dir)


@pytest.mark.parametrize("fault", ON_ZOO, ids=lambda fault: fault.name)
def test_compare_finds_each_fault_in_the_zoo(fault) -> None:
    check(fault, None)


def test_compare_faults_are_many_and_of_all_kinds() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 100
    causes = " ".join(fault.cause for fault in FAULTS)
    assert all(kind in causes for kind in NAMED)
    assert sum(fault.cause.startswith(NAMED) for fault in FAULTS) >= 25


@pytest.mark.parametrize(
    ("model", "container"),
    [(model, each) for model, files in GOLDEN.items() for each in files],
)
@pytest.mark.parametrize("layout", ["NTC", "NCT"])
def test_compare_passes_every_golden_container(
    model, container, layout, golden_dir
) -> None:
    folder = golden_dir / "keras" / model
    comparison = compare(
        port_keras(folder / container, input_layout=layout), folder / "golden.npz"
    )
    assert comparison.passed
    table = comparison.table.set_index("layer")
    assert set(table["verdict"]) == {"equal"}
    assert (
        table["relative"]
        .drop(f"gradient of {next(iter(read_reference(folder / 'golden.npz').inputs))}")
        .max()
        < 2e-6
    )
    assert (
        table["reference_vs_float64"].max() < 2e-5
    )  # both are within rounding of the exact result


def test_compare_passes_the_whole_zoo() -> None:
    index = json.loads((ZOO / "index.json").read_text(encoding="utf-8"))
    failed = {}
    for line in index["models"]:
        if line["files"]:
            comparison = compare(port_of(line["files"]), ZOO / line["golden"])
            if not comparison.passed:
                failed[line["files"][0]] = str(comparison)
    assert not failed


def test_compare_ignores_the_momentum(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "ribeiro_small")
    port.batch_normalization_3.momentum = 0.5
    assert compare(port, golden).passed


def test_compare_tells_of_an_epsilon_that_hardly_moves_the_output(golden_dir) -> None:
    """The reason for comparing layers: an absolute 1e-3 on the output would let this
    pass."""
    port, golden = golden_pair(golden_dir, "ribeiro_small")
    port.batch_normalization_8.eps = 1e-5
    output = compare(port, golden).table.set_index("layer").loc["output 0"]
    assert 1e-5 < output["max_abs"] < 1e-3


def test_compare_finds_a_fault_that_saturation_hides(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    port.conv1d.bias.data[5] += 0.01
    comparison = compare(port, golden)
    table = comparison.table.set_index("layer")
    assert (
        table.loc["output 0", "verdict"] == "equal"
        and table.loc["softmax", "verdict"] == "equal"
    )
    assert comparison.first_divergent == "conv1d" and not comparison.passed
    assert any(
        "output 0 is saturated" in warning and "2 of 2" in warning
        for warning in comparison.warnings
    )


def test_compare_raises_with_the_cause(twice) -> None:
    port, reference = twice
    port.get_submodule("encoder.encoder_bn_1").eps = 1e-5
    with pytest.raises(
        PortError,
        match=r"(?s)FAILED.*encoder/encoder_bn_1.*BatchNorm epsilon.*0\.001 fits",
    ):
        compare(port, reference).raise_if_failed()


def test_compare_with_outputs_alone_warns(twice) -> None:
    port, reference = twice
    alone = dataclasses.replace(reference, layers={}, gradients={})
    comparison = compare(port, alone)
    assert comparison.passed
    assert any(
        "only the final outputs were compared" in warning
        for warning in comparison.warnings
    )
    assert any("no input gradients" in warning for warning in comparison.warnings)


def test_compare_with_a_softmax_alone_warns(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    reference = read_reference(golden)
    bare = dataclasses.replace(
        reference, layers={"softmax": reference.layers["softmax"]}, gradients={}
    )
    comparison = compare(port, bare)
    assert (
        not comparison.passed and comparison.first_divergent is None
    )  # saturated: nothing could have differed
    assert "Nothing was compared that could have differed." in str(comparison)
    assert any(
        "only the final probabilities were compared" in warning
        for warning in comparison.warnings
    )
    assert any("its logits are not there" in warning for warning in comparison.warnings)


def test_compare_warns_of_a_zero_gradient(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    reference = read_reference(golden)
    bias, weight = port.dense.bias.data, port.dense.weight.data
    bias.fill_(-200.0), weight.zero_()  # every ELU at -1, as on uniform noise
    with torch.no_grad():
        output = port(torch.from_numpy(reference.inputs["conv1d_input"])).numpy()
    flat = {"conv1d_input": np.zeros_like(reference.gradients["conv1d_input"])}
    comparison = compare(port, Reference(reference.inputs, [output], {}, flat))
    assert any(
        "gradient of conv1d_input is zero" in warning for warning in comparison.warnings
    )


def test_compare_refuses_a_reference_of_another_model(twice, golden_dir) -> None:
    port, reference = twice
    with pytest.raises(
        PortError,
        match=r"has the inputs conv1d_input, the model first, second.*another model",
    ):
        compare(port, golden_dir / "keras" / "pathology_avb" / "golden.npz")
    short = {name: values[:, :5] for name, values in reference.inputs.items()}
    with pytest.raises(PortError, match="of another model: The input 'first' must be"):
        compare(port, dataclasses.replace(reference, inputs=short))
    with pytest.raises(PortError, match="it has 2 outputs, the port 1"):
        compare(port, dataclasses.replace(reference, outputs=reference.outputs * 2))
    strange = {f"other_{label}": stored for label, stored in reference.layers.items()}
    with pytest.raises(PortError, match="none of its layers"):
        compare(port, dataclasses.replace(reference, layers=strange))


def test_compare_needs_no_keras() -> None:
    port, golden = "nested_twice", ZOO / "nested_twice.npz"
    code = (
        "import sys\n"
        "for name in ('keras', 'tensorflow', 'tf_keras'): sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(ZOO.parent)!r})\n"
        "from pairs import zoo_pair\n"
        "from ecgnb.port.proof.compare import compare\n"
        f"print(compare(zoo_pair({port!r})[0], {str(golden)!r}).passed)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"


def test_compare_plot_draws_every_row(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "ribeiro_small")
    port.batch_normalization_4.eps = 1e-5
    figure = compare(port, golden).plot()
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()][:2] == [
        "conv1d",
        "batch_normalization",
    ]
    assert len(axes.get_yticks()) == 51 and axes.get_xscale() == "log"
    drawn = {line.get_label(): line for line in axes.get_lines()}
    assert {
        "tolerance",
        "port vs reference",
        "port vs float64",
        "reference vs float64",
        "diverges",
    } <= set(drawn)
    assert set(drawn["tolerance"].get_xdata()) == {1e-5, 1e-4}
    assert len(drawn["diverges"].get_xdata()) == 27
    assert (
        figure._suptitle.get_text()
        == "Port and reference: 27 of 51 diverge, first batch_normalization_4"
    )


def test_untested_weights_are_those_behind_zeros_and_before_shut_relus(
    golden_dir,
) -> None:
    """Counted by hand for a Dense with ReLU: inputs that are ever other than zero,
    times units that are ever open."""
    port, golden = golden_pair(golden_dir, "generic_ecg")
    reference = read_reference(golden)
    inputs, outputs = (
        reference.layers["flatten"].values,
        reference.layers["dense"].values,
    )
    tested = 0
    for unit in range(outputs.shape[1]):
        opened = outputs[:, unit] > 0
        tested += int((inputs[opened] != 0).any(axis=0).sum()) + int(opened.any())
    untested, total = untested_weights(Verification(port, reference, 1e-5, 1e-4))[
        "dense"
    ]
    assert total == 2944 * 64 + 64 and untested == total - tested > 100_000


def test_untested_weights_are_none_where_nothing_is_shut(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")  # ELUs are never shut
    assert (
        untested_weights(Verification(port, read_reference(golden), 1e-5, 1e-4)) == {}
    )
    assert not any(
        "no influence" in warning for warning in compare(port, golden).warnings
    )


def test_compare_warns_of_weights_that_these_inputs_cannot_test(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "generic_ecg")
    silent = int(
        (read_reference(golden).layers["flatten"].values != 0).any(axis=0).argmin()
    )
    with torch.no_grad():
        port.dense.weight[:, silent] += 1.0
    comparison = compare(port, golden)
    assert comparison.passed
    assert any(
        "weights have no influence" in warning and "dense 120298 of 188480" in warning
        for warning in comparison.warnings
    )


def test_untested_weights_of_a_table_are_the_rows_not_looked_up() -> None:
    port, golden = zoo_pair("embedding")
    reference = read_reference(golden)
    used = len(set(reference.inputs["tokens"].ravel().tolist()))
    counted = untested_weights(Verification(port, reference, 1e-5, 1e-4))
    assert counted.get("embedding", (0, 28)) == ((7 - used) * 4, 28)


def test_untested_weights_leave_out_layers_of_another_shape(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    port.max_pooling1d_2.kernel_size = 3
    assert (
        untested_weights(Verification(port, read_reference(golden), 1e-5, 1e-4)) == {}
    )
