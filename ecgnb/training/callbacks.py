"""What may listen to a training: four moments, empty by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ecgnb.core.progress import say

if TYPE_CHECKING:
    from ecgnb.training.fitting import Fitting


class Callback:
    """Base of listeners; override what you need. They run in the process of rank 0 and
    must not change it.
    """

    def on_train_start(self, fitting: Fitting) -> None:
        """Before the first step, and again after a resume."""

    def on_step_end(self, fitting: Fitting, lr: float) -> None:
        """After each optimizer step, made with the learning rate ``lr``."""

    def on_epoch_end(self, fitting: Fitting, row: dict[str, Any]) -> None:
        """After the validation of an epoch; ``row`` is its line of the history."""

    def on_train_end(self, fitting: Fitting) -> None:
        """After the last epoch."""


class EpochLines(Callback):
    """Say one line an epoch."""

    def on_train_start(self, fitting: Fitting) -> None:
        """Say where the training starts or goes on."""
        state = fitting.state
        if state.step:
            say(
                f"Going on at epoch {state.epoch + 1}, batch {state.batch}, step {state.step}."
            )

    def on_epoch_end(self, fitting: Fitting, row: dict[str, Any]) -> None:
        """Say losses, scores and throughput."""
        memory = f", GPU {row['gpu_memory_mb']:.0f} MB" if row["gpu_memory_mb"] else ""
        named = [name for name in ("macro_f1", "macro_auroc") if name in row]
        scores = "".join(
            f", {name.replace('_', ' ')} {row[name]:.4f}" for name in named
        )
        best = " *" if fitting.state.best_epoch == row["epoch"] else ""
        say(
            f"epoch {row['epoch']}/{fitting.epochs}: train loss {row['train_loss']:.4f}, "
            f"valid loss {row['valid_loss']:.4f}{scores}, lr {row['lr']:.2e}, "
            f"{row['seconds']:.1f} s, {row['records_per_s']:.0f} records/s{memory}{best}"
        )

    def on_train_end(self, fitting: Fitting) -> None:
        """Say which epoch was the best."""
        state = fitting.state
        say(
            f"Best epoch {state.best_epoch} with {fitting.config.monitor} {abs(state.best_score):.4f}."
        )


def notify(callbacks: Sequence[Callback], moment: str, *arguments: Any) -> None:
    """Call one moment of all callbacks, in their order."""
    for callback in callbacks:
        getattr(callback, moment)(*arguments)
