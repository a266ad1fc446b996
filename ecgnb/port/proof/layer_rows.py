"""Measure each layer, output and gradient of a port against the reference and against
the port in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import Tensor, fx

from ecgnb.core.errors import PortError
from ecgnb.port.build import before_activation, output_nodes
from ecgnb.port.ported import PortedModel
from ecgnb.port.proof.port_run import (
    PortRun,
    in_keras_layout,
    keras_array,
    nodes_by_label,
    run_port,
)
from ecgnb.port.proof.reference import Reference, Stored
from ecgnb.port.proof.segment import Segment, difference

EQUAL, ROUNDING, DIVERGES = "equal", "rounding", "DIVERGES"
COMPARED = (EQUAL, ROUNDING, DIVERGES)
UNKNOWN, MISSING = "not in the reference", "missing in the port"
#: Kinds of rows.
LAYER, LOGITS, OUTPUT, GRADIENT = "layer", "logits", "output", "gradient"
#: Two correct float32 programs may differ by this many times the distance of one of
#: them from float64.
ROUNDING_FACTOR = 3.0
INFINITE, NAN = float("inf"), float("nan")

#: Keras layers that return their input at inference; golden files leave them out.
IDENTITY_LAYERS = (
    "Dropout",
    "SpatialDropout1D",
    "GaussianNoise",
    "GaussianDropout",
    "AlphaDropout",
    "ActivityRegularization",
)


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
    def labels(self) -> dict[str, fx.Node]:
        """The node that makes each Keras layer's output, in call order."""
        return nodes_by_label(self.port)

    @cached_property
    def known(self) -> dict[fx.Node, Stored]:
        """Outputs of the port's layers that the reference holds.

        Layers that change nothing at inference are not in golden files; their output
        must be their input.
        """
        known: dict[fx.Node, Stored] = {}
        placeholders = self.port.graph.find_nodes(op="placeholder")
        arrays = map(Stored.whole, self.reference.inputs.values())
        inputs = dict(zip(placeholders, arrays, strict=False))
        for label, node in self.labels.items():
            if label in self.reference.layers:
                known[node] = self.reference.layers[label]
            elif node.meta["class_name"] in IDENTITY_LAYERS:
                source = node.all_input_nodes[0]
                # The layer before may have the other layout.
                while source.op == "call_method" and source.target == "transpose":
                    source = source.all_input_nodes[0]
                stored = known.get(source) or inputs.get(source)
                if stored is not None and len(node.all_input_nodes) == 1:
                    known[node] = stored
        return known

    def is_computed(self, node: fx.Node) -> bool:
        """Whether the node was computed; it is not if a layer before it fails."""
        return node in self.run.values and node in self.float64_run.values

    def segment(self, target: fx.Node, stored: Stored) -> Segment:
        """Return the segment that ends in ``target`` and begins at known outputs."""
        inside: set[fx.Node] = set()
        stack = [target]
        while stack:
            node = stack.pop()
            if node in inside:
                continue
            inside.add(node)
            for source in node.all_input_nodes:
                if source.op.startswith("call") and source not in self.known:
                    stack.append(source)
        # In call order, which the search does not keep.
        nodes = [node for node in target.graph.nodes if node in inside]
        run = self.float64_run
        return Segment(target, nodes, run.module, run.values, stored, self.rtol)

    def rows(self) -> list[Row]:
        """Measure everything.

        Raises:
            PortError: the reference is of another model.
        """
        rows = [*self._layer_rows()]
        layers = self.reference.layers
        if layers and not self.labels.keys() & layers.keys():
            raise PortError(
                f"The reference ({self.reference.source}) is of another model: none of "
                f"its layers ({', '.join(list(layers)[:4])} ...) is in the port."
            )
        rows += self._missing_rows()
        rows += self._output_rows()
        rows += self._gradient_rows()
        return rows

    def _layer_rows(self) -> Iterator[Row]:
        for label, node in self.labels.items():
            row = Row(label, LAYER, node.meta["class_name"], node=node)
            value = self.run.values.get(node)
            if node in self.known:
                row = self._measured(row, node, self.known[node])
            elif isinstance(value, Tensor):
                row = replace(row, shape=tuple(in_keras_layout(node, value).shape))
            yield row

    def _missing_rows(self) -> Iterator[Row]:
        for label, stored in self.reference.layers.items():
            if label not in self.labels and not self._has_equal_layer(stored):
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
        nodes, arrays = output_nodes(self.port.graph), self.reference.outputs
        if len(nodes) != len(arrays):
            raise PortError(
                f"The reference ({self.reference.source}) is of another model: it has "
                f"{len(arrays)} outputs, the port {len(nodes)}."
            )
        for number, (node, array) in enumerate(zip(nodes, arrays, strict=True)):
            logits, activation = before_activation(node, self.port)
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
        for step in self.segment(node, stored).nodes:
            for source in step.all_input_nodes:
                value = self.float64_run.values[source]
                largest_term = max(largest_term, _finite_max(value))
        return _measure(
            row,
            keras_array(node, self.run.values[node]),
            keras_array(node, self.float64_run.values[node]),
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
    port_vs_float64 = difference(port_values, Stored.whole(float64_values))
    # Whichever is smaller, so that neither a noisy layer nor a large input excuses all.
    rounding_limit = min(ROUNDING_FACTOR * port_vs_float64, rounding_limit)
    if max_abs <= rtol * stored.scale:
        verdict = EQUAL
    elif np.isfinite(max_abs) and max_abs <= rounding_limit:
        verdict = ROUNDING
    else:
        verdict = DIVERGES
    unit = stored.scale if stored.scale > 0 else 1.0  # of a layer of zeros: absolute
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


def _finite_max(value: object) -> float:
    """Return the largest absolute value of a tensor, infinities and NaN aside."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return 0.0
    finite = value[value.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0
