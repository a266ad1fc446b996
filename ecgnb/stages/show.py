"""Figures of a run: each function draws one, keeps it as PNG and SVG with the run's figures, and returns the table drawn.

What `draw_*` of a figure needs is read back from the run, so every function works after a restart; the report uses the same.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ecgnb.session import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Drawn = "tuple[Figure, pd.DataFrame]"
