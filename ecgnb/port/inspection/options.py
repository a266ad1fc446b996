"""The options of a Keras layer in a few words, as people tell them: ``64 filters, k3,
s1, same``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ecgnb.port.layers.base import WITHOUT_EFFECT
from ecgnb.port.reading.graph import Layer

#: How an option is said; the rest is ``name=value``.
_WORDS = {
    "filters": "{} filters",
    "units": "{} units",
    "kernel_size": "k{}",
    "pool_size": "pool {}",
    "strides": "s{}",
    "padding": "{}",
    "dilation_rate": "dilation {}",
    "groups": "{} groups",
    "rate": "rate {}",
    "epsilon": "eps {}",
    "momentum": "momentum {}",
    "merge_mode": "{}",
    "activation": "{}",
}
#: What says nothing about the model, or what another option says.
_SILENT = WITHOUT_EFFECT | {
    "renorm_momentum", "fused", "unit_forget_bias", "zero_output_for_mask", "input_dtype", "function"
}  # fmt: skip
#: What need not be said, since everybody expects it.
_USUAL: dict[str, tuple[Any, ...]] = {
    "dilation_rate": (1,),
    "groups": (1,),
    "center": (True,),
    "scale": (True,),
    "data_format": ("channels_last",),
    "axis": (-1, 2),
    "activation": ("linear",),
    "rank": (1,),
    "implementation": (1, 2),
    "recurrent_activation": ("sigmoid",),
}


def options_text(layer: Layer) -> str:
    """Return what matters of a layer's options; a wrapper tells those of the layer it
    wraps, too.

    >>> options_text(Layer("c", "Conv1D", {"filters": 8, "kernel_size": [3], "strides": [1], "use_bias": False}, 2))
    '8 filters, k3, s1, no bias'
    """
    if layer.inner:
        return f"of {len(layer.inner.calls)} layers"
    parts = list(_said(layer.config))
    for child in list(layer.children.values())[
        :1
    ]:  # both directions of a Bidirectional are alike
        parts.append(f"{child.class_name} {options_text(child)}".strip())
    return ", ".join(parts)


def _said(config: dict[str, Any]) -> Iterator[str]:
    for option in sorted(
        config,
        key=lambda option: (
            list(_WORDS).index(option) if option in _WORDS else len(_WORDS)
        ),
    ):
        value = config[option]
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if option == "use_bias":
            yield from () if value else ("no bias",)
        elif not (
            _is_nothing(value) or option in _SILENT or value in _USUAL.get(option, ())
        ):
            text = f"{value:g}" if isinstance(value, float) else str(value)
            yield (
                _WORDS[option].format(text) if option in _WORDS else f"{option}={text}"
            )


def _is_nothing(value: Any) -> bool:
    """Whether an option says that something is not done, or holds another object, such
    as an initialiser.
    """
    return (
        value is None
        or value is False
        or isinstance(value, dict)
        or (isinstance(value, float) and value == 0)
    )
