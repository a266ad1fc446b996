"""Another sampling rate along straight lines between the samples, as published models were given it.

The recipe of ECG-FM: the ``n`` samples stand at ``linspace(0, n_new - 1, n)`` and are read off at 0, 1, ...
``n_new - 1``, so that the first and the last one stay. Nothing keeps what is above the new Nyquist frequency from
coming back as an alias, and the result depends on the length of the whole recording; new models take
`ecgnb.data.resample`.
"""

from __future__ import annotations

import numpy as np


def linear_length(n_samples: int, fs: float, target_fs: float) -> int:
    """Return how many samples ``n_samples`` become: the part of a sample at the end is lost.

    >>> linear_length(4096, 400.0, 500.0)
    5120
    """
    return n_samples if fs == target_fs else int(n_samples * target_fs / fs)


def resample_linear(signal: np.ndarray, fs: float, target_fs: float) -> np.ndarray:
    """Resample a whole recording ``[n_leads, n_samples]`` from ``fs`` to ``target_fs`` (Hz).

    Returns:
        float64 ``[n_leads, int(n_samples * target_fs / fs)]``, so that a filter behind it rounds but once; at equal
        rates the signal itself.
    """
    if fs == target_fs:
        return signal
    n_new = linear_length(signal.shape[1], fs, target_fs)
    wanted, places = np.arange(n_new), np.linspace(0, n_new - 1, signal.shape[1])
    return np.stack([np.interp(wanted, places, lead) for lead in signal])
