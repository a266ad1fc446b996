from __future__ import annotations

import torch
from pairs import golden_pair, zoo_pair

from ecgnb.port.proof.compare import compare
from ecgnb.port.proof.layer_rows import Bench
from ecgnb.port.proof.reference import read_reference
from ecgnb.port.proof.warn import untested_weights


def test_coverage_counts_the_weights_behind_zeros_and_before_shut_relus(
    golden_dir,
) -> None:
    """Counted by hand for a Dense with ReLU: inputs that are ever other than zero,
    times units that are ever open."""
    port, golden = golden_pair(golden_dir, "generic_ecg")
    reference = read_reference(golden)
    given, made = reference.layers["flatten"].values, reference.layers["dense"].values
    tested = 0
    for unit in range(made.shape[1]):
        opened = made[:, unit] > 0
        tested += int((given[opened] != 0).any(axis=0).sum()) + int(opened.any())
    still, total = untested_weights(Bench(port, reference, 1e-5, 1e-4))["dense"]
    assert total == 2944 * 64 + 64 and still == total - tested > 100_000


def test_coverage_is_complete_where_nothing_is_shut(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")  # ELUs are never shut
    assert untested_weights(Bench(port, read_reference(golden), 1e-5, 1e-4)) == {}
    assert not any(
        "no influence" in warning for warning in compare(port, golden).warnings
    )


def test_coverage_warns_of_a_fault_that_these_inputs_cannot_show(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "generic_ecg")
    silent = int(
        (read_reference(golden).layers["flatten"].values != 0).any(axis=0).argmin()
    )
    with torch.no_grad():
        port.dense.weight[:, silent] += 1.0
    comparison = compare(port, golden)
    assert comparison.passed
    assert any(
        "weights have no influence" in each and "dense 120298 of 188480" in each
        for each in comparison.warnings
    )


def test_coverage_of_a_table_counts_the_rows_that_are_not_looked_up() -> None:
    port, golden = zoo_pair("embedding")
    reference = read_reference(golden)
    used = len(set(reference.inputs["tokens"].ravel().tolist()))
    counted = untested_weights(Bench(port, reference, 1e-5, 1e-4))
    assert counted.get("embedding", (0, 28)) == ((7 - used) * 4, 28)


def test_coverage_leaves_out_layers_of_another_shape(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    port.max_pooling1d_2.kernel_size = 3
    assert untested_weights(Bench(port, read_reference(golden), 1e-5, 1e-4)) == {}
