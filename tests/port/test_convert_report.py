"""The report of a conversion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_keras import dense, write_sequential

from ecgnb.port import convert


def test_convert_writes_a_report(golden_dir: Path, tmp_path: Path) -> None:
    home = golden_dir / "keras" / "pathology_avb"
    made = convert(
        home / "model.json",
        tmp_path,
        contract="pathology_avb",
        reference=home / "golden.npz",
    )
    assert made.comparison is not None and made.comparison.passed
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in (
        "64,386",
        "PASSED: 34 of 34 rows",
        "no AVB, AVB",
        "CC BY 4.0",
        "Conv1D 64 filters, k3, s1, same",
    ):
        assert words in text
    assert "<td>equal</td>" in text and "data:image/png" in text


def test_convert_report_shows_where_the_port_diverges(
    golden_dir: Path, tmp_path: Path
) -> None:
    home = golden_dir / "keras" / "generic_ecg"
    with np.load(home / "golden.npz") as golden:
        arrays = dict(golden)
    arrays["layer/last_conv"] = arrays["layer/last_conv"] * 1.01
    np.savez(tmp_path / "bad.npz", **arrays)
    made = convert(
        home / "model.keras", tmp_path / "out", reference=tmp_path / "bad.npz"
    )
    assert (
        made.comparison is not None and made.comparison.first_divergent == "last_conv"
    )
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "FAILED" in text and "<td>DIVERGES</td>" in text


def test_convert_report_escapes_what_the_file_says(tmp_path: Path) -> None:
    path = write_sequential(tmp_path / "m.h5", [3], [dense("<script>\x1b", 3, 2)])
    made = convert(path, tmp_path / "out", notes="<b>mine</b>")
    text = (made.folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text and "<b>" not in text
    assert "&lt;script&gt;" in text and "&lt;b&gt;mine" in text and "\x1b" not in text
