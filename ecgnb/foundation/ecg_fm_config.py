"""The architecture of an ECG-FM checkpoint: from the shapes of its tensors, and from
its configuration what they lack.

Tensors cannot be wrong about themselves, so sizes come from them. Heads, strides and
the order of the norms change what is computed and no shape: these come from the
configuration inside the file, and nothing is guessed. A configuration beside the file
is never read: the published one is stale.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ecgnb.core.errors import CheckpointError

#: Shapes of the tensors by our names.
Shapes = Mapping[str, Sequence[int]]

#: Configuration keys that no shape tells.
NEEDED = ("encoder_attention_heads", "conv_feature_layers", "layer_norm_first")

#: What this implementation computes; a file that says otherwise means another network.
EXPECTED: dict[str, tuple[Any, ...]] = {
    "extractor_mode": ("default",),
    "quantize_input": (False,),
    "same_quantizer": (False,),
    "target_glu": (False,),
    "activation_fn": ("gelu",),
    "normalize": (False,),
    "filter": (False,),
}

#: What the trainer calls the two kinds, in ``cfg.model._name``; the first is followed
#: by the method.
PRETRAINED, FINE_TUNED = "wav2vec2", "ecg_transformer_classifier"

#: Sizes that both tell: configuration key to our option.
TOLD_TWICE = {
    "encoder_layers": "depth",
    "encoder_embed_dim": "dim",
    "encoder_ffn_embed_dim": "ffn",
    "conv_pos": "position_kernel",
    "conv_pos_groups": "position_groups",
    "conv_bias": "conv_bias",
    "in_d": "n_leads",
    "num_labels": "n_classes",
}


def architecture(shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options and words of `EcgFM` that fit a checkpoint.

    Args:
        shapes: of the tensors, by our names (`ecgnb.foundation.ecg_fm_names`).
        config: keys of the trainer's ``cfg.model``.

    Raises:
        CheckpointError: a tensor or a key that decides is missing, both contradict each
            other, or the configuration names something that no ECG-FM has.
    """
    _refuse_others(config)
    options = _from_shapes(shapes)
    _check_kind(config, options["n_classes"] > 0)
    options["conv_layers"] = _conv_layers(shapes, str(config["conv_feature_layers"]))
    options["n_heads"] = _whole(config, "encoder_attention_heads")
    options["norm_first"] = _truth(config, "layer_norm_first")
    for key, option in TOLD_TWICE.items():
        if key in config and config[key] != options[option]:
            raise CheckpointError(
                f"The checkpoint contradicts itself: its tensors say {option}={options[option]!r}, its configuration "
                f"{key}={config[key]!r}. Somebody changed one of them; take the file from its source again."
            )
    told = (config.get("latent_groups"), config.get("latent_vars"))
    if "codebook" in options and told != options["codebook"][:2] and None not in told:
        raise CheckpointError(
            f"The checkpoint contradicts itself: its codebook has (groups, entries) {options['codebook'][:2]}, its "
            f"configuration says {told}."
        )
    if options["dim"] % options["n_heads"]:
        raise CheckpointError(
            f"{options['n_heads']} attention heads do not divide the width {options['dim']}."
        )
    # Training only: what the file's own training used.
    for key, option in (
        ("dropout", "dropout"),
        ("attention_dropout",) * 2,
        ("activation_dropout",) * 2,
    ):
        options[option] = _share(config, key)
    return options


def _check_kind(config: Mapping[str, Any], fine_tuned: bool) -> None:
    """Refuse a model of another name: its tensors may be called alike."""
    name, expected = (
        str(config.get("_name", "")),
        FINE_TUNED if fine_tuned else PRETRAINED,
    )
    if name and not name.startswith(expected):
        raise CheckpointError(
            f"The checkpoint's configuration calls the model {name!r}; its tensors are those of {expected!r}. This "
            "version does not know what such a model computes."
        )


def _share(config: Mapping[str, Any], key: str) -> float:
    value = config.get(key, 0.0)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value < 1
    ):
        raise CheckpointError(
            f"The checkpoint's configuration has {key}={value!r}; a number from 0 to 1 is expected."
        )
    return float(value)


def _refuse_others(config: Mapping[str, Any]) -> None:
    missing = [key for key in NEEDED if config.get(key) is None]
    if missing:
        raise CheckpointError(
            f"The checkpoint's configuration does not tell {', '.join(missing)}, and no tensor does. Give them: "
            "load_ecg_fm(path, config={'encoder_attention_heads': 12, 'conv_feature_layers': '[(256, 2, 2)] * 4', "
            "'layer_norm_first': False}) is the published model."
        )
    for key, allowed in EXPECTED.items():
        if key in config and config[key] not in allowed:
            raise CheckpointError(
                f"The checkpoint's configuration has {key}={config[key]!r}; ECG-FM as implemented here has "
                f"{allowed[0]!r}. Loading it would give other numbers than the original."
            )


def _from_shapes(shapes: Shapes) -> dict[str, Any]:
    layers = {
        int(match[1])
        for name in shapes
        if (match := re.match(r"layers\.(\d+)\.", name))
    }
    direction = _shape(shapes, "position.direction", 3)
    found: dict[str, Any] = {
        "n_leads": _shape(shapes, "stem.convs.0.weight", 3)[1],
        "dim": direction[0],
        "depth": len(layers),
        "ffn": _shape(shapes, "layers.0.up.weight", 2)[0],
        "conv_bias": "stem.convs.0.bias" in shapes,
        "position_kernel": direction[2],
        "position_groups": direction[0] // direction[1],
        "n_classes": _shape(shapes, "head.classifier.weight", 2)[0]
        if "head.classifier.weight" in shapes
        else 0,
    }
    if "pretraining.codebook.vectors" in shapes:
        _, entries, width = _shape(shapes, "pretraining.codebook.vectors", 3)
        projection, joined = _shape(shapes, "pretraining.project_target.weight", 2)
        groups = joined // width
        found |= {
            "codebook": (groups, entries // groups, joined),
            "projection": projection,
        }
    return found


def _shape(shapes: Shapes, name: str, n_axes: int) -> Sequence[int]:
    shape = shapes.get(name)
    if shape is None:
        raise CheckpointError(
            f"The checkpoint lacks {name}, which every ECG-FM has: it is of another model, or cut."
        )
    if len(shape) != n_axes or not all(shape):
        raise CheckpointError(
            f"The tensor {name} has shape {list(shape)}; an ECG-FM's has {n_axes} axes, none empty."
        )
    return shape


def _conv_layers(shapes: Shapes, text: str) -> list[tuple[int, int, int]]:
    """Return channels and kernel of each convolution from the tensors, its stride from
    the configuration's text.
    """
    told = parse_conv_layers(text)
    shaped: list[tuple[int, int]] = []
    while (name := f"stem.convs.{len(shaped)}.weight") in shapes:
        channels, _, kernel = _shape(shapes, name, 3)
        shaped.append((channels, kernel))
    if [(channels, kernel) for channels, kernel, _ in told] != shaped:
        raise CheckpointError(
            f"The checkpoint contradicts itself: its convolutions have (channels, kernel) {shaped}, its configuration "
            f"says conv_feature_layers={text!r}."
        )
    return told


def parse_conv_layers(text: str) -> list[tuple[int, int, int]]:
    """Parse the trainer's Python text of lists, sums and repetitions of ``(channels,
    kernel, stride)``; nothing is run.

    Raises:
        CheckpointError: the text is something else.

    >>> parse_conv_layers("[(48, 5, 3)] + [(48, 3, 2)] * 2")
    [(48, 5, 3), (48, 3, 2), (48, 3, 2)]
    """
    try:
        layers = _value(ast.parse(text[:1000], mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        layers = None
    if (
        not isinstance(layers, list)
        or not 0 < len(layers) <= _MOST_LAYERS
        or not all(map(_is_layer, layers))
    ):
        raise CheckpointError(
            f"conv_feature_layers is {text[:100]!r}; it should list (channels, kernel, stride), such as "
            "'[(256, 2, 2)] * 4'."
        )
    return layers


_MOST_LAYERS = 64


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _value(node.left) + _value(node.right) if _lists(node) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        items, times = _value(node.left), _value(node.right)
        return (
            items * times
            if isinstance(items, list)
            and isinstance(times, int)
            and times <= _MOST_LAYERS
            else None
        )
    return ast.literal_eval(node)


def _lists(node: ast.BinOp) -> bool:
    return isinstance(_value(node.left), list) and isinstance(_value(node.right), list)


def _is_layer(layer: Any) -> bool:
    return (
        isinstance(layer, tuple)
        and len(layer) == 3
        and all(
            isinstance(size, int) and not isinstance(size, bool) and size > 0
            for size in layer
        )
    )


def _whole(config: Mapping[str, Any], key: str) -> int:
    value = config[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CheckpointError(
            f"The checkpoint's configuration has {key}={value!r}, no whole number above 0."
        )
    return value


def _truth(config: Mapping[str, Any], key: str) -> bool:
    if not isinstance(config[key], bool):
        raise CheckpointError(
            f"The checkpoint's configuration has {key}={config[key]!r}; True or False is expected."
        )
    return bool(config[key])
