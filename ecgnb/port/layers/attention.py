"""Attention over time."""

from __future__ import annotations

import operator
from typing import Any

from ecgnb.port.layers.base import LayerRule, Options, State, count_problem, keras_layer
from ecgnb.port.modules.keras_attention import MultiHeadAttention as HeadsModule
from ecgnb.port.modules.keras_attention import ScoredAttention
from ecgnb.port.network import KERAS, Network, Value
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
        if self.get("dropout"):
            return {"dropout": self["dropout"]}
        return {}


def _output_shape_problem(shape: Any) -> str | None:
    if isinstance(shape, list | tuple) and len(shape) != 1:
        return "(only one axis)"
    return count_problem(shape)


@keras_layer
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
        private = "_" if self.layer.keras < 3 else ""
        variables = []
        for projection, stored in PROJECTIONS.items():
            group = f"{private}{projection}_dense"
            variables.append(Variable(f"{stored}/kernel", group))
            if self.has_bias:
                variables.append(Variable(f"{stored}/bias", group))
        return variables

    def build(self, net: Network, *inputs: Any, **kwargs: Any) -> list[Value]:
        kwargs |= zip(("query", "value", "key"), inputs, strict=False)
        query = kwargs["query"]
        value = kwargs["value"]
        key = kwargs.get("key") or value
        if (query.rank, value.rank) != (3, 3):
            raise ValueError(
                f"attention is over the time of [B, T, C]; its input has {query.rank} "
                "axes"
            )
        channels = [x.shape[-1] for x in (query, value, key)]  # all may differ
        output_dim = channels[0]
        if self.get("output_shape") is not None:
            output_dim = self.number("output_shape")
        sizes = self["num_heads"], self["key_dim"], self._value_size, output_dim
        options = {"layout": KERAS, **self.bias_option, **self.dropout}
        tensors = query, value, key, *self._masks(kwargs)
        module = net.apply(HeadsModule, tensors, *channels, *sizes, **options)
        return self.outputs(net, module, kwargs)

    def _masks(self, kwargs: Options) -> list[Any]:
        """Return what else the module is called with: only what is needed."""
        causal = bool(kwargs.get("use_causal_mask"))
        names = ("attention_mask", "query_mask", "value_mask", "key_mask")
        masks = [kwargs.get(name) for name in names]
        if masks == [None] * 4:
            if causal:
                return [True]
            return []
        # how Keras masks, which differs in rows where nothing is allowed
        masking = "fill"
        if self.layer.keras < 3:
            masking = "add"
        elif self.get("dropout") or kwargs.get("return_attention_scores"):
            masking = "zero"
        return [causal, masking, *masks]

    def state(self) -> State:
        """Bring ``[in, heads, size]`` and ``[heads, size, out]`` into matrices, which
        no longer show the heads.
        """
        n_heads = self["num_heads"]
        state: State = {}
        for name in ("query", "key", "value"):
            size = self._value_size if name == "value" else self["key_dim"]
            kernel = self.tensor(f"{name}/kernel", None, n_heads, size)
            state[f"{name}.weight"] = kernel.flatten(1).T  # [heads * size, in]
            if self.has_bias:
                bias = self.tensor(f"{name}/bias", n_heads, size)
                state[f"{name}.bias"] = bias.flatten()
        kernel = self.tensor("attention_output/kernel", n_heads, self._value_size, None)
        state["output.weight"] = kernel.flatten(0, 1).T  # [out, heads * size]
        if self.has_bias:
            state["output.bias"] = self.tensor("attention_output/bias", None)
        return state


class Scored(AttentionRule):
    """Base of attention without projections, of one list ``[query, value]`` or
    ``[query, value, key]``.
    """

    options = {"use_scale", "dropout", "causal"}
    arguments = {"mask", "use_causal_mask", "return_attention_scores"}
    renames = {"scale": "scale", "concat_score_weight": "concat_score_weight"}

    @property
    def score(self) -> str:
        """How scores are computed, as `ScoredAttention` names it."""
        return str(self.get("score_mode", "dot"))

    @property
    def scaled(self) -> bool:
        """Whether the scores have a learnt scale."""
        return bool(self.get("use_scale", self.score == "additive"))

    def variables(self) -> list[Variable]:
        variables = []
        if self.scaled:
            variables.append(Variable("scale"))
        if self.score == "concat":
            variables.append(Variable("concat_score_weight"))
        return variables

    def build(self, net: Network, *inputs: Any, **kwargs: Any) -> list[Value]:
        query, value, *rest = inputs[0]
        key = rest[0] if rest else value
        masks = list(kwargs.get("mask") or [])[:2]  # of query and value
        causal = bool(kwargs.get("use_causal_mask") or self.get("causal", False))
        tensors = query, value, key
        if causal or masks:
            tensors = query, value, key, causal, *masks
        scale = None
        if self.scaled:  # one per channel of additive scores
            scale = query.shape[-1:] if self.score == "additive" else ()
        options = {"layout": KERAS, "scale": scale, **self.dropout}
        module = net.apply(ScoredAttention, tensors, self.score, **options)
        return self.outputs(net, module, kwargs)


@keras_layer
class Attention(Scored):
    """Luong et al. 2015: scores are products, or with ``score_mode="concat"`` sums of
    tanh.
    """

    only = {"score_mode": ("dot", "concat")}


@keras_layer
class AdditiveAttention(Scored):
    """Bahdanau et al. 2015: scores are sums of tanh, with one scale per channel."""

    score = "additive"
