"""The `ecgnb` command, on click.

Every module here is imported, so a new file with a command needs no other change.
"""

from ecgnb.core.registry import import_submodules

import_submodules(__name__)
