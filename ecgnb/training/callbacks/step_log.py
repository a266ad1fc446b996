"""Callback that writes loss and learning rate of every step to ``steps.csv``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ecgnb.core.files import write_text
from ecgnb.training.callbacks.base import CALLBACKS, Callback

if TYPE_CHECKING:
    from ecgnb.training.state import Training

_HEADER = "step,epoch,loss,lr"


@CALLBACKS.register("step_log")
class StepLog(Callback):
    """Write ``steps.csv`` beside ``history.csv``: one row per optimizer step.

    Reading the loss after each step makes a GPU wait, which costs a few percent.
    """

    def on_train_start(self, training: Training) -> None:
        """Keep the rows up to the checkpoint that the training resumes from."""
        self.path = training.files.folder / "steps.csv"
        rows = _rows_up_to(self.path, training.state.step)
        write_text(self.path, "".join(f"{row}\n" for row in [_HEADER, *rows]))

    def on_step_end(self, training: Training) -> None:
        """Append the row of the step."""
        state = training.state
        row = (state.step, state.epoch + 1, training.loss, training.lr)
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(",".join(map(repr, row)) + "\n")


def _rows_up_to(path: Path, step: int) -> list[str]:
    if not path.is_file():
        return []
    # An interrupted write may have left an incomplete last line.
    complete, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    rows = complete.splitlines()[1:]
    return [row for row in rows if int(row.split(",")[0]) <= step]
