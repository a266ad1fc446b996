"""Readers of recording files; `ecgnb.data.readers.reading.read_recording` picks one."""

from ecgnb.core.registry import import_submodules

import_submodules(__name__)
