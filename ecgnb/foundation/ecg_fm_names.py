"""What the tensors of an ECG-FM checkpoint are called by its trainer (fairseq-signals),
and by `EcgFM`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence

from ecgnb.core.errors import CheckpointError

#: Prefix of the encoder in a fine-tuned checkpoint. It is taken off once: below it,
#: `layer_norm` is the stem's and `encoder.layer_norm` the transformer's.
ENCODER = "encoder."

#: Theirs and ours; ``{i}`` is a layer's number, ``{p}`` weight or bias. The positional
#: convolution has two spellings, from before and after 2025-01-20; the newer one comes
#: first.
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
    """Return whether the names are those of a fine-tuned model: its encoder is a part
    of it.
    """
    return any(
        name.startswith((ENCODER + "feature_extractor.", ENCODER + "encoder."))
        for name in names
    )


def renamed(names: Iterable[str]) -> dict[str, str]:
    """Return our name for each of theirs.

    Raises:
        CheckpointError: a name is none that ECG-FM has, or two mean the same tensor.
    """
    names = list(names)
    fine_tuned = is_fine_tuned(names)
    found: dict[str, str] = {}
    unknown = []
    for name in names:
        ours = _ours(name, fine_tuned)
        if ours is None:
            unknown.append(name)
        elif ours in found.values():
            twin = next(theirs for theirs, other in found.items() if other == ours)
            raise CheckpointError(
                f"The tensors {twin!r} and {name!r} of the checkpoint mean the same weight, {ours}."
            )
        else:
            found[name] = ours
    if unknown:
        told = ", ".join(unknown[:5]) + (
            f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        )
        what = "unexpected tensors" if found else "no tensor of ECG-FM but"
        raise CheckpointError(
            f"The checkpoint holds {what} {told}: it is of another model, or of a variant of ECG-FM that this version "
            "does not know. `ecgnb checkpoint inspect` shows all that it holds."
        )
    return found


def original_name(ours: str, fine_tuned: bool) -> str:
    """Return what the trainer calls one of our tensors, in a fine-tuned or a pretrained
    checkpoint.
    """
    if found := _translated(ours, [(b, a) for a, b in (HEAD,)]):
        return found
    found = _translated(ours, [(b, a) for a, b in TABLE])
    if found is None:
        raise KeyError(ours)
    return ENCODER + found if fine_tuned else found


def _ours(name: str, fine_tuned: bool) -> str | None:
    if not fine_tuned:
        return _translated(name, TABLE)
    inner = name.removeprefix(ENCODER)
    return _translated(name, (HEAD,)) if inner == name else _translated(inner, TABLE)


def _translated(name: str, table: Sequence[tuple[str, str]]) -> str | None:
    for one, other in table:
        if match := _pattern(one).fullmatch(name):
            return other.format(**match.groupdict())
    return None


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    escaped = re.escape(template)
    return re.compile(
        escaped.replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\{p\}", "(?P<p>weight|bias)")
    )
