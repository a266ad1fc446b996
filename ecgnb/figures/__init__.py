"""All drawing: style, ECG paper, plots, attributions, the HTML report.

A figure of a run is a plain function that returns ``(Figure, DataFrame)``, registered
in `FIGURES`. Its parameter names select what it gets of a run (see
`ecgnb.stages.figure_values`), so the same function also draws arrays from elsewhere:

    @FIGURES.register("lead_noise", caption="Noise of each lead.", needs="prepare")
    def plot_lead_noise(records): ...

Facts about a figure: ``caption`` (for the report), ``needs`` (the stage whose results
it draws, by default "evaluate"), ``order`` (its position in the report) and ``summary``
(turns the drawn table into the shorter one that ``ecgnb.show.<name>`` returns).
"""

from collections.abc import Callable
from typing import Any

from ecgnb.core.registry import Registry, import_submodules

FIGURES: Registry[Callable[..., Any]] = Registry("figure")

import_submodules(__name__)
