"""Attention over time."""

from __future__ import annotations

import operator
from typing import Any, ClassVar

from ecgnb.port.layers.base import LAYERS, LayerRule, Options, State, count_problem
from ecgnb.port.modules.keras_attention import MultiHeadAttention as HeadsModule
from ecgnb.port.modules.keras_attention import ScoredAttention
from ecgnb.port.network import Network, Value
from ecgnb.port.reading.keras_weights import Variable

#: Names of each projection in PyTorch's module and in Keras' files.
PROJECTIONS = {
    "query": "query",
    "key": "key",
    "value": "value",
    "output": "attention_output",
}


class AttentionRule(LayerRule):
    """Base of the attention layers, whose modules return the output and the weights."""

    def outputs(self, net: Network, module: Value, kwargs: Options) -> list[Value]:
        """Return the output, and the weights where Keras returns them."""
        count = 2 if kwargs.get("return_attention_scores") else 1
        return [net.function(operator.getitem, module, index) for index in range(count)]

    @property
    def dropout(self) -> Options:
        """The dropout of the weights as a module's option, if there is one."""
        return {"dropout": self["dropout"]} if self.get("dropout") else {}


def masks_of(net: Network, masks: list[Any]) -> list[Any]:
    """Return masks in Keras' layout."""
    return [None if mask is None else net.keras(mask) for mask in masks]


def _output_shape_problem(shape: Any) -> str | None:
    if isinstance(shape, list | tuple) and len(shape) != 1:
        return "(only one axis)"
    return count_problem(shape)


@LAYERS.register("MultiHeadAttention")
class MultiHeadAttention(AttentionRule):
    """Several heads over the time of ``[B, T, C]``."""

    options = {
        "num_heads",
        "key_dim",
        "value_dim",
        "dropout",
        "use_bias",
        "output_shape",
        "query_shape",
        "key_shape",
        "value_shape",
        "flash_attention",
        "softmax_robust_masking",
    }
    only = {
        "attention_axes": (None, (1,), 1),
        "use_gate": (False,),
        "sliding_window": (None,),
    }
    checks = {"output_shape": _output_shape_problem}
    arguments = {
        "query",
        "value",
        "key",
        "attention_mask",
        "query_mask",
        "value_mask",
        "key_mask",
        "use_causal_mask",
        "return_attention_scores",
    }

    @property
    def _value_size(self) -> int:
        return int(self.get("value_dim") or self["key_dim"])

    def variables(self) -> list[Variable]:
        """Return the four projections' kernels and biases."""
        names = ("kernel", "bias") if self.has_bias else ("kernel",)
        private = "_" if self.layer.keras < 3 else ""
        variables = []
        for projection, stored in PROJECTIONS.items():
            group = f"{private}{projection}_dense"
            variables += [Variable(f"{stored}/{name}", group) for name in names]
        return variables

    def build(
        self, net: Network, name: str, *inputs: Any, **kwargs: Any
    ) -> list[Value]:
        kwargs |= zip(("query", "value", "key"), inputs, strict=False)
        query = net.keras(kwargs["query"])
        value = net.keras(kwargs["value"])
        key = value if kwargs.get("key") is None else net.keras(kwargs["key"])
        if (query.rank, value.rank) != (3, 3):
            raise ValueError(
                f"attention is over the time of [B, T, C]; its input has {query.rank} "
                "axes"
            )
        channels = [x.shape[-1] for x in (query, value, key)]
        output = self.get("output_shape")
        output = channels[0] if output is None else self.number("output_shape")
        sizes = (self["num_heads"], self["key_dim"], self._value_size, output)
        module = net.apply(
            name,
            HeadsModule,
            (query, value, key, *self._masks(net, kwargs)),
            *channels,
            *sizes,
            **self.bias_option,
            **self.dropout,
        )
        return self.outputs(net, module, kwargs)

    def _masks(self, net: Network, kwargs: Options) -> list[Any]:
        """Return what else the module is called with: only what is needed."""
        causal = bool(kwargs.get("use_causal_mask"))
        names = ("attention_mask", "query_mask", "value_mask", "key_mask")
        masks = masks_of(net, [kwargs.get(name) for name in names])
        if all(mask is None for mask in masks):
            return [True] if causal else []
        if self.layer.keras < 3:
            masking = "add"
        elif self.get("dropout") or kwargs.get("return_attention_scores"):
            masking = "zero"
        else:
            masking = "fill"
        return [causal, masking, *masks]

    def state(self) -> State:
        """Bring ``[in, heads, size]`` and ``[heads, size, out]`` into matrices, which
        no longer show the heads.
        """
        state: State = {}
        for projection, stored in PROJECTIONS.items():
            of_values = projection in ("value", "output")
            size = self._value_size if of_values else self["key_dim"]
            heads: tuple[int | None, ...] = (self["num_heads"], size)
            if projection == "output":
                kernel = self.tensor(f"{stored}/kernel", *heads, None).flatten(0, 1)
                heads = (None,)
            else:
                kernel = self.tensor(f"{stored}/kernel", None, *heads).flatten(1)
            state[f"{projection}.weight"] = kernel.T
            if f"{stored}/bias" in self.layer.arrays:
                bias = self.tensor(f"{stored}/bias", *heads)
                state[f"{projection}.bias"] = bias.flatten()
        return state


class Scored(AttentionRule):
    """Base of attention without projections, of one list ``[query, value]`` or
    ``[query, value, key]``.
    """

    options = {"use_scale", "dropout", "causal"}
    arguments = {"mask", "use_causal_mask", "return_attention_scores"}
    renames = {"scale": "scale", "concat_score_weight": "concat_score_weight"}
    scaled_by_default: ClassVar[bool] = False

    @property
    def scaled(self) -> bool:
        """Whether the scores have a learnt scale."""
        return bool(self.get("use_scale", self.scaled_by_default))

    @property
    def score(self) -> str:
        """How scores are computed, as `ScoredAttention` names it."""
        return str(self.get("score_mode", "dot"))

    def scale_shape(self, query: Value) -> tuple[int, ...]:
        """Return the shape of the learnt scale."""
        return ()

    def variables(self) -> list[Variable]:
        """Return the scale and the weight of concatenated scores, if it has them."""
        used = {"scale": self.scaled, "concat_score_weight": self.score == "concat"}
        return [Variable(name) for name in used if used[name]]

    def build(
        self, net: Network, name: str, *inputs: Any, **kwargs: Any
    ) -> list[Value]:
        query, value, *rest = map(net.keras, inputs[0])
        masks = masks_of(net, list(kwargs.get("mask") or [])[:2])
        causal = bool(kwargs.get("use_causal_mask") or self.get("causal", False))
        tensors: list[Any] = [query, value, rest[0] if rest else value]
        if causal or masks:
            tensors += [causal, *masks]
        scale = self.scale_shape(query) if self.scaled else None
        module = net.apply(
            name,
            ScoredAttention,
            tuple(tensors),
            self.score,
            scale=scale,
            **self.dropout,
        )
        return self.outputs(net, module, kwargs)


@LAYERS.register("Attention")
class Attention(Scored):
    """Luong et al. 2015: scores are products, or with ``score_mode="concat"`` sums of
    tanh.
    """

    only = {"score_mode": ("dot", "concat")}


@LAYERS.register("AdditiveAttention")
class AdditiveAttention(Scored):
    """Bahdanau et al. 2015: scores are sums of tanh, with one scale per channel."""

    scaled_by_default = True
    score = "additive"

    def scale_shape(self, query: Value) -> tuple[int, ...]:
        return (query.shape[-1],)
