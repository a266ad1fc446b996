from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from faults import put
from pairs import golden_pair, zoo_pair

from ecgnb.errors import PortError
from ecgnb.port.proof.compare import compare
from ecgnb.port.proof.diagnose import diagnose
from ecgnb.port.proof.reference import read_reference


def test_diagnose_says_what_the_comparison_says(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    put(port.conv1d_3.weight, port.conv1d_3.weight.flip(-1))
    sentence = diagnose(port, read_reference(golden), "conv1d_3")
    assert sentence == compare(port, golden).cause
    assert sentence.startswith("conv1d_3 (Conv1D): flipped kernel: weight is reversed in time; reversing it fits.")


def test_diagnose_tells_which_weight_and_its_value(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    right = port.conv1d_1.weight[5, 3, 1].item()
    port.conv1d_1.weight.data[5, 3, 1] = 0
    found = re.search(r"weight\[5, 3, 1\] is 0, (\S+) fits", diagnose(port, read_reference(golden), "conv1d_1"))
    assert found and float(found[1]) == pytest.approx(right, rel=1e-4)


def test_diagnose_tells_the_bias_and_its_channels(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    right = port.dense_2.bias[7].item()
    port.dense_2.bias.data[7] = 0
    sentence = diagnose(port, read_reference(golden), "dense_2")
    assert "bias: adding a constant to the channels 7 fits" in sentence
    found = re.search(r"\(bias (\S+); it is 0 in the port\)", sentence)
    assert found and float(found[1]) == pytest.approx(right, rel=1e-3)


def test_diagnose_solves_for_an_epsilon_that_nobody_uses() -> None:
    port, golden = zoo_pair("norm_batch")
    port.bn_eps.eps = 0.003  # Keras has 0.1 there
    assert "the port has 0.003; 0.1 fits" in diagnose(port, read_reference(golden), "bn_eps")
    values = read_reference(golden)
    port.bn.eps = 0.0371
    with torch.no_grad():
        odd = port.bn(torch.from_numpy(values.inputs["ecg"]).transpose(1, 2)).transpose(1, 2).numpy()
    port.bn.eps = 1e-3
    stored = type(values.layers["bn"]).whole(odd)
    reference = dataclasses.replace(values, layers=values.layers | {"bn": stored})
    assert "the port has 0.001; 0.0371 fits" in diagnose(port, reference, "bn")


def test_diagnose_says_unknown_and_where_the_difference_is(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    port.conv1d_4.weight.data[[3, 9]] = torch.sin(torch.arange(2 * 64 * 3.0)).reshape(2, 64, 3)
    sentence = diagnose(port, read_reference(golden), "conv1d_4")
    assert "unknown: none of " in sentence
    assert "It differs in 2 of 64 channels (3 and 9)." in sentence


def test_diagnose_tells_edges(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    port.conv1d_4.padding_mode, port.conv1d_4._reversed_padding_repeated_twice = "circular", [1, 1]
    sentence = diagnose(port, read_reference(golden), "conv1d_4")
    assert "It differs at the edges only (time steps 0 and 124 of 125), which points to padding." in sentence


def test_diagnose_never_names_a_cause_that_does_not_repair(golden_dir) -> None:
    """With a layer that nothing repairs, no hypothesis may fit by chance."""
    port, golden = golden_pair(golden_dir, "ribeiro_small")
    torch.manual_seed(0)
    for name in ("conv1d_5", "batch_normalization_3", "conv1d_6", "dense"):
        module = port.get_submodule(name)
        kept = module.weight.data.clone()
        put(module.weight, kept + 0.1 * torch.randn_like(kept))
        comparison = compare(port, golden)
        assert comparison.first_divergent == name and ("unknown" in comparison.cause) == ("batch" not in name)
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
    assert "order of outputs: the port's output 1 is what the reference gives here" in comparison.cause


def test_diagnose_refuses_a_row_that_is_not_there(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    with pytest.raises(PortError, match="'conv9' was not compared"):
        diagnose(port, read_reference(golden), "conv9")
