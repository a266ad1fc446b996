"""CPSC 2021: windows and episodes."""

from __future__ import annotations

from catalog_helpers import write_annotated

from ecgnb.data.catalog import find_records


def test_rhythms_agree_with_the_annotation_files(data_dir):
    manifest = find_records("cpsc2021", data_dir / "cpsc2021").set_index("record_id")
    # data_101_6: AF in [3132, 5639), [8468, 9100), [11121, 16050), [21303, 22355)
    episodes = [(3132, 5639), (8468, 9100), (11121, 16050), (21303, 22355)]
    for index in range(22355 // 2000):
        start, stop = index * 2000, index * 2000 + 2000
        in_af = sum(max(0, min(b, stop) - max(a, start)) for a, b in episodes)
        row = manifest.loc[f"data_101_6-{index:04d}"]
        assert row["label"] == ("AF" if in_af > 1000 else "non-AF")
        assert (row["start"], row["n_samples"], row["patient_id"]) == (
            start,
            2000,
            "101",
        )


def test_flutter_is_af_in_the_challenge_and_other_when_unified(tmp_path):
    write_annotated(
        tmp_path,
        "data_3_1",
        200,
        [(0, "+", "(AFL"), (100, "+", "(AFIB"), (150, "N", "")],
    )
    assert find_records("cpsc2021", tmp_path)["label"].tolist() == ["AF", "AF"]
    assert find_records("cpsc2021", tmp_path, label_set="unified")[
        "label"
    ].tolist() == ["OTHER", "AF"]


def test_short_recordings_are_one_window_and_missing_annotations_are_counted(tmp_path):
    write_annotated(tmp_path, "data_3_1", 70, [(0, "N", "")])
    write_annotated(tmp_path, "data_3_2", 70, [(0, "N", "")])
    (tmp_path / "data_3_2.atr").unlink()
    manifest = find_records("cpsc2021", tmp_path)
    assert manifest[["record_id", "n_samples", "label"]].values.tolist() == [
        ["data_3_1-0000", 70, "non-AF"]
    ]
    assert manifest.attrs["n_absent"] == 1
