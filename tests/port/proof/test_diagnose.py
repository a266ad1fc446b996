from __future__ import annotations

import dataclasses

import pytest
import torch
from faults import put, replace
from pairs import golden_pair, zoo_pair

from ecgnb.port import PortedModel
from ecgnb.port.proof.compare import compare
from ecgnb.port.proof.reference import Reference, Stored, read_reference


def test_cause_names_mistake_layer_and_remaining_difference() -> None:
    port, golden = zoo_pair("norm_batch")
    port.bn_eps.eps = 0.003  # Keras has 0.1 there
    cause = compare(port, golden).cause
    assert cause.startswith(
        "bn_eps (BatchNormalization): BatchNorm epsilon: the port has 0.003; 0.1 fits. "
        "With this repaired, the layer agrees to "
    )
    assert float(cause.split("agrees to ")[1].split()[0]) < 1e-6


def test_cause_of_an_epsilon_that_no_library_uses_is_unknown() -> None:
    port, golden = zoo_pair("norm_batch")
    reference = with_bn(port, read_reference(golden), eps=0.0371)
    assert "bn (BatchNormalization): unknown" in compare(port, reference).cause


@pytest.mark.parametrize("array", ["running_var", "weight"])
def test_cause_of_a_wrong_scale_is_no_epsilon(array) -> None:
    """Where the variances are small, a larger gamma or variance looks like another
    epsilon (0.004 for 0.001)."""
    port, golden = zoo_pair("norm_batch")
    port.bn.running_var.fill_(1e-9)
    reference = with_bn(port, read_reference(golden), eps=1e-3)
    getattr(port.bn, array).data *= {"running_var": 4e6, "weight": 0.5}[array]
    assert "bn (BatchNormalization): unknown" in compare(port, reference).cause


def test_epsilon_must_fit_the_small_channels_too() -> None:
    """Channel 0 is so small that, on the scale of the layer, any epsilon fits it."""
    port, golden = zoo_pair("norm_batch")
    port.bn.weight.data[0], port.bn.bias.data[0] = 1e-5, 0.0
    reference = with_bn(port, read_reference(golden), eps=1e-3)
    port.bn.eps = 1e-5
    assert (
        "BatchNorm epsilon: the port has 1e-05; 0.001 fits"
        in compare(port, reference).cause
    )
    port.bn.weight.data[0] *= 1.2
    assert "bn (BatchNormalization): unknown" in compare(port, reference).cause


def with_bn(port: PortedModel, reference: Reference, eps: float) -> Reference:
    """Return a reference with the output of the port's layer ``bn`` at an epsilon."""
    original, port.bn.eps = port.bn.eps, eps
    ecg = torch.from_numpy(reference.inputs["ecg"]).transpose(1, 2)
    with torch.no_grad():
        values = port.bn(ecg).transpose(1, 2).numpy()
    port.bn.eps = original
    layers = reference.layers | {"bn": Stored.whole(values)}
    return dataclasses.replace(reference, layers=layers)


def test_cause_of_another_shape_names_both_shapes(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    port.max_pooling1d_2.kernel_size = 3
    comparison = compare(port, golden)
    table = comparison.table.set_index("layer")
    assert table.loc["max_pooling1d_2", "verdict"] == "DIVERGES"
    assert (
        "The port's output has the shape [2, 249, 64], the reference's [2, 250, 64]."
        in comparison.cause
    )


def test_cause_of_a_port_that_stops_names_the_node(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "generic_ecg")
    replace(port, "max_pooling1d", torch.nn.MaxPool1d(2))
    comparison = compare(port, golden)
    assert "shape [2, 1500, 16], the reference's [2, 750, 16]" in comparison.cause
    after = comparison.table.set_index("layer").loc["dense"]
    assert after["verdict"] == "DIVERGES" and after["max_abs"] == float("inf")
    assert "max_pooling1d" in comparison.plot()._suptitle.get_text()
    assert "FAILED" in comparison._repr_html_()
    outputs_only = dataclasses.replace(read_reference(golden), layers={}, gradients={})
    assert (
        "stops at dense, whose inputs have the shapes [[2, 5952]]: mat1 and"
        in compare(port, outputs_only).cause
    )


def test_unknown_cause_counts_the_channels_that_differ(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    wrong = torch.sin(torch.arange(2 * 64 * 3.0)).reshape(2, 64, 3)
    port.conv1d_4.weight.data[[3, 9]] = wrong
    cause = compare(port, golden).cause
    assert "conv1d_4 (Conv1D): unknown: none of the known repairs" in cause
    assert "It differs in 2 of 64 channels; the largest difference is" in cause


def test_cause_is_never_named_if_nothing_repairs_the_layer(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "ribeiro_small")
    torch.manual_seed(0)
    for name in ("conv1d_5", "batch_normalization_3", "dense"):
        weight = port.get_submodule(name).weight
        right = weight.data.clone()
        put(weight, right + 0.1 * torch.randn_like(right))
        comparison = compare(port, golden)
        assert comparison.first_divergent == name and "unknown" in comparison.cause
        put(weight, right)
    assert compare(port, golden).passed


def test_cause_is_not_searched_without_the_layers_before(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "ribeiro_small")
    reference = dataclasses.replace(read_reference(golden), layers={}, gradients={})
    port.conv1d.weight.data *= 1.1
    assert "give a reference with all layers" in compare(port, reference).cause
