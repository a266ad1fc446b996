"""Writes the layer zoo: tiny Keras models and their golden values, which the tests of
the Keras port read.

Run by hand, never by pytest (it needs TensorFlow, which the project does not):

    python tests/port/make_zoo.py [case ... | special]

Made with Python 3.11, TensorFlow 2.21.0, Keras 3.15.1, tf_keras 2.21.0, h5py 3.14.0 and
numpy 2.4.6, float32 on a CPU.

``zoo/index.json`` lists every model file. ``models`` has an entry a container: case,
Keras version, container, files, golden file, input names, note. ``refused`` are models
that a port should refuse, with what stands in the way, and ``not_made`` is what Keras
could not write. Golden files are in Keras layout (batch, time, channel):

- ``in/<input>``, ``out/<i>`` and ``order``, the names of all layer calls;
- ``layer/<name>``, ``shape/<name>`` and ``mean/<name>`` = [mean, max|.|] of each call, where ``name@1`` is the second
  call of a layer, ``name#1`` its second output and ``nested/inner`` a layer of a nested
  model;
- ``grad0/<input>`` and ``gradall/<input>``, which ``about`` defines.

Every file has been read back and gives the golden outputs; where Keras itself cannot do
that, the note says so. The members of .keras archives are compressed afterwards; else
the files are as Keras wrote them. One golden file serves both Keras where they agree to
float32 rounding.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from zoo_case import CASES, CONTAINERS, Case, Keras

ZOO = Path(__file__).parent / "zoo"
#: Two runs of one Keras differ by no more than this, relative to the largest value.
TOLERANCE = 1e-6


def load_keras() -> dict[int, Keras]:
    os.environ |= {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "CUDA_VISIBLE_DEVICES": "",
    }
    os.environ |= {"KERAS_BACKEND": "tensorflow"}
    warnings.filterwarnings("ignore", category=UserWarning)
    import keras
    import tensorflow
    import tf_keras

    return {2: Keras(2, tf_keras, tensorflow), 3: Keras(3, keras, tensorflow)}


def containers_of(case: Case, number: int, version: int) -> list[str]:
    """Return where a case is stored: HDF5 takes 4 kB a layer, so only intricate cases
    get all.

    ``all``; ``two``: .keras and one kind of HDF5, the other kind with the other Keras;
    ``small``: .keras; ``in turn``: .keras with one Keras, HDF5 with the other.
    """
    turn = number // 2 + (version if case.containers == "two" else 0)
    hdf5 = ("h5", "json")[turn % 2]
    alone = "keras" if len(case.versions) == 2 and (number + version) % 2 else hdf5
    return {
        "all": list(CONTAINERS),
        "two": ["keras", hdf5],
        "small": ["keras"],
        "in turn": [alone],
    }[case.containers]


def differs(
    model: Any,
    keras: Keras,
    inputs: dict[str, np.ndarray],
    arrays: dict[str, np.ndarray],
) -> str:
    """Return what is wrong with a model that was read back, empty if nothing is."""
    from zoo_golden import flat_run

    for index, values in enumerate(flat_run(keras, model, list(inputs.values()))):
        wanted = arrays[f"out/{index}"]
        worst = np.abs(values.numpy().astype(float) - wanted).max()
        if not worst <= TOLERANCE * max(np.abs(wanted).max(), 1e-3):
            return f"output {index} differs by {worst:.2g} after reading back"
    return ""


def store(
    case: Case,
    keras: Keras,
    container: str,
    model: Any,
    arrays: dict[str, np.ndarray],
    golden: str,
) -> dict[str, Any]:
    """Write one container, read it back, and return its line of the index."""
    from zoo_store import names_of, read, write

    names = names_of(case.name, keras.version, container)
    files = [ZOO / name for name in names]
    inputs = {
        key[3:]: values for key, values in arrays.items() if key.startswith("in/")
    }
    line = {
        "case": case.name,
        "keras": keras.version,
        "container": container,
        "files": names,
    }
    line |= {"golden": golden, "inputs": list(inputs), "note": case.note}
    try:
        write(model, files)
    except Exception as error:
        for file in files:
            file.unlink(missing_ok=True)
        return line | {
            "files": [],
            "note": f"Keras cannot write it: {first_line(error)}",
        }
    try:
        trouble = differs(read(keras, files), keras, inputs, arrays)
    except Exception as error:
        trouble = f"Keras cannot read it back: {first_line(error)}"
    return line | ({"note": f"{case.note} {trouble}".strip()} if trouble else {})


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def make(case: Case, number: int, keras: Keras) -> list[dict[str, Any]]:
    """Build a case with one Keras, write its golden file and its containers, and return
    their lines of the index."""
    from zoo_golden import golden, random_inputs, randomise

    keras.api.backend.clear_session()
    keras.data.clear()
    keras.api.utils.set_random_seed(7)
    model = case.build(keras)
    randomise(model, case.name)
    arrays = golden(keras, model, random_inputs(keras, model, case.name))
    file = save_golden(case, keras, arrays)
    return [
        store(case, keras, each, model, arrays, file)
        for each in containers_of(case, number, keras.version)
    ]


def save_golden(case: Case, keras: Keras, arrays: dict[str, np.ndarray]) -> str:
    """Write golden values and return the file's name; one file does where both Keras
    give the same numbers."""
    shared = ZOO / f"{case.name}.npz"
    if keras.version == 3 and shared.exists() and same(dict(np.load(shared)), arrays):
        return shared.name
    if keras.version == 3 and shared.exists():
        shared.rename(ZOO / f"{case.name}_k2.npz")
    file = shared if case.versions[0] == keras.version else ZOO / f"{case.name}_k3.npz"
    np.savez_compressed(file, **arrays)
    return file.name


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether two golden files hold the same names and, up to float32 rounding, the
    same numbers."""
    if one.keys() != other.keys():
        return False
    for key, values in one.items():
        if (
            values.shape != other[key].shape
            or values.dtype.kind != other[key].dtype.kind
        ):
            return False
        if values.dtype.kind in "Ub" and (values != other[key]).any():
            return False
        if values.dtype.kind in "fi" and np.abs(
            values - other[key]
        ).max() > TOLERANCE * max(np.abs(values).max(), 1e-3):
            return False
    return True


def collect() -> None:
    """Import the modules that fill `CASES`."""
    import zoo_graphs
    import zoo_layers
    import zoo_networks
    import zoo_sequences

    assert zoo_layers and zoo_sequences and zoo_graphs and zoo_networks


def make_case(case: Case, number: int, both: dict[int, Keras]) -> list[dict[str, Any]]:
    """Replace a case's files, for each Keras that has it."""
    for old in [*ZOO.glob(f"{case.name}.*"), *ZOO.glob(f"{case.name}_k[23][._]*")]:
        old.unlink()
    lines = [
        line for version in case.versions for line in make(case, number, both[version])
    ]
    for line in (
        lines
    ):  # the file of Keras 2 is renamed when Keras 3 turns out to give other numbers
        if not (ZOO / line["golden"]).exists():
            line["golden"] = f"{case.name}_k2.npz"
    return lines


def main(wanted: list[str]) -> None:
    collect()
    from zoo_special import make_special

    ZOO.mkdir(exist_ok=True)
    file = ZOO / "index.json"
    index = (
        json.loads(file.read_text(encoding="utf-8"))
        if wanted and file.exists()
        else {"models": [], "refused": []}
    )
    both = load_keras()
    for number, case in enumerate(CASES):
        if wanted and case.name not in wanted:
            continue
        lines = make_case(case, number, both)
        index["models"] = [
            line for line in index["models"] if line["case"] != case.name
        ] + lines
        print(case.name, sorted({line["note"] for line in lines}), flush=True)
    if not wanted or "special" in wanted:
        models, index["refused"] = make_special(both, ZOO)
        done = {line["case"] for line in models}
        index["models"] = [
            line for line in index["models"] if line["case"] not in done
        ] + models
    index["not_made"] = index.get("not_made", []) + [
        line for line in index["models"] if not line["files"]
    ]
    index["models"] = [line for line in index["models"] if line["files"]]
    file.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
