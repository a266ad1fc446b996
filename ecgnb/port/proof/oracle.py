"""Keras as a witness, in a process of its own: nothing of it is ever imported here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from ecgnb.core.errors import PortError

#: Names the interpreter that has Keras, where it is another than ours.
PYTHON_VARIABLE = "ECGNB_KERAS_PYTHON"
SCRIPT = Path(__file__).with_name("oracle_script.py")
#: Exit status by which the script says that no Keras was found.
NO_KERAS = 3


def run_keras(
    path: Path,
    weights_path: Path,
    keras: int,
    inputs: dict[str, np.ndarray],
    folder: Path,
    python: str | Path | None = None,
) -> tuple[Path, str]:
    """Run a Keras file on inputs with `oracle_script.py`.

    Args:
        path: the file with the configuration.
        weights_path: the file with the weights, often the same.
        keras: major version of the Keras that wrote it; 2 is read with tf_keras where
            that is installed.
        inputs: by name, in Keras' order.
        folder: where files are exchanged.
        python: the interpreter; left out, that of ``ECGNB_KERAS_PYTHON``, then this
            one.

    Returns:
        A golden file, and in words which Keras made it.

    Raises:
        PortError: there is no such interpreter, it has no Keras, or Keras failed; with
            Keras' own last words.
    """
    interpreter = str(python or os.environ.get(PYTHON_VARIABLE) or sys.executable)
    given, golden = folder / "inputs.npz", folder / "golden.npz"
    np.savez(
        given,
        allow_pickle=False,
        **{f"in/{name}": values for name, values in inputs.items()},
    )
    # -I: neither the working folder nor PYTHONPATH may put another module in the place
    # of Keras.
    command = [
        interpreter,
        "-I",
        str(SCRIPT),
        str(path.resolve()),
        str(weights_path.resolve()),
        str(keras),
    ]
    try:
        done = subprocess.run(
            [*command, str(given), str(golden)],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise PortError(
            f"There is no Python interpreter {interpreter} ({error.strerror}). {_how()}"
        ) from error
    if done.returncode == NO_KERAS:
        raise PortError(f"{interpreter} has no Keras that can be asked. {_how()}")
    if done.returncode or not golden.is_file():
        words = (
            "\n".join(done.stderr.strip().splitlines()[-3:])
            or f"exit status {done.returncode}"
        )
        raise PortError(f"Keras could not run {path.name}:\n{words}\n{_how()}")
    told = done.stdout.strip().splitlines()[-1]
    # Keras 3 reads some words of Keras 2 as its own, such as hard_sigmoid, which it
    # defines otherwise.
    foreign = (
        ", which is not the Keras that wrote it"
        if keras < 3 and told.startswith("keras 3")
        else ""
    )
    return golden, f"{path.name} run by {told}{foreign}"


def _how() -> str:
    return (
        "Make an environment with Keras (pip install keras torch; for files of Keras 2: pip install tf_keras "
        f"tensorflow) and name its interpreter: python='.../bin/python', or the variable {PYTHON_VARIABLE}. "
        "Without Keras, compare with a golden file."
    )
