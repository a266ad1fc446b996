"""Attention over time."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, ClassVar

from ecgnb.port.layers.base import LAYERS, LayerRule, Only, State
from ecgnb.port.modules.keras_attention import MultiHeadAttention as HeadsModule
from ecgnb.port.modules.keras_attention import ScoredAttention
from ecgnb.port.network import Network, Value
from ecgnb.port.reading.keras_weights import Variable

#: For each projection, its name in PyTorch's module, in Keras' files, and below the
#: layer in Keras 3's.
PROJECTIONS = (
    ("query", "query", "query_dense"),
    ("key", "key", "key_dense"),
    ("value", "value", "value_dense"),
    ("output", "attention_output", "output_dense"),
)


def outputs_of(net: Network, both: Value, with_scores: bool) -> list[Value]:
    """Return the output of an attention module, and its weights where Keras returns
    them.
    """
    return [
        net.function(operator.getitem, both, place)
        for place in range(2 if with_scores else 1)
    ]


@LAYERS.register("MultiHeadAttention")
class MultiHeadAttention(LayerRule):
    """Several heads over the time of ``[B, T, C]``."""

    options = frozenset({
        "num_heads", "key_dim", "value_dim", "dropout", "use_bias", "output_shape", "query_shape", "key_shape",
        "value_shape", "flash_attention", "softmax_robust_masking",
    })  # fmt: skip
    only: ClassVar[Only] = {
        "attention_axes": (None, (1,), 1),
        "use_gate": (False,),
        "sliding_window": (None,),
    }
    arguments = frozenset({
        "query", "value", "key", "attention_mask", "query_mask", "value_mask", "key_mask", "use_causal_mask",
        "return_attention_scores",
    })  # fmt: skip

    def problems(self) -> Iterator[str]:
        """Yield unknown options, and outputs of more than one axis."""
        yield from super().problems()
        shape = self.get("output_shape")
        if isinstance(shape, list | tuple) and len(shape) != 1:
            yield f"output_shape={shape!r} (only one axis)"

    def variables(self) -> list[Variable]:
        """Return the four projections' kernels and biases."""
        names = ["kernel", "bias"] if self.get("use_bias", True) else ["kernel"]
        private = "_" if self.layer.keras < 3 else ""
        return [
            Variable(f"{stored}/{name}", group=private + group)
            for _, stored, group in PROJECTIONS
            for name in names
        ]

    def build(
        self, net: Network, name: str, *inputs: Any, **kwargs: Any
    ) -> list[Value]:
        """Write it; the second output are the weights, if Keras is asked for them."""
        given = dict(zip(("query", "value", "key"), inputs, strict=False)) | kwargs
        query, value = net.keras(given["query"]), net.keras(given["value"])
        key = value if given.get("key") is None else net.keras(given["key"])
        if (query.rank, value.rank) != (3, 3):
            raise ValueError(
                f"attention is over the time of [B, T, C]; its input has {query.rank} axes"
            )
        sizes = (
            query.shape[-1],
            value.shape[-1],
            key.shape[-1],
            self["num_heads"],
            self["key_dim"],
        )
        out = self.get("output_shape")
        options: dict[str, Any] = {} if self.get("use_bias", True) else {"bias": False}
        options |= {"dropout": self["dropout"]} if self.get("dropout") else {}
        both = net.apply(
            name,
            HeadsModule,
            (query, value, key, *self._masks(net, given)),
            *sizes,
            self._value_size,
            query.shape[-1] if out is None else self.number("output_shape"),
            **options,
        )
        return outputs_of(net, both, bool(given.get("return_attention_scores")))

    def _masks(self, net: Network, given: dict[str, Any]) -> list[Any]:
        """Return what else the module is called with: only what is needed."""
        causal = bool(given.get("use_causal_mask"))
        masks = [
            given.get(mask)
            for mask in ("attention_mask", "query_mask", "value_mask", "key_mask")
        ]
        if all(mask is None for mask in masks):
            return [True] if causal else []
        zeroed = self.get("dropout") or given.get("return_attention_scores")
        masking = "add" if self.layer.keras < 3 else "zero" if zeroed else "fill"
        return [
            causal,
            masking,
            *(None if mask is None else net.keras(mask) for mask in masks),
        ]

    def state(self) -> State:
        """Bring ``[in, heads, size]`` and ``[heads, size, out]`` into matrices, which
        no longer show the heads.
        """
        state: State = {}
        for ours, stored, _ in PROJECTIONS:
            last = ours == "output"
            heads = (
                self["num_heads"],
                self._value_size if ours in ("value", "output") else self["key_dim"],
            )
            kernel = self.tensor(
                f"{stored}/kernel", *((*heads, None) if last else (None, *heads))
            )
            state[f"{ours}.weight"] = (
                kernel.flatten(0, 1) if last else kernel.flatten(1)
            ).T
            if f"{stored}/bias" in self.layer.arrays:
                state[f"{ours}.bias"] = self.tensor(
                    f"{stored}/bias", *((None,) if last else heads)
                ).flatten()
        return state

    @property
    def _value_size(self) -> int:
        return int(self.get("value_dim") or self["key_dim"])


class Scored(LayerRule):
    """Attention of one list ``[query, value]`` or ``[query, value, key]``, without
    projections.
    """

    options = frozenset({"use_scale", "dropout", "causal"})
    arguments = frozenset({"mask", "use_causal_mask", "return_attention_scores"})

    def variables(self) -> list[Variable]:
        """Return the scale, if there is one."""
        return [Variable("scale")] if self._scaled() else []

    def build(
        self, net: Network, name: str, *inputs: Any, **kwargs: Any
    ) -> list[Value]:
        """Write it; the second output are the weights, if Keras is asked for them."""
        query, value, *key = [net.keras(each) for each in inputs[0]]
        masks = [
            None if mask is None else net.keras(mask)
            for mask in list(kwargs.get("mask") or [])[:2]
        ]
        causal = bool(kwargs.get("use_causal_mask") or self.get("causal", False))
        given = (
            query,
            value,
            key[0] if key else value,
            *([causal] if causal or masks else []),
            *masks,
        )
        options = {"dropout": self["dropout"]} if self.get("dropout") else {}
        both = net.apply(
            name,
            ScoredAttention,
            given,
            self._score(),
            scale=self._scale_of(query),
            **options,
        )
        return outputs_of(net, both, bool(kwargs.get("return_attention_scores")))

    def state(self) -> State:
        """Return the weights as they are; some have no axis at all."""
        return {
            name: self.tensor(name).reshape(array.shape)
            for name, array in self.layer.arrays.items()
        }

    def _scaled(self) -> bool:
        return bool(self.get("use_scale", False))

    def _score(self) -> str:
        return str(self.get("score_mode", "dot"))

    def _scale_of(self, query: Value) -> tuple[int, ...] | None:
        return () if self._scaled() else None


@LAYERS.register("Attention")
class Attention(Scored):
    """Luong et al. 2015: scores are products, or with ``score_mode="concat"`` sums of
    tanh.
    """

    only: ClassVar[Only] = {"score_mode": ("dot", "concat")}

    def variables(self) -> list[Variable]:
        """Return the scale and the weight of concatenated scores, where they are."""
        return super().variables() + (
            [Variable("concat_score_weight")] if self._score() == "concat" else []
        )


@LAYERS.register("AdditiveAttention")
class AdditiveAttention(Scored):
    """Bahdanau et al. 2015: scores are sums of tanh, each channel with its scale."""

    def _scaled(self) -> bool:
        return bool(self.get("use_scale", True))

    def _score(self) -> str:
        return "additive"

    def _scale_of(self, query: Value) -> tuple[int, ...] | None:
        return (query.shape[-1],) if self._scaled() else None
