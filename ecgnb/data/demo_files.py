"""Writing one recording as WFDB: a header and a file of 16 bit samples, without a reader's or writer's overhead."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ecgnb.data.demo_model import ADC_PER_MV, to_adc
from ecgnb.data.recording import Recording
from ecgnb.files import atomic_write, write_text


def write_record(folder: Path, recording: Recording) -> None:
    """Write ``<record_id>.dat`` (format 16, multiplexed) and ``<record_id>.hea``, each whole or not at all.

    The header comes last: a record that has one is complete.

    Args:
        folder: where to write; must exist or be creatable.
        recording: signal in mV; ``metadata`` needs ``age``, ``sex`` and ``subtype``.
    """
    samples = to_adc(recording.signal)
    with atomic_write(folder / f"{recording.record_id}.dat") as temporary:
        temporary.write_bytes(np.ascontiguousarray(samples.T, dtype="<i2").tobytes())
    write_text(folder / f"{recording.record_id}.hea", header_text(recording, samples))


def header_text(recording: Recording, samples: np.ndarray) -> str:
    """Return the WFDB header of a recording whose samples ``[n_leads, n_samples]`` are int16.

    A checksum is the sum of a lead's samples modulo 65536, unsigned as the ``wfdb`` package writes it.
    """
    name = recording.record_id
    sums = samples.sum(axis=1, dtype=np.int64) % 65536
    lines = [f"{name} {recording.n_leads} {recording.fs:g} {recording.n_samples}"]
    for lead, first, checksum in zip(recording.leads, samples[:, 0], sums, strict=True):
        lines.append(f"{name}.dat 16 {ADC_PER_MV}(0)/mV 16 0 {first} {checksum} 0 {lead}")
    lines += [
        f"# age: {recording.metadata['age']}",
        f"# sex: {recording.metadata['sex']}",
        f"# Patient ID: {recording.patient_id}",
        "# Source: synthetic, made by the demo generator of ecgnb",
    ]
    return "\n".join(lines) + "\n"
