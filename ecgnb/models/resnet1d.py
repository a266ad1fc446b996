"""ResNet in one dimension that trains on a laptop: the stem lowers the rate early."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from ecgnb.core.errors import ConfigError
from ecgnb.models.base import MODELS, StagedBackbone, Words
from ecgnb.models.layers import ConvNorm, PoolHead, Residual, make_shortcut

if TYPE_CHECKING:
    from typing_extensions import Unpack

_STEM_RATE = 125.0  # Hz, behind the stem's convolution; the pooling then halves it
_STEM_KERNEL = 15  # 30 ms at 500 Hz: the slope of a QRS complex


@MODELS.register("resnet1d")
class ResNet1d(StagedBackbone):
    """Residual blocks of two convolutions behind a stem that strides early.

    The stem's stride follows the sampling rate (4 at 500 Hz, 2 at 250, 1 at 100), so
    that the stages run at about 62 Hz for every recorder; kernels, and with them the
    number of parameters, stay the same.

    Args:
        widths: channels of each stage; every stage but the first halves the rate.
        depths: residual blocks of each stage.
        kernel: size of the blocks' convolutions, odd, in samples.
        norm: ``"batch"`` or ``"group"``.
        pool: ``"avg"``, ``"max"`` or ``"avgmax"``.
        dropout: before the classifier.
        **words: see `Words`.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (32, 64, 128, 192),
        depths: Sequence[int] = (2, 2, 2, 2),
        kernel: int = 7,
        norm: str = "batch",
        pool: str = "avg",
        dropout: float = 0.2,
        **words: Unpack[Words],
    ) -> None:
        super().__init__(**words)
        if len(widths) != len(depths) or min(*widths, *depths) < 1:
            raise ConfigError(
                f"resnet1d needs one depth per width, all above 0: widths={widths!r}, "
                f"depths={depths!r}."
            )
        stride = max(1, round(self.fs / _STEM_RATE))  # 1 at 100 Hz, 4 at 500 Hz
        c_in = widths[0]
        self.stem = nn.Sequential(
            ConvNorm(
                self.n_leads,
                c_in,
                _STEM_KERNEL,
                stride=stride,
                norm=norm,
                activation=nn.GELU,
            ),
            nn.MaxPool1d(3, stride=2, padding=1),
        )
        strides = [1] + [2] * (len(widths) - 1)
        self.stages = nn.ModuleList()
        for width, depth, step in zip(widths, depths, strides, strict=True):
            stage = nn.Sequential(_block(c_in, width, step, kernel, norm))
            for _ in range(depth - 1):
                stage.append(_block(width, width, 1, kernel, norm))
            self.stages.append(stage)
            c_in = width
        self.set_feature_info(2 * stride, widths, strides)  # 2 is that of the pooling
        self.head = PoolHead(widths[-1], self.n_classes, pool=pool, dropout=dropout)


def _block(c_in: int, c_out: int, stride: int, kernel: int, norm: str) -> Residual:
    branch = nn.Sequential(
        ConvNorm(c_in, c_out, kernel, stride=stride, norm=norm, activation=nn.GELU),
        ConvNorm(c_out, c_out, kernel, norm=norm, activation=None).zero_gamma(),
    )
    return Residual(branch, make_shortcut(c_in, c_out, stride, norm), nn.GELU())
