"""Readers of recording files; `ecgnb.data.readers.reading.read_recording` picks one.

`scipy.io` and `wfdb` are imported inside functions: each takes half a second, and most
recordings are read without them.
"""

from ecgnb.core.registry import import_submodules

import_submodules(__name__)
