from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from faults import put, replace
from pairs import golden_pair, zoo_pair

from ecgnb.core.errors import PortError
from ecgnb.port import PortedModel
from ecgnb.port.proof.compare import compare
from ecgnb.port.proof.diagnose import diagnose
from ecgnb.port.proof.reference import Reference, Stored, read_reference


def test_diagnose_says_what_the_comparison_says(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    put(port.conv1d_3.weight, port.conv1d_3.weight.flip(-1))
    sentence = diagnose(port, read_reference(golden), "conv1d_3")
    assert sentence == compare(port, golden).cause
    assert sentence.startswith(
        "conv1d_3 (Conv1D): flipped kernel: weight is reversed in time; reversing it fits."
    )


def test_diagnose_tells_which_weight_and_its_value(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    right = port.conv1d_1.weight[5, 3, 1].item()
    port.conv1d_1.weight.data[5, 3, 1] = 0
    found = re.search(
        r"weight\[5, 3, 1\] is 0, (\S+) fits",
        diagnose(port, read_reference(golden), "conv1d_1"),
    )
    assert found and float(found[1]) == pytest.approx(right, rel=1e-4)


def test_diagnose_tells_the_bias_and_its_channels(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    right = port.dense_2.bias[7].item()
    port.dense_2.bias.data[7] = 0
    sentence = diagnose(port, read_reference(golden), "dense_2")
    assert "bias: adding a constant to the channels 7 fits" in sentence
    found = re.search(r"\(bias (\S+); it is 0 in the port\)", sentence)
    assert found and float(found[1]) == pytest.approx(right, rel=1e-3)


def test_diagnose_names_an_epsilon_only_if_libraries_use_it() -> None:
    port, golden = zoo_pair("norm_batch")
    port.bn_eps.eps = 0.003  # Keras has 0.1 there
    assert "the port has 0.003; 0.1 fits" in diagnose(
        port, read_reference(golden), "bn_eps"
    )
    cause = diagnose(port, with_bn(port, read_reference(golden), eps=0.0371), "bn")
    assert "epsilon" not in cause and "scale of each channel" in cause


@pytest.mark.parametrize("array", ["running_var", "weight"])
def test_diagnose_takes_no_scale_for_an_epsilon(array) -> None:
    """Where the variances are small, a larger gamma or variance looks like another
    epsilon (0.004 for 0.001)."""
    port, golden = zoo_pair("norm_batch")
    port.bn.running_var.fill_(1e-9)
    reference = with_bn(port, read_reference(golden), eps=1e-3)
    getattr(port.bn, array).data *= {"running_var": 4e6, "weight": 0.5}[array]
    cause = diagnose(port, reference, "bn")
    assert "epsilon" not in cause and "scale of each channel" in cause


def test_diagnose_wants_an_epsilon_to_fit_the_small_channels_too() -> None:
    """Channel 0 is so small that, on the scale of the layer, any epsilon fits it."""
    port, golden = zoo_pair("norm_batch")
    port.bn.weight.data[0], port.bn.bias.data[0] = 1e-5, 0.0
    reference = with_bn(port, read_reference(golden), eps=1e-3)
    port.bn.eps = 1e-5
    assert "BatchNorm epsilon: the port has 1e-05; 0.001 fits" in diagnose(
        port, reference, "bn"
    )
    port.bn.weight.data[0] *= 1.2
    assert "epsilon" not in diagnose(port, reference, "bn")


def with_bn(port: PortedModel, reference: Reference, eps: float) -> Reference:
    """Return a reference that holds what the port's layer ``bn`` gives with this
    epsilon."""
    own, port.bn.eps = port.bn.eps, eps
    with torch.no_grad():
        values = (
            port.bn(torch.from_numpy(reference.inputs["ecg"]).transpose(1, 2))
            .transpose(1, 2)
            .numpy()
        )
    port.bn.eps = own
    return dataclasses.replace(
        reference, layers=reference.layers | {"bn": Stored.whole(values)}
    )


def test_diagnose_tells_both_shapes(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    port.max_pooling1d_2.kernel_size = 3
    comparison = compare(port, golden)
    assert (
        comparison.table.set_index("layer").loc["max_pooling1d_2", "verdict"]
        == "DIVERGES"
    )
    assert (
        "The port's output has the shape [2, 249, 64], the reference's [2, 250, 64]."
        in comparison.cause
    )


def test_diagnose_tells_where_a_port_stops(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "generic_ecg")
    replace(port, "max_pooling1d", torch.nn.MaxPool1d(2))
    comparison = compare(port, golden)
    assert "shape [2, 1500, 16], the reference's [2, 750, 16]" in comparison.cause
    after = comparison.table.set_index("layer").loc["dense"]
    assert after["verdict"] == "DIVERGES" and after["max_abs"] == float("inf")
    assert (
        "max_pooling1d" in comparison.plot()._suptitle.get_text()
        and "FAILED" in comparison._repr_html_()
    )
    assert "stops at dense, which is given [[2, 5952]]: mat1 and" in diagnose(
        port, read_reference(golden), "output 0"
    )


def test_diagnose_says_unknown_and_where_the_difference_is(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    port.conv1d_4.weight.data[[3, 9]] = torch.sin(torch.arange(2 * 64 * 3.0)).reshape(
        2, 64, 3
    )
    sentence = diagnose(port, read_reference(golden), "conv1d_4")
    assert "unknown: none of " in sentence
    assert "It differs in 2 of 64 channels (3 and 9)." in sentence


def test_diagnose_tells_edges(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    port.conv1d_4.padding_mode, port.conv1d_4._reversed_padding_repeated_twice = (
        "circular",
        [1, 1],
    )
    sentence = diagnose(port, read_reference(golden), "conv1d_4")
    assert (
        "It differs at the edges only (time steps 0 and 124 of 125), which points to padding."
        in sentence
    )


def test_diagnose_never_names_a_cause_that_does_not_repair(golden_dir) -> None:
    """With a layer that nothing repairs, no hypothesis may fit by chance."""
    port, golden = golden_pair(golden_dir, "ribeiro_small")
    torch.manual_seed(0)
    for name in ("conv1d_5", "batch_normalization_3", "conv1d_6", "dense"):
        module = port.get_submodule(name)
        kept = module.weight.data.clone()
        put(module.weight, kept + 0.1 * torch.randn_like(kept))
        comparison = compare(port, golden)
        assert comparison.first_divergent == name and (
            "unknown" in comparison.cause
        ) == ("batch" not in name)
        put(module.weight, kept)
    assert compare(port, golden).passed


def test_diagnose_without_the_layers_before_says_so(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "ribeiro_small")
    reference = read_reference(golden)
    alone = dataclasses.replace(reference, layers={}, gradients={})
    port.conv1d.weight.data *= 1.1
    cause = compare(port, alone).cause
    assert "give a reference with all layers" in cause


def test_diagnose_finds_outputs_in_another_order() -> None:
    port, golden = zoo_pair("merge")
    reference = read_reference(golden)
    outputs = [reference.outputs[1], reference.outputs[0], *reference.outputs[2:]]
    comparison = compare(port, dataclasses.replace(reference, outputs=outputs))
    assert comparison.first_divergent == "output 0"
    assert (
        "order of outputs: the port's output 1 is what the reference gives here"
        in comparison.cause
    )


def test_diagnose_refuses_a_row_that_is_not_there(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    with pytest.raises(PortError, match="'conv9' was not compared"):
        diagnose(port, read_reference(golden), "conv9")
