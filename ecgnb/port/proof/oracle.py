"""Run a Keras file in another process, for reference values; Keras is never imported
here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ecgnb.core.errors import PortError
from ecgnb.port.ported import major
from ecgnb.port.reading.keras_file import KerasFile

#: Environment variable with the interpreter that has Keras, if it is not this one.
PYTHON_VARIABLE = "ECGNB_KERAS_PYTHON"
SCRIPT = Path(__file__).with_name("oracle_script.py")
#: Exit status of the script if Keras is not installed.
NO_KERAS = 3
HOW_TO_INSTALL = (
    "Make an environment with Keras (pip install keras torch; for files of Keras 2: "
    "pip install tf_keras tensorflow) and name its interpreter: "
    f"python='.../bin/python', or the variable {PYTHON_VARIABLE}. Without Keras, "
    "compare with a golden file."
)


def run_keras(
    file: KerasFile,
    inputs: Mapping[str, np.ndarray],
    folder: Path,
    python: str | Path | None = None,
) -> tuple[Path, str]:
    """Run a Keras file on inputs with `oracle_script.py`.

    Args:
        file: of Keras; of Keras 2 it is read with tf_keras where that is installed.
        inputs: by name, in Keras' order.
        folder: where files are exchanged.
        python: the interpreter; left out, that of ``ECGNB_KERAS_PYTHON``, then this
            one.

    Returns:
        A golden file, and a description of the Keras that wrote it.

    Raises:
        PortError: there is no such interpreter, it has no Keras, or Keras failed; with
            the last lines of Keras' error.
    """
    interpreter = str(python or os.environ.get(PYTHON_VARIABLE) or sys.executable)
    version = major(file.keras_version)
    input_file, golden = folder / "inputs.npz", folder / "golden.npz"
    arrays = {f"in/{name}": array for name, array in inputs.items()}
    np.savez(input_file, allow_pickle=False, **arrays)
    command = [
        interpreter,
        # -I: neither the working folder nor PYTHONPATH can shadow Keras.
        "-I",
        str(SCRIPT),
        str(file.path.resolve()),
        str(file.weights_path.resolve()),
        str(version),
        str(input_file),
        str(golden),
    ]
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise PortError(
            f"There is no Python interpreter {interpreter} ({error.strerror}). "
            f"{HOW_TO_INSTALL}"
        ) from error
    if process.returncode == NO_KERAS:
        raise PortError(f"{interpreter} has no Keras installed. {HOW_TO_INSTALL}")
    if process.returncode or not golden.is_file():
        # Above the last lines is what the libraries print when they are loaded.
        lines = process.stderr.strip().splitlines()
        reason = "\n".join(lines[-3:])
        reason = reason or f"exit status {process.returncode}"
        raise PortError(
            f"Keras could not run {file.path.name}:\n{reason}\n{HOW_TO_INSTALL}"
        )
    keras = process.stdout.strip().splitlines()[-1]  # such as "keras 3.9.0 on torch"
    source = f"{file.path.name} run by {keras}"
    # Keras 3 defines some names of Keras 2 otherwise, such as hard_sigmoid.
    if version < 3 and "run by keras 3" in source:
        source += ", which is not the Keras that wrote it"
    return golden, source
