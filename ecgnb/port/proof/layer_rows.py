"""Measure each layer, output and gradient of a port against the reference and against
the port in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, fx

from ecgnb.core.errors import PortError
from ecgnb.port.ported import PortedModel
from ecgnb.port.proof.port_run import (
    PortRun,
    in_keras_layout,
    logits_node,
    nodes_by_label,
    output_nodes,
    run_port,
)
from ecgnb.port.proof.reference import Reference, Stored
from ecgnb.port.proof.segment import Segment, difference, known_outputs, segment_before

EQUAL, ROUNDING, DIVERGES = "equal", "rounding", "DIVERGES"
COMPARED = (EQUAL, ROUNDING, DIVERGES)
UNKNOWN, MISSING = "not in the reference", "missing in the port"
#: Kinds of rows.
LAYER, LOGITS, OUTPUT, GRADIENT = "layer", "logits", "output", "gradient"
#: Two correct float32 programs may differ by this many times the distance of one of
#: them from float64.
ROUNDING_FACTOR = 3.0
INFINITE, NAN = float("inf"), float("nan")


@dataclass(frozen=True)
class Row:
    """One comparison; numbers are NaN where nothing was compared.

    Attributes:
        name: the layer's label, ``"logits of output 0"``, ``"output 0"`` or ``"gradient
            of <input>"``.
        kind: ``"layer"``, ``"logits"``, ``"output"`` or ``"gradient"``.
        class_name: of the Keras layer; for outputs a description.
        shape: in Keras' layout.
        node: makes the output in the port; ``None`` for gradients and missing layers.
        stored: the same output in the reference.
        scale: max|reference|.
        max_abs: max|port - reference|.
        relative: ``max_abs`` / ``scale``.
        port_vs_float64: max|port - float64 port| / ``scale``.
        reference_vs_float64: max|reference - float64 port| / ``scale``.
        verdict: one of the five verdicts above.
    """

    name: str
    kind: str
    class_name: str
    shape: tuple[int, ...] = ()
    node: fx.Node | None = None
    stored: Stored | None = None
    scale: float = NAN
    max_abs: float = NAN
    relative: float = NAN
    port_vs_float64: float = NAN
    reference_vs_float64: float = NAN
    verdict: str = UNKNOWN

    @property
    def agrees(self) -> bool:
        """Whether it was compared and does not diverge."""
        return self.verdict in (EQUAL, ROUNDING)


@dataclass(frozen=True)
class Verification:
    """A port, its reference and the tolerances; runs the port once as it is and once in
    float64.
    """

    port: PortedModel
    reference: Reference
    rtol: float
    gradient_rtol: float

    @cached_property
    def run(self) -> PortRun:
        """The port in float32 and in its current mode."""
        return run_port(self.port, self.reference, float64=False)

    @cached_property
    def float64_run(self) -> PortRun:
        """The port in float64 and evaluation mode, the referee."""
        return run_port(self.port, self.reference, float64=True)

    @cached_property
    def known(self) -> dict[fx.Node, Stored]:
        """Outputs of the port's layers that the reference holds."""
        return known_outputs(self.port, self.reference)

    def is_computed(self, node: fx.Node) -> bool:
        """Whether the node was computed; it is not if a layer before it fails."""
        return node in self.run.values and node in self.float64_run.values

    def segment(self, node: fx.Node, stored: Stored) -> Segment:
        """Return the segment of the graph that makes a node's output."""
        return segment_before(node, self.known, stored, self.float64_run, self.rtol)

    def rows(self) -> list[Row]:
        """Measure everything.

        Raises:
            PortError: the reference is of another model.
        """
        labels = nodes_by_label(self.port)
        layers = [self._layer_row(label, node) for label, node in labels.items()]
        if self.reference.layers and not labels.keys() & self.reference.layers.keys():
            raise PortError(
                f"The reference ({self.reference.source}) is of another model: none of "
                f"its layers ({', '.join(list(self.reference.layers)[:4])} ...) is in "
                "the port."
            )
        return [
            *layers,
            *self._missing_rows(),
            *self._output_rows(),
            *self._gradient_rows(),
        ]

    def _layer_row(self, label: str, node: fx.Node) -> Row:
        row = Row(label, LAYER, node.meta["class_name"], node=node)
        if node in self.known:
            return self._measured(row, node, self.known[node])
        value = self.run.values.get(node)
        if isinstance(value, Tensor):
            row = replace(row, shape=tuple(in_keras_layout(node, value).shape))
        return row

    def _missing_rows(self) -> Iterator[Row]:
        labels = nodes_by_label(self.port)
        for label, stored in self.reference.layers.items():
            if label not in labels and not self._has_equal_layer(stored):
                yield Row(
                    label,
                    LAYER,
                    class_name="",
                    shape=stored.shape,
                    scale=stored.scale,
                    verdict=MISSING,
                )

    def _has_equal_layer(self, stored: Stored) -> bool:
        """Whether a layer of the port has the same output in the reference, as a nested
        model and its last layer have.
        """
        return any(
            other.shape == stored.shape and np.array_equal(other.values, stored.values)
            for other in self.known.values()
        )

    def _output_rows(self) -> Iterator[Row]:
        nodes, arrays = output_nodes(self.port), self.reference.outputs
        if len(nodes) != len(arrays):
            raise PortError(
                f"The reference ({self.reference.source}) is of another model: it has "
                f"{len(arrays)} outputs, the port {len(nodes)}."
            )
        for number, (node, array) in enumerate(zip(nodes, arrays, strict=True)):
            logits, activation = logits_node(self.port, node)
            description = "output"
            if activation != "linear":
                description = f"probabilities ({activation})"
                if logits in self.known:
                    row = Row(f"logits of output {number}", LOGITS, "logits")
                    yield self._measured(row, logits, self.known[logits])
            row = Row(f"output {number}", OUTPUT, description)
            yield self._measured(row, node, Stored.whole(array))

    def _gradient_rows(self) -> Iterator[Row]:
        for name, array in self.reference.gradients.items():
            if name in self.run.gradients:
                yield _measure(
                    Row(f"gradient of {name}", GRADIENT, "input gradient"),
                    self.run.gradients[name],
                    self.float64_run.gradients[name],
                    Stored.whole(array),
                    self.gradient_rtol,
                    # A saturated unit's gradient has no more digits than 1 - p has.
                    rounding_limit=INFINITE,
                )

    def _measured(self, row: Row, node: fx.Node, stored: Stored) -> Row:
        row = replace(row, node=node, stored=stored)
        if not self.is_computed(node):
            return replace(
                row,
                scale=stored.scale,
                max_abs=INFINITE,
                relative=INFINITE,
                port_vs_float64=INFINITE,
                reference_vs_float64=INFINITE,
                verdict=DIVERGES,
            )
        # Sums of large terms that cancel lose digits relative to the terms.
        largest_term = 0.0
        for part in self.segment(node, stored).nodes:
            for source in part.all_input_nodes:
                value = self.float64_run.values[source]
                largest_term = max(largest_term, _finite_max(value))
        return _measure(
            row,
            in_keras_layout(node, self.run.values[node]).cpu().numpy(),
            in_keras_layout(node, self.float64_run.values[node]).cpu().numpy(),
            stored,
            self.rtol,
            rounding_limit=self.rtol * largest_term,
        )


def _measure(
    row: Row,
    port_values: np.ndarray,
    float64_values: np.ndarray,
    stored: Stored,
    rtol: float,
    rounding_limit: float,
) -> Row:
    """Complete a row with the distances between port, float64 port and reference.

    Args:
        row: name, kind and class.
        port_values: output of the port.
        float64_values: output of the float64 port.
        stored: output in the reference.
        rtol: tolerance relative to the scale.
        rounding_limit: largest absolute difference that may count as rounding.
    """
    max_abs = difference(port_values, stored)
    port_vs_float64 = _distance(port_values, float64_values)
    rounding_limit = min(ROUNDING_FACTOR * port_vs_float64, rounding_limit)
    if max_abs <= rtol * stored.scale:
        verdict = EQUAL
    elif np.isfinite(max_abs) and max_abs <= rounding_limit:
        verdict = ROUNDING
    else:
        verdict = DIVERGES
    unit = stored.scale if stored.scale > 0 else 1.0
    return replace(
        row,
        shape=tuple(port_values.shape),
        scale=stored.scale,
        max_abs=max_abs,
        relative=max_abs / unit,
        port_vs_float64=port_vs_float64 / unit,
        reference_vs_float64=difference(float64_values, stored) / unit,
        verdict=verdict,
    )


def _distance(values: np.ndarray, other: np.ndarray) -> float:
    gaps = np.abs(values.astype(np.float64) - other.astype(np.float64))
    largest = float(gaps.max(initial=0.0))
    return largest if np.isfinite(largest) else INFINITE


def _finite_max(value: object) -> float:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return 0.0
    if not value.numel():
        return 0.0
    return float(torch.nan_to_num(value, 0.0, 0.0, 0.0).abs().max())
