"""What is measured for each layer, output and gradient of a port: how far it is from
the reference and from float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, fx

from ecgnb.core.errors import PortError
from ecgnb.port.ported import PortedModel
from ecgnb.port.proof.record import (
    Record,
    in_keras_layout,
    labelled,
    logits_of,
    outputs_of,
    record,
)
from ecgnb.port.proof.reference import Reference, Stored
from ecgnb.port.proof.segment import Segment, difference, known_layers, segment_of

EQUAL, ROUNDING, DIVERGES = "equal", "rounding", "DIVERGES"
COMPARED = (EQUAL, ROUNDING, DIVERGES)
UNKNOWN, MISSING = "not in the reference", "missing in the port"
#: Kinds of rows.
LAYER, LOGITS, OUTPUT, GRADIENT = "layer", "logits", "output", "gradient"
#: Float32 rounding may set two programs apart by this many times the distance of one
#: from float64.
ROUNDING_FACTOR = 3.0


@dataclass(frozen=True)
class Row:
    """One comparison; numbers are NaN where nothing was compared.

    Attributes:
        name: the layer's label, ``"logits of output 0"``, ``"output 0"`` or ``"gradient
            of <input>"``.
        kind: ``"layer"``, ``"logits"``, ``"output"`` or ``"gradient"``.
        class_name: of the Keras layer; for outputs what they are.
        shape: in Keras' layout.
        scale: max|reference|.
        max_abs: max|port - reference|.
        relative: ``max_abs`` / ``scale``.
        port_vs_float64: max|port - float64 port| / ``scale``.
        reference_vs_float64: max|reference - float64 port| / ``scale``.
        verdict: one of the words above.
        node: what makes it in the port.
    """

    name: str
    kind: str
    class_name: str
    shape: tuple[int, ...]
    scale: float = float("nan")
    max_abs: float = float("nan")
    relative: float = float("nan")
    port_vs_float64: float = float("nan")
    reference_vs_float64: float = float("nan")
    verdict: str = UNKNOWN
    node: fx.Node | None = None

    @property
    def agrees(self) -> bool:
        """Whether it was compared and found right."""
        return self.verdict in (EQUAL, ROUNDING)


@dataclass(frozen=True)
class Bench:
    """A port, its reference and tolerances; runs the port once as it is and once as the
    float64 referee.
    """

    port: PortedModel
    reference: Reference
    rtol: float
    gradient_rtol: float

    @cached_property
    def run(self) -> Record:
        """The port in its own precision and state."""
        return record(self.port, self.reference)

    @cached_property
    def referee(self) -> Record:
        """The port in float64, for inference."""
        return record(self.port, self.reference, referee=True)

    @cached_property
    def known(self) -> dict[fx.Node, Stored]:
        """What each layer must give."""
        return known_layers(self.port, self.reference)

    def is_computed(self, node: fx.Node) -> bool:
        """Whether the port gets as far as a node; it does not where a layer before it
        fails.
        """
        return node in self.run.values and node in self.referee.values

    def segment(self, node: fx.Node, stored: Stored) -> Segment:
        """Return the piece of graph that makes a node's output."""
        return segment_of(node, self.known, stored, self.referee, self.rtol)

    def rows(self) -> list[Row]:
        """Measure everything.

        Raises:
            PortError: the reference is of another model.
        """
        layers = [
            self._layer(label, node) for label, node in labelled(self.port).items()
        ]
        if self.reference.layers and not any(
            label in self.reference.layers for label in labelled(self.port)
        ):
            raise PortError(
                f"The reference ({self.reference.source}) is of another model: none of its layers "
                f"({', '.join(list(self.reference.layers)[:4])} ...) is in the port."
            )
        return [*layers, *self._missing(), *self._outputs(), *self._gradients()]

    def _layer(self, label: str, node: fx.Node) -> Row:
        class_name = node.meta["class_name"]
        if node not in self.known:
            value = self.run.values.get(node)
            shape = (
                tuple(in_keras_layout(node, value).shape)
                if isinstance(value, Tensor)
                else ()
            )
            return Row(label, LAYER, class_name, shape, node=node)
        return self._of_node(label, LAYER, class_name, node, self.known[node])

    def _missing(self) -> Iterator[Row]:
        for label, stored in self.reference.layers.items():
            if label not in labelled(self.port) and not self._is_told(stored):
                yield Row(label, LAYER, "", stored.shape, stored.scale, verdict=MISSING)

    def _is_told(self, stored: Stored) -> bool:
        """Whether a layer that is in the port gives the same, as the last layer of a
        nested model does.
        """
        return any(
            other is not stored
            and other.shape == stored.shape
            and np.array_equal(other.values, stored.values)
            for other in self.known.values()
        )

    def _outputs(self) -> Iterator[Row]:
        nodes = outputs_of(self.port)
        if len(nodes) != len(self.reference.outputs):
            raise PortError(
                f"The reference ({self.reference.source}) is of another model: it has {len(self.reference.outputs)} "
                f"outputs, the port {len(nodes)}."
            )
        for place, (node, values) in enumerate(
            zip(nodes, self.reference.outputs, strict=True)
        ):
            before, activation = logits_of(self.port, node)
            if activation != "linear" and before in self.known:
                yield self._of_node(
                    f"logits of output {place}",
                    LOGITS,
                    "logits",
                    before,
                    self.known[before],
                )
            kind = (
                f"probabilities ({activation})" if activation != "linear" else "output"
            )
            yield self._of_node(
                f"output {place}", OUTPUT, kind, node, Stored.whole(values)
            )

    def _gradients(self) -> Iterator[Row]:
        for name, values in self.reference.gradients.items():
            if name in self.run.gradients:
                mine, referee = self.run.gradients[name], self.referee.gradients[name]
                slack = float(
                    "inf"
                )  # a gradient of a saturated unit has no more digits than 1 - p has
                yield measure(f"gradient of {name}", GRADIENT, "input gradient", mine, referee, Stored.whole(values),
                              self.gradient_rtol, slack, None)  # fmt: skip

    def _of_node(
        self, name: str, kind: str, class_name: str, node: fx.Node, stored: Stored
    ) -> Row:
        if not self.is_computed(node):
            never = float("inf")
            return Row(
                name,
                kind,
                class_name,
                (),
                stored.scale,
                never,
                never,
                never,
                never,
                DIVERGES,
                node,
            )
        mine, referee = (
            in_keras_layout(node, each.values[node]).cpu().numpy()
            for each in (self.run, self.referee)
        )
        terms = [
            self.referee.values[each]
            for part in self.segment(node, stored).nodes
            for each in part.all_input_nodes
        ]
        slack = self.rtol * max((_finite_max(each) for each in terms), default=0.0)
        return measure(
            name, kind, class_name, mine, referee, stored, self.rtol, slack, node
        )


def measure(
    name: str,
    kind: str,
    class_name: str,
    mine: np.ndarray,
    referee: np.ndarray,
    stored: Stored,
    rtol: float,
    slack: float,
    node: fx.Node | None,
) -> Row:
    """Compare one array with the reference and both with the referee.

    Args:
        name: of the row.
        kind: of the row.
        class_name: of the row.
        mine: what the port gives.
        referee: what the float64 port gives.
        stored: what the reference says.
        rtol: tolerance relative to the scale.
        slack: largest absolute difference that may count as rounding.
        node: of the row.
    """
    found, own, theirs = (
        difference(mine, stored),
        _distance(mine, referee),
        difference(referee, stored),
    )
    scale = stored.scale
    if found <= rtol * scale:
        verdict = EQUAL
    else:
        verdict = (
            ROUNDING
            if found <= min(ROUNDING_FACTOR * own, slack) and np.isfinite(found)
            else DIVERGES
        )
    over = scale if scale > 0 else 1.0
    return Row(
        name,
        kind,
        class_name,
        tuple(mine.shape),
        scale,
        found,
        found / over,
        own / over,
        theirs / over,
        verdict,
        node,
    )


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    gap = np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0)
    return float(gap) if np.isfinite(gap) else float("inf")


def _finite_max(value: object) -> float:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return 0.0
    return (
        float(torch.nan_to_num(value, 0.0, 0.0, 0.0).abs().max())
        if value.numel()
        else 0.0
    )
