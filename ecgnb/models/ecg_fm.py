"""ECG-FM, the transformer encoder for 12-lead ECGs (McKeen et al. 2025, JAMIA Open).

A convolution stem turns 500 samples per second into 31.25 tokens, input of a
transformer as in wav2vec 2.0. `ecgnb.load_ecg_fm` loads the published checkpoints;
`build_model("ecg_fm", ...)` builds the same architecture with random weights.
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
    Pretraining,
    TransformerLayer,
    draw_weights,
)
from ecgnb.models.positional_conv import PositionalConv


class PaddingWarning(UserWarning):
    """Padding changes the features of the recorded part of a signal."""


@MODELS.register("ecg_fm")
class EcgFM(Backbone):
    """Signals ``[B, n_leads, T]`` -> tokens ``[B, T', D]`` -> mean -> logits.

    The defaults are the published model of 90.4 million parameters. ``n_classes=0``
    leaves the classifier out.

    Args:
        dim: D, width of the tokens.
        depth: number of transformer layers.
        n_heads: attention heads per layer.
        ffn: width of the feed-forward networks.
        conv_layers: ``(channels, kernel, stride)`` of each convolution of the stem.
        conv_bias: whether these have biases.
        position_kernel: taps of the positional convolution.
        position_groups: its groups.
        norm_first: layers normalise their inputs, not their outputs.
        dropout: of each residual branch, and of the encoder's input.
        attention_dropout: of the attention weights.
        activation_dropout: inside the feed-forward networks.
        codebook: groups, entries and width of the pretraining's codebook; ``None``
            leaves out all parts that only the pretraining uses.
        projection: width of the pretraining's projections.

    Raises:
        ConfigError: sizes that do not fit together.
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
        self.n_classes = int(n_classes)  # only this model may have 0: no classifier
        features = conv_layers[-1][0]  # C, channels of the stem's output
        self.stem = ConvStem(self.n_leads, conv_layers, conv_bias)
        self.stem_norm = nn.LayerNorm(features)
        self.project = nn.Linear(features, dim) if features != dim else nn.Identity()
        self.position = PositionalConv(dim, position_kernel, position_groups)
        self.norm_first = norm_first
        self.norm = nn.LayerNorm(dim)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList()
        for _ in range(depth):
            layer = TransformerLayer(
                dim,
                n_heads,
                ffn,
                norm_first=norm_first,
                dropout=dropout,
                attention_dropout=attention_dropout,
                activation_dropout=activation_dropout,
            )
            self.layers.append(layer)
        self.pretraining = None
        if codebook:
            self.pretraining = Pretraining(dim, features, codebook, projection)
        self.head = MeanHead(dim, self.n_classes)
        draw_weights(self)
        # samples per token
        reduction = math.prod(stride for _, stride in self.stem.steps)
        self.feature_info = []
        for index in range(depth):
            self.feature_info.append(
                FeatureInfo(name=f"layers.{index}", channels=dim, reduction=reduction)
            )

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Return logits ``[B, n_classes]``; probabilities are their sigmoid.

        Args:
            x: signals ``[B, n_leads, T]``, prepared as in training
                (`ecgnb.foundation.recipe`).
            padding_mask: bool ``[B, T]`` or ``[B, n_leads, T]``, True where a sample is
                padding; see :meth:`token_padding`.

        Raises:
            ConfigError: another number of leads, a signal that is too short, or a model
                without a classifier.
        """
        return self.head(self.forward_features(x, padding_mask))

    def embed(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Return the mean of the tokens without padding, ``[B, D]``.

        Arguments are those of :meth:`forward`.
        """
        tokens, _, padding = self._encode(x, [], padding_mask)
        return self.head.embed(_zero_padding(tokens, padding))

    def forward_features(
        self,
        x: Tensor,
        padding_mask: Tensor | None = None,
        masked: Tensor | None = None,
    ) -> Tensor:
        """Return the tokens ``[B, T', D]``.

        As in the original, a model with a classifier returns padded tokens as 0, and
        another one as they are.

        Args:
            x: signals ``[B, n_leads, T]``.
            padding_mask: as for :meth:`forward`.
            masked: bool ``[B, T']``, tokens to mask, for a model with its pretraining
                parts.
        """
        tokens, _, padding = self._encode(x, [], padding_mask, masked)
        if self.n_classes:
            tokens = _zero_padding(tokens, padding)
        return tokens

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        padding_mask: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the tokens ``[B, T', D]`` and outputs of some layers, ``[B, D, T']``;
        see `Backbone`.
        """
        selected = self._resolve_indices(indices)
        tokens, maps, padding = self._encode(x, selected, padding_mask)
        if self.n_classes:
            tokens = _zero_padding(tokens, padding)
        return tokens, maps

    def attention(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Return the attention weights of all layers, the mean over heads.

        Returns:
            ``[B, depth, T' (queries), T' (keys)]``.
        """
        tokens, padding = self._tokens(x, padding_mask)
        attended = _attention_mask(padding)
        weights = []
        for layer in cast("list[TransformerLayer]", self.layers):
            weights.append(layer.attention_weights(tokens, attended))
            tokens = layer(tokens, attended)
        return torch.stack(weights, dim=1)  # [B, depth, T', T']

    def stem_features(self, x: Tensor) -> Tensor:
        """Return the normalised features of the stem, ``[B, T', C]``.

        The pretraining quantises them.
        """
        self._check_shape(x)
        if self.stem.n_tokens(x.shape[2]) < 1:
            shortest = 1  # samples of one token
            for kernel, stride in reversed(self.stem.steps):
                shortest = (shortest - 1) * stride + kernel
            raise ConfigError(
                f"A signal of {x.shape[2]} samples is too short for "
                f"{type(self).__name__}, which needs {shortest} for one token. It was "
                f"trained on {self.n_samples} samples at {self.fs:g} Hz; pad it to "
                "that."
            )
        return self.stem_norm(self.stem(x).transpose(1, 2))  # [B, T', C]

    def codes(self, x: Tensor) -> Tensor:
        """Return the code of each token and group, int64 ``[B, T', groups]``.

        Raises:
            ConfigError: the model has no codebook.
        """
        if self.pretraining is None:
            raise ConfigError(
                "The model has no codebook: only pretrained checkpoints have one."
            )
        return self.pretraining.codebook(self.stem_features(x))

    def token_padding(self, padding_mask: Tensor | None) -> Tensor | None:
        """Return which tokens are padding, bool ``[B, T']``; ``None`` without padding.

        As in the original, the stem's normalisation includes padded samples: a padded
        record gives other numbers than the same record alone. Use windows of one length
        where you can.

        Args:
            padding_mask: bool ``[B, T]``, or ``[B, n_leads, T]`` with the same for all
                leads; True is padding, which must be at the end.

        Raises:
            ConfigError: the mask has another dtype, leads differ, padding is before
                recorded samples, or a record is nothing but padding (for which the
                original gives NaN).
        """
        if padding_mask is None:
            return None
        mask = _check_mask(padding_mask)
        if not mask.any():
            return None
        n_tokens = self.stem.n_tokens((~mask).sum(1))
        rows = torch.nonzero(n_tokens < 1)[:, 0].tolist()
        if rows:
            raise ConfigError(
                f"The records {rows} of the batch are nothing but padding. Leave them "
                "out."
            )
        warnings.warn(
            "Padded records give other numbers than the same records alone: the stem "
            "normalises over the padding too. Use windows of one length, or the "
            "padding that the model was trained with.",
            PaddingWarning,
            stacklevel=3,
        )
        steps = torch.arange(self.stem.n_tokens(mask.shape[1]), device=mask.device)
        return steps >= n_tokens[:, None]  # [B, T']

    def reset_classifier(self, n_classes: int) -> None:
        """Replace the classifier, and remove the parts of the pretraining."""
        if self.head.classifier is None and n_classes > 0:
            # replaced below
            self.head.classifier = nn.Linear(self.head.dim, 1).to(self.norm.weight)
        super().reset_classifier(n_classes)
        self.pretraining = None
        self._arguments["codebook"] = None  # for `spec`

    def layer_groups(self) -> list[list[str]]:
        """Return the parameters of stem, embedding, each layer and head; see
        `Backbone`.
        """
        layers = [f"layers.{index}." for index in range(len(self.layers))]
        return self._group_parameters(["stem.", "", *layers, "head."])

    def _encode(
        self,
        x: Tensor,
        selected: Sequence[int],
        padding_mask: Tensor | None = None,
        masked: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Return the tokens, the maps of the selected layers, and the padded tokens."""
        tokens, padding = self._tokens(x, padding_mask, masked)
        attended = _attention_mask(padding)
        maps = []
        for index, layer in enumerate(self.layers):
            tokens = layer(tokens, attended)
            if index in selected:
                maps.append(tokens.transpose(1, 2))  # [B, D, T']
        if self.norm_first:
            tokens = self.norm(tokens)
        return tokens, maps, padding

    def _tokens(
        self, x: Tensor, padding_mask: Tensor | None, masked: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the input of the first layer, and which tokens are padding."""
        if padding_mask is not None:
            without_leads = (x.shape[0], x.shape[2])
            if padding_mask.shape not in (without_leads, x.shape):
                raise ConfigError(
                    f"padding_mask has shape {list(padding_mask.shape)}; for these "
                    f"signals give {list(without_leads)} or {list(x.shape)}."
                )
        padding = self.token_padding(padding_mask)
        tokens = self.project(self.stem_features(x))
        if masked is not None:
            if self.pretraining is None:
                raise ConfigError(
                    "The model has no embedding for masked tokens: only pretrained "
                    "checkpoints have one."
                )
            embedding = self.pretraining.mask_embedding
            # as wav2vec 2.0, before positions
            tokens = torch.where(masked[..., None], embedding, tokens)
        tokens = tokens + self.position(tokens)
        tokens = _zero_padding(tokens, padding)
        if not self.norm_first:
            tokens = self.norm(tokens)
        return self.drop(tokens), padding


def _zero_padding(tokens: Tensor, padding: Tensor | None) -> Tensor:
    return tokens if padding is None else tokens.masked_fill(padding[..., None], 0.0)


def _attention_mask(padding: Tensor | None) -> Tensor | None:
    """Return which keys attention uses, bool ``[B, 1, 1, T']``; None for all."""
    return None if padding is None else ~padding[:, None, None]


def _check_mask(mask: Tensor) -> Tensor:
    """Return a valid padding mask as ``[B, T]``."""
    if mask.dtype != torch.bool or mask.ndim not in (2, 3):
        raise ConfigError(
            f"padding_mask is {mask.dtype} {list(mask.shape)}; give bool [B, T] or "
            "[B, n_leads, T]."
        )
    if mask.ndim == 3:
        if (mask != mask[:, :1]).any():
            raise ConfigError(
                "padding_mask differs between the leads of a record; they must share "
                "one length."
            )
        mask = mask[:, 0]  # [B, T]
    recorded = ~mask
    if (mask[:, :-1] & recorded[:, 1:]).any():  # padding followed by a sample
        raise ConfigError(
            "padding_mask marks samples before recorded ones; padding must be at the "
            "end."
        )
    return mask
