"""Amplitudes that no electrode delivers: refuse the recording, or flag its unit."""

from __future__ import annotations

import numpy as np

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.plausibility import robust_amplitude
from ecgnb.data.signal.quality import Extremes, find_flat

#: Largest voltage in mV that an electrode delivers, with a margin: amplifiers must cope
#: with an offset of 300 mV (IEC 60601-2-25), and a loose electrode reaches 94 mV in the
#: 1,528 real recordings that this was tried on.
MAX_MV = 1000.0
#: Amplitude in mV above which not the samples are wrong but the unit; the bound grows
#: with it, and the recording is flagged instead.
MAX_AMPLITUDE_MV = 20.0
#: Largest value whatever the unit: full scale of a 24-bit converter, read as mV.
MAX_VALUE = float(2**24)
#: Smallest range in mV of the liveliest lead, 0.1 uV: amplifiers have more noise, so
#: the unit is wrong by more than volts for millivolts. `zscore` would make it zeros.
MIN_RANGE_MV = 1e-4


def check_amplitude(
    signal: np.ndarray, fs: float, leads: tuple[str, ...], first: int = 0
) -> str:
    """Refuse values that no electrode delivers: filters and the storage of their lead
    would lose everything else.

    Where the whole recording is large its unit is wrong, and its shape is right: it is
    used, with a flag. So is a lead that stays at one value, the rail of an amplifier.

    Args:
        signal: float32 ``[n_leads, n_samples]``, finite, in mV.
        fs: sampling rate in Hz.
        leads: names of the rows, for the message.
        first: sample of the recording at which the signal begins, for the message.

    Returns:
        The flag, such as ``"amplitude:3e+03 mV"``, or "" for a usual signal.

    Raises:
        ReadError: ``"amplitude"``, with lead, value and time.
    """
    extremes = Extremes.of(signal)
    peaks = np.maximum(extremes.high, -extremes.low)  # [n_leads], mV
    if peaks.max() > MAX_MV:
        constant = find_flat(extremes)
        bounds = np.where(constant, MAX_VALUE, min(_bound_mv(signal), MAX_VALUE))
        excess = peaks / bounds
        row = int(excess.argmax())
        if excess[row] > 1:
            sample = int(np.abs(signal[row]).argmax())
            raise ReadError(
                "amplitude",
                f"Lead {leads[row]} has {signal[row, sample]:g} mV at "
                f"{(first + sample) / fs:.3f} s; no electrode delivers more than "
                f"{MAX_MV:g} mV. The file is damaged, or its gain or unit is wrong: "
                "correct it, or leave the recording out.",
            )
    largest = float((extremes.high - extremes.low).max())
    if 0 < largest < MIN_RANGE_MV:
        raise ReadError(
            "amplitude",
            f"No lead varies by more than {largest:g} mV, less than the noise of any "
            "amplifier: correct the gain or unit in the file.",
        )
    return f"amplitude:{peaks.max():.3g} mV" if peaks.max() > MAX_MV else ""


def _bound_mv(signal: np.ndarray) -> float:
    """Return the largest possible value of a recording, by its usual amplitude."""
    amplitude = robust_amplitude(signal)  # NaN where no lead varies
    return MAX_MV * float(np.fmax(1.0, amplitude / MAX_AMPLITUDE_MV))
