"""The learning rate as a pure function of the step, so that nothing has to be saved or restored."""

from __future__ import annotations

import math

from ecgnb.training.config import TrainConfig

#: ``"step"`` multiplies by this factor at each of these parts of the training (He et al. 2016, CIFAR schedule).
STEP_FACTOR = 0.1
STEP_AT = (0.5, 0.75)
#: ``"one-cycle"``: part of the training with a rising rate, and how far below the peak it starts and ends
#: (Smith and Topin 2018, with the values that PyTorch took over from fastai).
RISE = 0.3
START_DIVISOR = 25.0
END_DIVISOR = 1e4


def learning_rate(step: int, total_steps: int, config: TrainConfig) -> float:
    """Return the learning rate of optimizer step ``step`` out of ``total_steps``, the first being 0.

    During the first ``warmup_fraction`` of the steps the rate rises linearly up to ``config.lr``; then it follows
    ``config.scheduler``. The one-cycle policy is a rise and a fall in itself and has no other warm-up.

    >>> learning_rate(0, 100, TrainConfig(lr=1.0, warmup_fraction=0.1))
    0.1
    """
    if config.scheduler == "one-cycle":
        return config.lr * _one_cycle(step, total_steps)
    warmup = round(config.warmup_fraction * total_steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    if config.scheduler == "cosine":
        return config.lr * _cosine(1.0, 0.0, progress)
    if config.scheduler == "step":
        return config.lr * STEP_FACTOR ** sum(progress >= part for part in STEP_AT)
    return config.lr


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def _one_cycle(step: int, total_steps: int) -> float:
    peak, last = RISE * total_steps - 1, total_steps - 1
    low, end = 1 / START_DIVISOR, 1 / START_DIVISOR / END_DIVISOR
    if step <= peak:
        return _cosine(low, 1.0, step / peak)
    return _cosine(1.0, end, (step - peak) / (last - peak))
