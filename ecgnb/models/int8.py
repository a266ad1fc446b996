"""Linear layer with 8-bit integer weights, for inference on CPUs.

A quarter of the memory, and faster on many processors. Each row of weights has its own
step size, computed once; each row of inputs has its own, computed in each call (dynamic
quantisation; Jacob et al. 2018, "Quantization and training of neural networks for
efficient integer-arithmetic-only inference", CVPR). Both are symmetric around 0,
products are summed as integers, and only the sum is scaled.

Inputs are integers from -63 to 63. Without VNNI, x86 processors add pairs of products
in 16 bits and saturate (oneDNN's "Nuances of int8 computations"): 2 * 127 * 127 still
fits, 2 * 255 * 127 does not. Rounding the weights, which have all 8 bits, changes a
mean over many tokens far more than rounding the inputs.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError

#: Largest integer of a weight, and of an input.
WEIGHT_LEVELS, INPUT_LEVELS = 127, 63

_OFFSET = 64  # added to inputs, as the kernel takes unsigned ones
#: Columns whose sum of products is exact in float32: 63 * 127 * 2048 is below 2 ** 24.
_EXACT = 2048
_TINY = torch.finfo(torch.float32).tiny


class Int8Linear(nn.Module):
    """``x @ (weight * scale).T + bias`` with 8-bit weights and 7-bit inputs.

    Inputs are cast to float32. For explanations, the gradient is that of the layer
    without the rounding of its inputs (straight through; Bengio et al. 2013); it cannot
    be trained.

    Args:
        in_features: columns of the weight.
        out_features: its rows.
        bias: whether it has one.

    Attributes:
        weight: int8 ``[out_features, in_features]``.
        scale: float32 ``[out_features]``, step size of each row.
        bias: float32 ``[out_features]`` or ``None``.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        weight = torch.zeros(out_features, in_features, dtype=torch.int8)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", torch.ones(out_features))
        self.register_buffer("bias", torch.zeros(out_features) if bias else None)
        # weight, its version, packed
        self._packed: tuple[Tensor, int, Tensor] | None = None

    @classmethod
    def of(cls, linear: nn.Linear) -> Int8Linear:
        """Return a linear layer with its weights rounded to 255 levels.

        The largest weight of a row is exact.

        Raises:
            ConfigError: a weight is NaN or infinite.
        """
        weight = linear.weight.detach().float()
        if not torch.isfinite(weight).all():
            raise ConfigError(
                "A weight is NaN or infinite and cannot be rounded to 8 bits. Train or "
                "load the model again."
            )
        has_bias = linear.bias is not None
        layer = cls(linear.in_features, linear.out_features, has_bias)
        step, rounded = _round(weight, WEIGHT_LEVELS)
        layer.scale = step[:, 0]  # [out_features]
        layer.weight = rounded.to(torch.int8)
        if has_bias:
            layer.bias = linear.bias.detach().float().clone()
        return layer

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., in_features]`` to float32 ``[..., out_features]``."""
        y: Tensor = _StraightThrough.apply(x.float(), self)
        return y

    def extra_repr(self) -> str:
        """Return sizes and bias, as `torch.nn.Linear` does."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )

    def dequantised(self) -> Tensor:
        """Return the rounded weights, float32 ``[out_features, in_features]``."""
        return self.weight * self.scale[:, None]  # scale is per row

    def product(self, x: Tensor) -> Tensor:
        """Compute :meth:`forward` of float32, without a gradient."""
        rows = x.reshape(-1, self.in_features)
        step, rounded = _round(rows, INPUT_LEVELS)  # [n, 1], [n, in_features]
        if x.device.type == "cpu" and kernel_is_exact():
            unsigned = rounded.add_(_OFFSET).to(torch.uint8)
            sums = _multiply(unsigned, self._packed_weight(), self.scale)
        else:
            sums = self._float_sums(rounded)  # GPUs, and CPUs whose kernel saturates
        y = sums * step if self.bias is None else torch.addcmul(self.bias, sums, step)
        return y.view(*x.shape[:-1], self.out_features)

    def _packed_weight(self) -> Tensor:
        """Return the weight in the kernel's layout, cached until it changes."""
        if self.weight.is_inference():  # an inference tensor does not count versions
            return _pack(self.weight)
        version = self.weight._version
        cache = self._packed  # read once: another thread may replace it
        if cache is None or cache[0] is not self.weight or cache[1] != version:
            cache = (self.weight, version, _pack(self.weight))
            self._packed = cache
        return cache[2]

    def _float_sums(self, rounded: Tensor) -> Tensor:
        """Return the same sums without an integer kernel.

        Integers are exact in float32 up to 2 ** 24.
        """
        inputs = rounded.split(_EXACT, dim=1)
        weights = self.weight.split(_EXACT, dim=1)
        total = inputs[0] @ weights[0].float().T
        for block, weight in zip(inputs[1:], weights[1:], strict=True):
            total = total + block @ weight.float().T
        return total * self.scale

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the packed weight, which cannot be copied."""
        return {**self.__dict__, "_packed": None}


class _StraightThrough(torch.autograd.Function):
    """Forward the layer's product, backward that of its weights without rounding."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Int8Linear) -> Tensor:
        ctx.layer = layer
        return layer.product(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] @ ctx.layer.dequantised(), None  # none for the layer


@functools.cache
def kernel_is_exact() -> bool:
    """Return whether this installation multiplies 8-bit integers without saturation.

    Tried once, on random and on the largest integers.
    """
    generator = torch.Generator().manual_seed(0)
    integers = torch.randint(-127, 128, (72, 256), generator=generator)
    inputs = integers[:8].clamp(-INPUT_LEVELS, INPUT_LEVELS)
    weight = integers[8:]
    # products whose pairs come closest to saturation
    inputs[0] = INPUT_LEVELS
    weight[0] = WEIGHT_LEVELS
    weight[1] = -WEIGHT_LEVELS
    unsigned = (inputs + _OFFSET).to(torch.uint8)
    try:
        packed = _pack(weight.to(torch.int8))
        sums = _multiply(unsigned, packed, torch.ones(64))
    except (AttributeError, RuntimeError):  # no oneDNN, or another signature
        return False
    return torch.equal(sums.long(), inputs @ weight.T)


def _round(rows: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Return the step size of each row ``[n, 1]``, and the rows in integers of it.

    NaN and infinity end up in the step size.
    """
    largest = rows.abs().amax(1, keepdim=True)
    step = largest.div_(levels).clamp_(min=_TINY)  # no 0 / 0 in a row of zeros
    return step, (rows / step).round_()


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.onednn.qlinear_prepack(weight, None)
    return packed  # opaque layout of the processor


def _multiply(inputs: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    """Return ``(inputs - _OFFSET) @ weight.T * scale`` in float32.

    Inputs are uint8, the packed weights int8.
    """
    # of the weights, which are symmetric
    zero_points = torch.zeros(1, dtype=torch.int32)
    no_bias, output_scale, output_zero_point = None, 1.0, 0
    sums: Tensor = torch.ops.onednn.qlinear_pointwise(
        inputs, 1.0, _OFFSET, packed, scale, zero_points, no_bias, output_scale,
        output_zero_point, torch.float32, "none", [], "",
    )  # fmt: skip
    return sums
