"""Architecture of an ECG-FM checkpoint, from its tensors and its configuration.

Sizes are those of the tensors. Heads, strides and the order of the norms change no
shape: they come from the configuration inside the file, and nothing is guessed. A
configuration beside the file is never read: the published one is stale.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from ecgnb.core.errors import CheckpointError

#: Shapes of the tensors by our names.
Shapes = Mapping[str, Sequence[int]]

#: Configuration keys that no shape determines.
REQUIRED = ("encoder_attention_heads", "conv_feature_layers", "layer_norm_first")

#: Values of this implementation; any other one is another network.
EXPECTED: dict[str, Any] = {
    "extractor_mode": "default",
    "quantize_input": False,  # else a codebook in front of the encoder
    "same_quantizer": False,
    "target_glu": False,
    "activation_fn": "gelu",
    "normalize": False,
    "filter": False,
}

#: The trainer's names of the two kinds, in ``cfg.model._name``; the first is followed
#: by the method.
PRETRAINED, FINE_TUNED = "wav2vec2", "ecg_transformer_classifier"

#: Sizes in both tensors and configuration: configuration key to our option.
REDUNDANT = {
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
        CheckpointError: a tensor or a required key is missing, they contradict each
            other, or the configuration has a value that no ECG-FM has.
    """
    _refuse_others(config)
    options = _from_shapes(shapes)
    _check_kind(config, options["n_classes"] > 0)
    options["conv_layers"] = _conv_layers(shapes, str(config["conv_feature_layers"]))
    options["n_heads"] = _n_heads(config, options["dim"])
    norm_first = options["norm_first"] = config["layer_norm_first"]
    if not isinstance(norm_first, bool):
        raise CheckpointError(
            f"The checkpoint's configuration has layer_norm_first="
            f"{norm_first!r}; True or False is expected."
        )
    for key, option in REDUNDANT.items():
        expected, configured = options[option], config.get(key, options[option])
        if configured != expected:
            raise CheckpointError(
                f"The checkpoint contradicts itself: its tensors have {option}="
                f"{expected!r}, its configuration {key}={configured!r}. "
                "Somebody changed one of them; take the file from its source again."
            )
    codebook = (config.get("latent_groups"), config.get("latent_vars"))
    expected = options.get("codebook", codebook)[:2]  # without its width
    if codebook != expected and None not in codebook:
        raise CheckpointError(
            f"The checkpoint contradicts itself: its codebook has (groups, entries) "
            f"{expected}, its configuration {codebook}."
        )
    for key in ("dropout", "attention_dropout", "activation_dropout"):
        options[key] = _probability(config, key)  # as in the file's training
    return options


def _check_kind(config: Mapping[str, Any], fine_tuned: bool) -> None:
    """Refuse a model of another name: its tensors may have the same names."""
    name = str(config.get("_name", ""))
    expected = FINE_TUNED if fine_tuned else PRETRAINED
    if name and not name.startswith(expected):
        raise CheckpointError(
            f"The checkpoint's configuration names the model {name!r}; its tensors are "
            f"those of {expected!r}. This version does not implement such a model."
        )


def _n_heads(config: Mapping[str, Any], dim: int) -> int:
    n_heads = config["encoder_attention_heads"]
    if type(n_heads) is not int or n_heads < 1:  # a bool is an int
        raise CheckpointError(
            f"The checkpoint's configuration has encoder_attention_heads={n_heads!r}, "
            "no whole number above 0."
        )
    if dim % n_heads:
        raise CheckpointError(
            f"{n_heads} attention heads do not divide the width {dim}."
        )
    return n_heads


def _probability(config: Mapping[str, Any], key: str) -> float:
    value = config.get(key, 0.0)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < 1:
        raise CheckpointError(
            f"The checkpoint's configuration has {key}={value!r}; a number from 0 to 1 "
            "is expected."
        )
    return float(value)


def _refuse_others(config: Mapping[str, Any]) -> None:
    missing = [key for key in REQUIRED if config.get(key) is None]
    if missing:
        raise CheckpointError(
            f"The checkpoint's configuration lacks {', '.join(missing)}, which no "
            "tensor determines. Give them; the published model is load_ecg_fm(path, "
            "config={'encoder_attention_heads': 12, 'conv_feature_layers': "
            "'[(256, 2, 2)] * 4', 'layer_norm_first': False})."
        )
    for key, expected in EXPECTED.items():
        value = config.get(key, expected)
        if value != expected:
            raise CheckpointError(
                f"The checkpoint's configuration has {key}={value!r}; ECG-FM as "
                f"implemented here has {expected!r}. Loading it would give other "
                "numbers than the original."
            )


def _from_shapes(shapes: Shapes) -> dict[str, Any]:
    layers = {name.split(".")[1] for name in shapes if name.startswith("layers.")}
    dim, group_width, kernel = _shape(shapes, "position.direction", 3)
    options: dict[str, Any] = {
        "n_leads": _shape(shapes, "stem.convs.0.weight", 3)[1],
        "dim": dim,
        "depth": len(layers),
        "ffn": _shape(shapes, "layers.0.up.weight", 2)[0],
        "conv_bias": "stem.convs.0.bias" in shapes,
        "position_kernel": kernel,
        "position_groups": dim // group_width,  # each has as many channels out as in
        "n_classes": 0,  # pretrained
    }
    if "head.classifier.weight" in shapes:
        options["n_classes"] = _shape(shapes, "head.classifier.weight", 2)[0]
    if "pretraining.codebook.vectors" in shapes:
        _, entries, width = _shape(shapes, "pretraining.codebook.vectors", 3)
        projection, joined = _shape(shapes, "pretraining.project_target.weight", 2)
        groups = joined // width  # `joined` is the width of all groups
        options["codebook"] = (groups, entries // groups, joined)
        options["projection"] = projection
    return options


def _shape(shapes: Shapes, name: str, n_axes: int) -> Sequence[int]:
    shape = shapes.get(name)
    if shape is None:
        raise CheckpointError(
            f"The checkpoint lacks {name}, which every ECG-FM has: it is of another "
            "model, or cut."
        )
    if len(shape) != n_axes or not all(shape):
        raise CheckpointError(
            f"The tensor {name} has shape {list(shape)}; an ECG-FM's has {n_axes} "
            "axes, none empty."
        )
    return shape


def _conv_layers(shapes: Shapes, text: str) -> list[tuple[int, int, int]]:
    """Return the configuration's layers, compared with the shapes of the tensors."""
    layers = parse_conv_layers(text)
    sizes: list[tuple[int, int]] = []
    while (name := f"stem.convs.{len(sizes)}.weight") in shapes:
        channels, _, kernel = _shape(shapes, name, 3)
        sizes.append((channels, kernel))
    if [layer[:2] for layer in layers] != sizes:  # the stride is in no shape
        raise CheckpointError(
            "The checkpoint contradicts itself: its convolutions have (channels, "
            f"kernel) {sizes}, its configuration conv_feature_layers={text!r}."
        )
    return layers


def parse_conv_layers(text: str) -> list[tuple[int, int, int]]:
    """Parse the trainer's Python text of ``(channels, kernel, stride)``; it is not run.

    Lists, sums and repetitions of them are known.

    Raises:
        CheckpointError: the text is of another form.

    >>> parse_conv_layers("[(48, 5, 3)] + [(48, 3, 2)] * 2")
    [(48, 5, 3), (48, 3, 2), (48, 3, 2)]
    """
    try:
        layers = _value(ast.parse(text[:1000], mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        layers = None  # refused below
    is_list = isinstance(layers, list) and 0 < len(layers) <= _MAX_LAYERS
    if not is_list or not all(map(_is_layer, layers)):
        raise CheckpointError(
            f"conv_feature_layers is {text[:100]!r}; it should list (channels, kernel, "
            "stride), such as '[(256, 2, 2)] * 4'."
        )
    return layers


_MAX_LAYERS = 64


def _value(node: ast.expr) -> Any:
    """Evaluate literals, sums of lists and repetitions; None for anything else."""
    if not isinstance(node, ast.BinOp):
        return ast.literal_eval(node)
    left, right = _value(node.left), _value(node.right)
    if not isinstance(left, list):
        return None
    if isinstance(node.op, ast.Add) and isinstance(right, list):
        return left + right
    if isinstance(node.op, ast.Mult) and isinstance(right, int):
        # no list that fills the memory
        return left * right if right <= _MAX_LAYERS else None
    return None


def _is_layer(layer: Any) -> bool:
    if not isinstance(layer, tuple) or len(layer) != 3:
        return False
    # a bool is an int, too
    return all(type(size) is int and size > 0 for size in layer)
