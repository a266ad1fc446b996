"""PhysioNet/CinC Challenge 2021: the recordings of 2020 and those of Chapman-Shaoxing and Ningbo."""

from __future__ import annotations

import re
from typing import ClassVar

from ecgnb.data.catalog.base import CATALOG
from ecgnb.data.catalog.cinc2020 import Cinc2020, challenge_weights


@CATALOG.register("cinc2021")
class Cinc2021(Cinc2020):
    """Challenge 2021. As `Cinc2020`, with the scored classes of 2021; JS are Chapman-Shaoxing and Ningbo."""

    name = "cinc2021"
    title = "Will Two Do? Varying Dimensions in Electrocardiography: PhysioNet/CinC Challenge 2021"
    citation = "Reyna MA, et al. Comput Cardiol 2021;48. doi:10.23919/CinC53138.2021.9662687"
    expects = "WFDB records A0001, HR00001, JS00001 and so on with a #Dx: line in their headers"
    download = "challenge-2021/1.0.3"
    label_sets: ClassVar[dict[str, tuple[str, ...]]] = {**Cinc2020.label_sets, "scored": challenge_weights(2021)[0]}
    pattern = re.compile(r"(A|Q|I|S|HR|E|JS)\d{4,5}")
    scored_column = "scored_2021"
