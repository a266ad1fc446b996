"""Number of kills in the slow tests of interrupted work: ``ECGNB_TEST_KILLS``, or 6.

Each kill restarts a process, which costs seconds; more of them add moments, not checks.
"""

from __future__ import annotations

import os

KILLS = int(os.environ.get("ECGNB_TEST_KILLS", "6"))
