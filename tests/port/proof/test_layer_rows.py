from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pairs import golden_pair, zoo_pair

from ecgnb.port.proof.compare import compare
from ecgnb.port.proof.reference import Stored, read_reference
from ecgnb.port.proof.segment import difference


@pytest.fixture
def twice():
    """A network of two inputs, shared parts and its reference."""
    port, golden = zoo_pair("nested_twice")
    return port, read_reference(golden)


def test_compare_writes_a_row_for_everything(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    comparison = compare(port, golden)
    table = comparison.table
    assert list(table.columns)[:2] == ["layer", "class"] and len(table) == 31 + 3
    assert list(table["layer"])[-3:] == [
        "logits of output 0",
        "output 0",
        "gradient of conv1d_input",
    ]
    assert table["class"].iloc[-2] == "probabilities (softmax)"
    conv = table.set_index("layer").loc["conv1d_4"]
    assert conv["shape"] == (2, 125, 64) and conv["scale"] == pytest.approx(801, abs=1)
    assert conv["relative"] == pytest.approx(conv["max_abs"] / conv["scale"])
    assert comparison.raise_if_failed() is comparison
    assert str(comparison).startswith("PASSED: 34 of 34 rows agree")


def test_compare_never_takes_nan_for_equal(twice) -> None:
    port, reference = twice
    broken = {
        name: np.full_like(values, np.nan) for name, values in reference.inputs.items()
    }
    layers = {
        label: dataclasses.replace(stored, values=np.full_like(stored.values, np.nan))
        for label, stored in reference.layers.items()
    }
    outputs = [np.full_like(values, np.nan) for values in reference.outputs]
    comparison = compare(
        port,
        dataclasses.replace(reference, inputs=broken, layers=layers, outputs=outputs),
    )
    assert not comparison.passed
    assert np.isinf(comparison.table["max_abs"].iloc[0])


def dead(*shape):
    return Stored.whole(np.zeros(shape, dtype=np.float32))


def test_compare_with_a_dead_layer(twice) -> None:
    """A layer that is zero everywhere has no scale; the port must be zero there,
    too."""
    port, reference = twice
    assert difference(np.zeros((2, 3)), dead(2, 3)) == 0
    label = "encoder/encoder_relu"
    gone = dataclasses.replace(
        reference,
        layers=reference.layers | {label: dead(*reference.layers[label].shape)},
    )
    comparison = compare(port, gone)
    assert comparison.first_divergent == label and np.isfinite(
        comparison.table["max_abs"].iloc[0]
    )
