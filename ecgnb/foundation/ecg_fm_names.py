"""Names of the tensors of ECG-FM: of its trainer (fairseq-signals) and of `EcgFM`."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence

from ecgnb.core.errors import CheckpointError, first_few

#: Prefix of the encoder in a fine-tuned checkpoint. It is taken off once: below it,
#: `layer_norm` is the stem's and `encoder.layer_norm` the transformer's.
ENCODER = "encoder."

#: The trainer's name and the model's; ``{i}`` is a layer's number, ``{p}`` weight or
#: bias. The
#: positional convolution has two names, from before and after 2025-01-20; the newer one
#: is first.
TABLE: tuple[tuple[str, str], ...] = (
    ("feature_extractor.conv_layers.{i}.0.{p}", "stem.convs.{i}.{p}"),
    ("feature_extractor.conv_layers.0.2.{p}", "stem.norm.{p}"),
    ("layer_norm.{p}", "stem_norm.{p}"),
    ("post_extract_proj.{p}", "project.{p}"),
    ("conv_pos.pos_conv.0.bias", "position.bias"),
    ("conv_pos.pos_conv.0.parametrizations.weight.original0", "position.gain"),
    ("conv_pos.pos_conv.0.parametrizations.weight.original1", "position.direction"),
    ("conv_pos.pos_conv.0.weight_g", "position.gain"),
    ("conv_pos.pos_conv.0.weight_v", "position.direction"),
    ("encoder.layer_norm.{p}", "norm.{p}"),
    ("encoder.layers.{i}.self_attn.q_proj.{p}", "layers.{i}.attention.query.{p}"),
    ("encoder.layers.{i}.self_attn.k_proj.{p}", "layers.{i}.attention.key.{p}"),
    ("encoder.layers.{i}.self_attn.v_proj.{p}", "layers.{i}.attention.value.{p}"),
    ("encoder.layers.{i}.self_attn.out_proj.{p}", "layers.{i}.attention.out.{p}"),
    ("encoder.layers.{i}.self_attn_layer_norm.{p}", "layers.{i}.attention_norm.{p}"),
    ("encoder.layers.{i}.fc1.{p}", "layers.{i}.up.{p}"),
    ("encoder.layers.{i}.fc2.{p}", "layers.{i}.down.{p}"),
    ("encoder.layers.{i}.final_layer_norm.{p}", "layers.{i}.ffn_norm.{p}"),
    ("mask_emb", "pretraining.mask_embedding"),
    ("quantizer.vars", "pretraining.codebook.vectors"),
    ("quantizer.weight_proj.{p}", "pretraining.codebook.scores.{p}"),
    ("project_q.{p}", "pretraining.project_target.{p}"),
    ("final_proj.{p}", "pretraining.project_prediction.{p}"),
)

#: The classifier of a fine-tuned checkpoint, which has no prefix.
HEAD = ("proj.{p}", "head.classifier.{p}")


def is_fine_tuned(names: Iterable[str]) -> bool:
    """Return whether the trainer's names are those of a fine-tuned model."""
    prefixes = (ENCODER + "feature_extractor.", ENCODER + "encoder.")
    return any(name.startswith(prefixes) for name in names)


def renamed(names: Iterable[str]) -> dict[str, str]:
    """Return the name of the model for each name of the trainer.

    Raises:
        CheckpointError: a name is none that ECG-FM has, or two mean the same tensor.
    """
    names = list(names)
    fine_tuned = is_fine_tuned(names)
    originals: dict[str, str] = {}
    unknown = []
    for name in names:
        key = _model_name(name, fine_tuned)
        if key is None:
            unknown.append(name)
        elif originals.setdefault(key, name) != name:
            raise CheckpointError(
                f"The tensors {originals[key]!r} and {name!r} of the checkpoint mean "
                f"the same weight, {key}."
            )
    if unknown:
        contents = "unexpected tensors" if originals else "no tensor of ECG-FM but"
        raise CheckpointError(
            f"The checkpoint contains {contents} {first_few(unknown)}: it is of "
            "another model, or of a variant of ECG-FM that this version does not know. "
            "`ecgnb checkpoint inspect` shows its contents."
        )
    return {name: key for key, name in originals.items()}


def original_name(key: str, fine_tuned: bool) -> str:
    """Return the trainer's name of one of the model's tensors."""
    for original, template in (HEAD, *TABLE):
        if match := _pattern(template).fullmatch(key):
            name = original.format(**match.groupdict())
            is_encoder = original != HEAD[0]
            return ENCODER + name if fine_tuned and is_encoder else name
    raise KeyError(key)


def _model_name(name: str, fine_tuned: bool) -> str | None:
    table: Sequence[tuple[str, str]] = TABLE
    if fine_tuned and name.startswith(ENCODER):
        name = name.removeprefix(ENCODER)
    elif fine_tuned:  # only the head has no prefix
        table = (HEAD,)
    for template, key in table:
        if match := _pattern(template).fullmatch(name):
            return key.format(**match.groupdict())
    return None


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    pattern = re.escape(template).replace(r"\{i\}", r"(?P<i>\d+)")  # a layer's number
    return re.compile(pattern.replace(r"\{p\}", "(?P<p>weight|bias)"))
