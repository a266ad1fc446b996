"""One file a format; `ecgnb.data.readers.reading.read_recording` chooses among them."""

from ecgnb.core.registry import import_submodules

import_submodules(__name__)
