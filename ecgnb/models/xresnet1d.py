"""XResNet in one dimension, the best convolutional network of the PTB-XL benchmark.

Strodthoff, Wagner, Schaeffter and Samek, "Deep Learning for ECG Analysis: Benchmarks
and Insights from PTB-XL", IEEE J. Biomed. Health Inform. 25(5), 2021; the bag of tricks
is He et al., "Bag of Tricks for Image Classification", 2019. All stages are 64 wide
(256 behind an expansion of 4). It was trained there on 100 Hz signals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import nn

from ecgnb.models.base import MODELS, StagedBackbone, Words
from ecgnb.models.layers import ConvNorm, PoolHead, Residual, make_shortcut

if TYPE_CHECKING:
    from typing_extensions import Unpack

_WIDTH = 64  # channels of all stages, before expansion


class XResNet1d(StagedBackbone):
    """Base of the five depths.

    Args:
        kernel: size of the convolutions, odd, in samples.
        hidden: width of the head's hidden layer.
        dropout: before the classifier; half of it before the hidden layer.
        **words: see `Words`.
    """

    blocks: ClassVar[tuple[int, ...]]
    expansion: ClassVar[int]

    def __init__(
        self,
        *,
        kernel: int = 5,
        hidden: int = 128,
        dropout: float = 0.5,
        **words: Unpack[Words],
    ) -> None:
        super().__init__(**words)
        self.stem = nn.Sequential(
            # ResNet-C: three small kernels
            ConvNorm(self.n_leads, 32, kernel, stride=2),
            ConvNorm(32, 32, kernel),
            ConvNorm(32, _WIDTH, kernel),
            nn.MaxPool1d(3, stride=2, padding=1),  # stem: a quarter of the rate
        )
        width = _WIDTH * self.expansion
        strides = (1, 2, 2, 2)  # all depths have four stages
        c_in = _WIDTH
        self.stages = nn.ModuleList()
        for depth, stride in zip(self.blocks, strides, strict=True):
            stage = nn.Sequential(_block(c_in, stride, self.expansion, kernel))
            for _ in range(depth - 1):
                stage.append(_block(width, 1, self.expansion, kernel))
            self.stages.append(stage)
            c_in = width
        self.set_feature_info(4, [width] * 4, strides)
        self.head = PoolHead(
            width, self.n_classes, pool="avgmax", hidden=hidden, dropout=dropout
        )
        nn.init.kaiming_normal_(self.head.classifier.weight)
        nn.init.zeros_(self.head.classifier.bias)  # as fastai does


def _block(c_in: int, stride: int, expansion: int, kernel: int) -> Residual:
    """Return two convolutions, or a bottleneck of three for an expansion above 1."""
    width = _WIDTH * expansion
    if expansion == 1:
        branch = nn.Sequential(
            ConvNorm(c_in, _WIDTH, kernel, stride=stride),
            ConvNorm(_WIDTH, width, kernel, activation=None).zero_gamma(),
        )
    else:
        branch = nn.Sequential(
            ConvNorm(c_in, _WIDTH, 1),
            # ResNet-B: not the 1x1 strides
            ConvNorm(_WIDTH, _WIDTH, kernel, stride=stride),
            ConvNorm(_WIDTH, width, 1, activation=None).zero_gamma(),
        )
    return Residual(branch, make_shortcut(c_in, width, stride), nn.ReLU())


@MODELS.register("xresnet1d18")
class XResNet1d18(XResNet1d):
    """18 layers of two-convolution blocks."""

    blocks, expansion = (2, 2, 2, 2), 1


@MODELS.register("xresnet1d34")
class XResNet1d34(XResNet1d):
    """34 layers of two-convolution blocks."""

    blocks, expansion = (3, 4, 6, 3), 1


@MODELS.register("xresnet1d50")
class XResNet1d50(XResNet1d):
    """50 layers of bottleneck blocks."""

    blocks, expansion = (3, 4, 6, 3), 4


@MODELS.register("xresnet1d101")
class XResNet1d101(XResNet1d):
    """101 layers of bottleneck blocks: the depth that the benchmark reports."""

    blocks, expansion = (3, 4, 23, 3), 4


@MODELS.register("xresnet1d152")
class XResNet1d152(XResNet1d):
    """152 layers of bottleneck blocks."""

    blocks, expansion = (3, 8, 36, 3), 4
