"""A linear layer of 8-bit integers, for inference: a quarter of the memory, and on many
processors faster.

Each row of weights has its own step, found once; each row of inputs has its own, found
when it comes (dynamic quantisation; Jacob et al. 2018, "Quantization and training of
neural networks for efficient integer-arithmetic-only inference", CVPR). Both are
symmetric around 0, products are summed as integers, and only the sum is scaled.

Inputs take the whole numbers of -63 to 63. Without VNNI, x86 processors add products in
pairs of 16 bits and cut what is larger (oneDNN's "Nuances of int8 computations"): 2 *
127 * 127 still fits, 2 * 255 * 127 does not. A mean over many tokens feels the rounding
of the weights, which have all 8 bits, far more than that of the inputs.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError

#: Largest whole number that stands for a weight, and for an input.
WEIGHT_LEVELS, INPUT_LEVELS = 127, 63

#: What is added to inputs, since the kernel wants them unsigned.
_OFFSET = 64
#: Columns whose sum of products is exact in float32: 63 * 127 * 2048 is below 2 ** 24.
_EXACT = 2048
_TINY = torch.finfo(torch.float32).tiny


class Int8Linear(nn.Module):
    """``x @ (weight * scale).T + bias`` with weights of 8 bits and inputs that are
    rounded to 7.

    It computes in float32 whatever it is given. For explanations, its gradient is that
    of the layer without the rounding of its inputs (straight through; Bengio et al.
    2013); it does not train.

    Args:
        in_features: columns of the weight.
        out_features: its rows.
        bias: whether something is added.

    Attributes:
        weight: int8 ``[out_features, in_features]``.
        scale: float32 ``[out_features]``, the step of each row.
        bias: float32 ``[out_features]`` or ``None``.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.register_buffer(
            "weight", torch.zeros(out_features, in_features, dtype=torch.int8)
        )
        self.register_buffer("scale", torch.ones(out_features))
        self.register_buffer("bias", torch.zeros(out_features) if bias else None)
        self._packed: tuple[Tensor, int, Tensor] | None = None

    @classmethod
    def of(cls, linear: nn.Linear) -> Int8Linear:
        """Return a linear layer with its weights rounded to the nearest of 255 steps,
        the largest of a row being exact.

        Raises:
            ConfigError: a weight is NaN or infinite.
        """
        weight = linear.weight.detach().float()
        if not torch.isfinite(weight).all():
            raise ConfigError(
                "A weight is NaN or infinite and cannot be rounded to 8 bits. Train or load the model again."
            )
        made = cls(linear.in_features, linear.out_features, linear.bias is not None).to(
            weight.device
        )
        step, rounded = _rounded(weight, WEIGHT_LEVELS)
        made.scale, made.weight = step[:, 0], rounded.to(torch.int8)
        if linear.bias is not None:
            made.bias = linear.bias.detach().float().clone()
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., in_features]`` to float32 ``[..., out_features]``."""
        found: Tensor = _StraightThrough.apply(x.float(), self)
        return found

    def extra_repr(self) -> str:
        """Say what `torch.nn.Linear` says."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def dequantised(self) -> Tensor:
        """Return the weights as the layer has them, float32 ``[out_features,
        in_features]``.
        """
        return self.weight * self.scale[:, None]

    def product(self, x: Tensor) -> Tensor:
        """Do the work of :meth:`forward`, for float32 and without a gradient."""
        step, rounded = _rounded(x.reshape(-1, self.in_features), INPUT_LEVELS)
        sums = (
            self._in_integers(rounded)
            if x.device.type == "cpu" and kernel_is_exact()
            else self._in_floats(rounded)
        )
        found = (
            sums * step if self.bias is None else torch.addcmul(self.bias, sums, step)
        )
        return found.view(*x.shape[:-1], self.out_features)

    def _in_integers(self, rounded: Tensor) -> Tensor:
        return _multiply(
            rounded.add_(_OFFSET).to(torch.uint8), self._as_packed(), self.scale
        )

    def _as_packed(self) -> Tensor:
        """Return the weight as the kernel wants it, made again only when it has
        changed.
        """
        if self.weight.is_inference():  # such a tensor does not count its changes
            return _pack(self.weight)
        kept, version = self._packed, self.weight._version
        if kept is None or kept[0] is not self.weight or kept[1] != version:
            kept = self._packed = (self.weight, version, _pack(self.weight))
        return kept[2]

    def _in_floats(self, rounded: Tensor) -> Tensor:
        """Return the same sums where there is no integer kernel: whole numbers are
        exact in float32 up to 2 ** 24.
        """
        blocks = zip(
            rounded.split(_EXACT, dim=1), self.weight.split(_EXACT, dim=1), strict=True
        )
        sums = [block @ weight.float().T for block, weight in blocks]
        return functools.reduce(torch.add, sums) * self.scale

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made again when it is needed: a packed weight cannot be
        copied.
        """
        return {**self.__dict__, "_packed": None}


class _StraightThrough(torch.autograd.Function):
    """The layer's product forwards, that of its weights alone backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Int8Linear) -> Tensor:
        ctx.layer = layer
        return layer.product(x)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return slopes[0] @ ctx.layer.dequantised(), None


@functools.cache
def kernel_is_exact() -> bool:
    """Return whether this installation multiplies 8-bit integers without cutting sums;
    tried once, on the largest.
    """
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(
        -INPUT_LEVELS,
        INPUT_LEVELS + 1,
        (8, 256),
        generator=generator,
        dtype=torch.int64,
    )
    weight = torch.randint(
        -WEIGHT_LEVELS,
        WEIGHT_LEVELS + 1,
        (64, 256),
        generator=generator,
        dtype=torch.int64,
    )
    inputs[0], weight[0], weight[1] = INPUT_LEVELS, WEIGHT_LEVELS, -WEIGHT_LEVELS
    try:
        found = _multiply(
            (inputs + _OFFSET).to(torch.uint8),
            _pack(weight.to(torch.int8)),
            torch.ones(64),
        )
    except (
        AttributeError,
        RuntimeError,
    ):  # a build without oneDNN, or one that has another signature
        return False
    return torch.equal(found.long(), inputs @ weight.T)


def _rounded(rows: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Return the step of each row ``[n, 1]``, and the rows as whole numbers of it; NaN
    and infinity are in the step.
    """
    step = rows.abs().amax(1, keepdim=True).div_(levels).clamp_(min=_TINY)
    return step, (rows / step).round_()


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.onednn.qlinear_prepack(weight, None)
    return packed


def _multiply(inputs: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    """Return the sums of products of uint8 inputs, less their offset, and int8 weights,
    times ``scale``, in float32.
    """
    zeros = torch.zeros(1, dtype=torch.int32)
    found: Tensor = torch.ops.onednn.qlinear_pointwise(
        *(
            inputs,
            1.0,
            _OFFSET,
            packed,
            scale,
            zeros,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
    )
    return found
