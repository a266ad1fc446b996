"""MIT-BIH: windows, beats, patients."""

from __future__ import annotations

from catalog_helpers import write_annotated

from ecgnb.data.catalog import find_records


def test_unified_labels_of_windows(tmp_path):
    write_annotated(
        tmp_path, "202", 650,
        [
            (0, "+", "(N"), (20, "N", ""), (50, "N", ""), (80, "N", ""),  # all normal
            (120, "N", ""), (150, "V", ""),  # an ectopic beat
            (220, "L", ""), (250, "L", ""), (280, "N", ""),  # bundle branch block
            (320, "N", ""), (340, "+", "(AFIB"), (360, "N", ""), (380, "+", "(N"),  # fibrillation for 40 of 100
            (420, "+", "(AFIB"), (450, "R", ""),  # fibrillation with block
            (500, "+", "(N"),  # no beat
        ],
    )  # fmt: skip
    unified = find_records("mitdb", tmp_path, label_set="unified")
    assert unified["label"].tolist() == [
        "NORM",
        "OTHER",
        "BBB",
        "OTHER",
        "AF|BBB",
        "OTHER",
    ]
    rhythm = find_records("mitdb", tmp_path)
    assert rhythm["label"].tolist() == ["N", "N", "N", "N", "AFIB", "N"]
    assert rhythm["record_id"].tolist() == [f"202-{index:04d}" for index in range(6)]
    assert set(rhythm["patient_id"]) == {"201"}  # one person, recorded twice


def test_a_window_without_an_annotated_rhythm_has_no_label(tmp_path):
    write_annotated(tmp_path, "100", 300, [(110, "+", "(N"), (220, "+", "(XYZ")])
    unified = find_records("mitdb", tmp_path, label_set="unified")
    assert unified["label"].tolist() == ["", "OTHER", ""]
    assert unified.attrs["not_understood"] == {"XYZ": 1}
