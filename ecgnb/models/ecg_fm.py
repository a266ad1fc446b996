"""ECG-FM, the transformer encoder for 12-lead ECGs (McKeen et al. 2025, JAMIA Open), as
a model of the workbench.

A convolution stem turns 500 samples a second into 31.25 tokens; a transformer of
wav2vec 2.0's kind reads them. `ecgnb.load_ecg_fm` loads the published checkpoints;
without them the same architecture trains from scratch.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError
from ecgnb.models.base import MODELS, Backbone, FeatureInfo
from ecgnb.models.ecg_fm_parts import (
    ConvLayer,
    ConvStem,
    MeanHead,
    PositionalConv,
    Pretraining,
    TransformerLayer,
    draw_weights,
)


class PaddingWarning(UserWarning):
    """Padding changes what a model finds in the recorded part of a signal."""


@MODELS.register("ecg_fm")
class EcgFM(Backbone):
    """Signals ``[B, n_leads, T]`` -> tokens ``[B, T', D]`` -> their mean ``[B, D]`` ->
    logits ``[B, n_classes]``.

    The defaults are the published model of 90.4 million parameters. ``n_classes=0``
    leaves the classifier out.

    Args:
        dim: D, width of the tokens.
        depth: number of transformer layers.
        n_heads: attention heads a layer.
        ffn: width of the feed-forward networks.
        conv_layers: ``(channels, kernel, stride)`` of each convolution of the stem.
        conv_bias: whether these have biases.
        position_kernel: taps of the positional convolution.
        position_groups: its groups.
        norm_first: layers normalise their inputs, not their sums.
        dropout: of what each part of a layer adds, and of the encoder's input.
        attention_dropout: of the attention weights.
        activation_dropout: inside the feed-forward networks.
        codebook: groups, entries and width of the pretraining's codebook; ``None``
            leaves out all parts that only the pretraining uses.
        projection: width in which the pretraining compares.

    Raises:
        ConfigError: sizes that do not go together.
    """

    channels_last: ClassVar[bool] = True
    any_length: ClassVar[bool] = True
    head: MeanHead
    pretraining: Pretraining | None

    def __init__(
        self,
        *,
        dim: int = 768,
        depth: int = 12,
        n_heads: int = 12,
        ffn: int = 3072,
        conv_layers: Sequence[ConvLayer] = ((256, 2, 2),) * 4,
        conv_bias: bool = False,
        position_kernel: int = 128,
        position_groups: int = 16,
        norm_first: bool = False,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.1,
        codebook: Sequence[int] | None = None,
        projection: int = 256,
        **words: Any,
    ) -> None:
        n_classes = words.pop("n_classes")
        super().__init__(n_classes=n_classes or 1, **words)
        self.n_classes = int(
            n_classes
        )  # 0 for a pretrained encoder, which no other model is
        features = conv_layers[-1][0]
        self.stem = ConvStem(self.n_leads, conv_layers, conv_bias)
        self.stem_norm = nn.LayerNorm(features)
        self.project = nn.Linear(features, dim) if features != dim else nn.Identity()
        self.position = PositionalConv(dim, position_kernel, position_groups)
        self.norm_first = norm_first
        self.norm = nn.LayerNorm(dim)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(
                dim,
                n_heads,
                ffn,
                norm_first=norm_first,
                dropout=dropout,
                attention_dropout=attention_dropout,
                activation_dropout=activation_dropout,
            )
            for _ in range(depth)
        )
        self.pretraining = (
            Pretraining(dim, features, codebook, projection) if codebook else None
        )
        self.head = MeanHead(dim, self.n_classes)
        draw_weights(self)
        reduction = math.prod(stride for _, stride in self.stem.steps)
        self.feature_info = [
            FeatureInfo(name=f"layers.{index}", channels=dim, reduction=reduction)
            for index in range(depth)
        ]

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Return logits ``[B, n_classes]``; probabilities are their sigmoid.

        Args:
            x: signals ``[B, n_leads, T]``, prepared as the model has learnt
                (`ecgnb.foundation.recipe`).
            padding_mask: bool ``[B, T]`` or ``[B, n_leads, T]``, True where a sample is
                padding; see :meth:`token_padding`.

        Raises:
            ConfigError: another number of leads, a signal that is too short, or a model
                without a classifier.
        """
        return self.head(self._unpadded(x, padding_mask))

    def probabilities(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Return ``[B, n_classes]``: the sigmoid of the logits, or their softmax for
        the task "multiclass".
        """
        logits = self(x, padding_mask)
        return logits.sigmoid() if self.task == "multilabel" else logits.softmax(-1)

    def embed(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Return the mean of the tokens that are no padding, ``[B, D]``; arguments as
        for :meth:`forward`.
        """
        return self.head.embed(self._unpadded(x, padding_mask))

    def forward_features(
        self,
        x: Tensor,
        padding_mask: Tensor | None = None,
        masked: Tensor | None = None,
    ) -> Tensor:
        """Return the sequence ``[B, T', D]``.

        As in the original, padded tokens come out as 0 of a model with a classifier,
        and as they are of another.

        Args:
            x: signals ``[B, n_leads, T]``.
            padding_mask: as for :meth:`forward`.
            masked: bool ``[B, T']``, tokens to hide from the encoder, for a model with
                its pretraining parts.
        """
        tokens, _, padding = self._encode(x, [], padding_mask, masked)
        return _without(tokens, padding) if self.n_classes else tokens

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        padding_mask: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the sequence ``[B, T', D]`` and outputs of the layers asked for, ``[B,
        D, T']``; see `Backbone`.
        """
        tokens, maps, padding = self._encode(x, self._wanted(indices), padding_mask)
        return _without(tokens, padding) if self.n_classes else tokens, maps

    def attention(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Return the attention weights of every layer, the mean over heads, ``[B,
        depth, T' (queries), T' (keys)]``.
        """
        tokens, seen, _ = self._tokens(x, padding_mask)
        found = []
        for layer in cast("list[TransformerLayer]", self.layers):
            found.append(layer.attention_weights(tokens, seen))
            tokens = layer(tokens, seen)
        return torch.stack(found, dim=1)

    def stem_features(self, x: Tensor) -> Tensor:
        """Return the normalised features of the stem, ``[B, T', C]``, which the
        pretraining gives codes to.
        """
        self._check_shape(x)
        if self.stem.n_tokens(x.shape[2]) < 1:
            shortest = next(n for n in range(1, 10**6) if self.stem.n_tokens(n) == 1)
            raise ConfigError(
                f"A signal of {x.shape[2]} samples is too short for {type(self).__name__}, which needs {shortest} for "
                f"one token. It has learnt from {self.n_samples} samples at {self.fs:g} Hz; pad it to that."
            )
        return self.stem_norm(self.stem(x).transpose(1, 2))

    def codes(self, x: Tensor) -> Tensor:
        """Return the code of each token and group, int64 ``[B, T', groups]``.

        Raises:
            ConfigError: the model has no codebook.
        """
        if self.pretraining is None:
            raise ConfigError(
                "The model has no codebook: only pretrained checkpoints hold one."
            )
        return self.pretraining.codebook(self.stem_features(x))

    def token_padding(self, padding_mask: Tensor | None) -> Tensor | None:
        """Return which tokens are padding, bool ``[B, T']``; ``None`` where there is
        none.

        As in the original, the stem's normalisation runs over padded samples too: a
        record that is padded gives other numbers than the same record alone. Choose
        windows of one length where you can.

        Args:
            padding_mask: bool ``[B, T]``, or ``[B, n_leads, T]`` with the same for all
                leads; True is padding, which stands at the end.

        Raises:
            ConfigError: the mask has another type, leads differ, padding stands before
                recorded samples, or a record is nothing but padding (for which the
                original gives NaN).
        """
        if padding_mask is None:
            return None
        mask = self._checked_mask(padding_mask)
        if not mask.any():
            return None
        n_tokens = self.stem.n_tokens((~mask).sum(1))
        if (n_tokens < 1).any():
            rows = torch.nonzero(n_tokens < 1)[:, 0].tolist()
            raise ConfigError(
                f"The records {rows} of the batch are nothing but padding. Leave them out."
            )
        warnings.warn(
            "Padded records give other numbers than the same records alone: the stem normalises over the padding too. "
            "Use windows of one length, or the padding that the model was trained with.",
            PaddingWarning,
            stacklevel=3,
        )
        steps = torch.arange(self.stem.n_tokens(mask.shape[1]), device=mask.device)
        return steps >= n_tokens[:, None]

    def reset_classifier(self, n_classes: int) -> None:
        """Give the model a new classifier; what only the pretraining uses is left
        behind.
        """
        if n_classes < 1:
            raise ConfigError(
                f"A classifier needs n_classes above 0; it was given {n_classes!r}."
            )
        if self.pretraining is not None:
            self.pretraining = None
            object.__setattr__(self, "_given", {**self._given, "codebook": None})
        if self.head.classifier is None:
            weight = self.norm.weight
            self.head.classifier = nn.Linear(
                self.head.dim, 1, device=weight.device, dtype=weight.dtype
            )
        super().reset_classifier(n_classes)

    def layer_groups(self) -> list[list[str]]:
        """Return the parameters of the stem, of what lies between, of each layer and of
        the head; see `Backbone`.
        """
        names = [name for name, _ in self.named_parameters()]
        prefixes = [
            "stem.",
            *(f"{info['name']}." for info in self.feature_info),
            "head.",
        ]
        stem, *layers, head = [
            [name for name in names if name.startswith(prefix)] for prefix in prefixes
        ]
        grouped = {*stem, *head, *(name for group in layers for name in group)}
        return [stem, [name for name in names if name not in grouped], *layers, head]

    def _encode(
        self,
        x: Tensor,
        wanted: Sequence[int],
        padding_mask: Tensor | None = None,
        masked: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Return the sequence, the maps of the wanted layers, and which tokens are
        padding.
        """
        tokens, seen, padding = self._tokens(x, padding_mask, masked)
        maps = []
        for index, layer in enumerate(self.layers):
            tokens = layer(tokens, seen)
            if index in wanted:
                maps.append(tokens.transpose(1, 2))
        return self.norm(tokens) if self.norm_first else tokens, maps, padding

    def _tokens(
        self, x: Tensor, padding_mask: Tensor | None, masked: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return what the first layer reads, which keys attention sees ``[B, 1, 1,
        T']``, and the padded tokens.
        """
        if padding_mask is not None and padding_mask.shape not in (
            (len(x), x.shape[2]),
            x.shape,
        ):
            raise ConfigError(
                f"padding_mask has shape {list(padding_mask.shape)}; for these signals give [{len(x)}, {x.shape[2]}] "
                f"or {list(x.shape)}."
            )
        padding = self.token_padding(padding_mask)
        tokens = self.project(self.stem_features(x))
        if masked is not None:
            tokens = self._hidden(tokens, masked)
        tokens = tokens + self.position(tokens)
        tokens = _without(tokens, padding)
        if not self.norm_first:
            tokens = self.norm(tokens)
        seen = None if padding is None else ~padding[:, None, None]
        return self.drop(tokens), seen, padding

    def _hidden(self, tokens: Tensor, masked: Tensor) -> Tensor:
        if self.pretraining is None:
            raise ConfigError(
                "The model has no embedding for masked tokens: only pretrained checkpoints hold one."
            )
        return torch.where(masked[..., None], self.pretraining.mask_embedding, tokens)

    def _unpadded(self, x: Tensor, padding_mask: Tensor | None) -> Tensor:
        tokens, _, padding = self._encode(x, [], padding_mask)
        return _without(tokens, padding)

    def _checked_mask(self, mask: Tensor) -> Tensor:
        if mask.dtype != torch.bool or mask.ndim not in (2, 3):
            raise ConfigError(
                f"padding_mask is {mask.dtype} {list(mask.shape)}; give bool [B, T] or [B, n_leads, T]."
            )
        if mask.ndim == 3:
            if (mask != mask[:, :1]).any():
                raise ConfigError(
                    "padding_mask differs between the leads of a record; they must share one length."
                )
            mask = mask[:, 0]
        if (mask[:, :-1] & ~mask[:, 1:]).any():
            raise ConfigError(
                "padding_mask marks samples before recorded ones; padding must stand at the end."
            )
        return mask


def _without(tokens: Tensor, padding: Tensor | None) -> Tensor:
    """Set padded tokens to 0."""
    return tokens if padding is None else tokens.masked_fill(padding[..., None], 0.0)
