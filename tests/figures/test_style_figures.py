"""Figures have one style, and are saved once as PNG and SVG."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
from figure_checks import (
    CLASSES,
    history,
    words_of,
)

from ecgnb.figures import plots, plots_decisions, plots_ranking, style


def test_drawing_leaves_no_pyplot_figure_and_no_setting(softmax: tuple) -> None:
    import matplotlib.pyplot as plt

    before, back_end = dict(matplotlib.rcParams), matplotlib.get_backend()
    open_before = plt.get_fignums()
    plots_decisions.plot_confusion(softmax[0], softmax[0], CLASSES)
    plots_ranking.plot_roc(*softmax, CLASSES, "multiclass")
    assert plt.get_fignums() == open_before
    assert matplotlib.get_backend() == back_end
    assert dict(matplotlib.rcParams) == before


def test_the_users_settings_do_not_reach_a_figure(softmax: tuple) -> None:
    plain = style.png_bytes(
        plots_ranking.plot_roc(*softmax, CLASSES, "multiclass")[0], 50
    )
    with matplotlib.rc_context(
        {"font.size": 30, "axes.facecolor": "black", "savefig.bbox": "tight"}
    ):
        assert (
            style.png_bytes(
                plots_ranking.plot_roc(*softmax, CLASSES, "multiclass")[0], 50
            )
            == plain
        )


def test_files_are_png_and_svg_with_a_time_in_their_names(tmp_path: Path) -> None:
    figure, _ = plots.plot_training(history(1))
    first = style.save_figure(figure, tmp_path / "new", "roc: <a/b>", dpi=50)
    assert style.save_figure(figure, tmp_path / "new", "roc: <a/b>", dpi=50) == first, (
        "the same figure is kept once"
    )
    other, _ = plots.plot_training(history(2))
    second = style.save_figure(other, tmp_path / "new", "roc: <a/b>", dpi=50)
    assert re.fullmatch(r"roc-a-b_\d{8}-\d{6}", first[0].stem)
    assert [file.suffix for file in first] == [".png", ".svg"]
    assert (
        first[0].read_bytes().startswith(b"\x89PNG")
        and b"</svg>" in first[1].read_bytes()
    )
    assert len(set(first + second)) == 4
    assert sorted(tmp_path.rglob("*.*")) == sorted(first + second), (
        "nothing else may lie there"
    )


def test_math_signs_in_names_are_written_as_they_are(
    softmax: tuple, tmp_path: Path
) -> None:
    figure, _ = plots_ranking.plot_roc(
        *softmax, ("a$_1$", "$", "MI_2^3", "x\\y", "<b>"), "multiclass"
    )
    assert "a$_1$:" in words_of(figure)
    style.save_figure(figure, tmp_path, "odd", dpi=50)


def test_colours_depend_on_the_place_only() -> None:
    many = style.class_styles([str(k) for k in range(20)])
    assert (
        len({(each["color"], str(each["linestyle"])) for each in many.values()}) == 20
    )
    assert style.class_styles(CLASSES)["MI"] == many["1"]
