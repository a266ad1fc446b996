"""Label mappings applied to recordings: spellings, contradictions, the account."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgnb.core.errors import ConfigError, LabelError
from ecgnb.data.labels.mapping import apply_mapping
from ecgnb.data.manifest import as_manifest

CLASSES = ("MI", "AF", "BBB", "NORM", "OTHER")


def manifest_of(*names, dataset="ptbxl", folder="/data/records100/00000"):
    return as_manifest(
        pd.DataFrame(
            {
                "dataset": dataset,
                "record_id": names,
                "path": [f"{folder}/{name}_lr.hea" for name in names],
            }
        )
    )


def mapping_of(pairs, dataset="ptbxl"):
    table = pd.DataFrame(pairs, columns=["record_id", "mapped_label"], dtype="str")
    return table.assign(dataset=dataset)[["dataset", "record_id", "mapped_label"]]


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("00001", "name"),
        ("00001_lr", "name"),
        ("00001_HR.dat", "name"),
        ("./00001.hea", "name"),
        ("records100/00000/00001_lr", "path"),
        (r"records100\00000\00001_lr.hea", "path"),
        ("/home/me/ptbxl/records500/00000/00001_hr", "file name"),
        ("1", "leading zeros"),
        ("001", "leading zeros"),
        ("x/1.mat", "leading zeros"),
    ],
)
def test_spellings_of_one_name(name, way):
    labelled, coverage = apply_mapping(
        manifest_of("00001", "00011"), mapping_of([(name, "MI")]), CLASSES
    )
    assert labelled["label"].tolist() == ["MI", "OTHER"]
    assert coverage.ways == {way: 1}
    assert len(coverage.unknown) == 0


@pytest.mark.parametrize(
    "name", ["HR599", "hr00599", "HR00599.mat", "training/ptb-xl/g1/HR00599"]
)
def test_challenge_names(name):
    labelled, _ = apply_mapping(
        manifest_of("HR00599", "E00599", dataset="cinc2021"),
        mapping_of([(name, "AF")], "CinC-2021"),
        CLASSES,
    )
    assert labelled["label"].tolist() == ["AF", "OTHER"]


def test_leading_zeros_count_only_where_unambiguous():
    labelled, coverage = apply_mapping(
        manifest_of("0001", "01", "7"), mapping_of([("1", "MI"), ("7", "AF")]), CLASSES
    )
    assert labelled["label"].tolist() == ["AF"]
    assert (coverage.n_ambiguous, coverage.n_dropped, coverage.n_other) == (2, 2, 0)


def test_a_row_that_means_a_record_exactly_is_not_lent_to_another():
    labelled, coverage = apply_mapping(
        manifest_of("1", "00001"), mapping_of([("1", "MI")]), CLASSES
    )
    assert labelled[["record_id", "label"]].values.tolist() == [["1", "MI"]]
    assert (coverage.n_labelled, coverage.n_ambiguous, coverage.n_dropped) == (1, 1, 1)


def both_rates(*numbers):
    """The recordings of a folder with a 100 Hz and a 500 Hz copy of each."""
    rows = [
        {
            "dataset": "folder",
            "record_id": f"{n}_{rate}",
            "path": f"/d/records{fs}/00000/{n}_{rate}.hea",
        }
        for n in numbers
        for rate, fs in (("lr", 100), ("hr", 500))
    ]
    return as_manifest(rows)


def test_a_recording_at_two_rates_is_never_other():
    mapping = mapping_of(
        [("00001", "MI"), ("records100/00000/00002_lr", "AF"), ("00003", "BBB")]
    )
    manifest = pd.concat(
        [both_rates("00001", "00002", "00004"), manifest_of("00003", dataset="folder")]
    )
    labelled, coverage = apply_mapping(
        manifest.reset_index(drop=True), mapping, CLASSES
    )
    assert dict(zip(labelled["record_id"], labelled["label"], strict=True)) == {
        "00002_lr": "AF",
        "00004_lr": "OTHER",  # the mapping says nothing of it
        "00004_hr": "OTHER",
        "00003": "BBB",
    }
    assert (coverage.n_records, coverage.n_labelled, coverage.n_other) == (7, 2, 2)
    assert (coverage.n_dropped, coverage.n_ambiguous) == (3, 3)
    table = coverage.table().set_index("what")
    assert table.loc["ambiguous names", ["count", "note"]].tolist() == [
        3,
        "dropped: give paths in the mapping, or keep one rate",
    ]


def test_nothing_but_ambiguous_names_is_an_error_that_says_so():
    message = r"None of the 4 recordings has a label, as the names of 4 are ambiguous: .*00001_lr\.hea, .*one rate only"
    with pytest.raises(LabelError, match=message):
        apply_mapping(
            both_rates("00001", "00002"),
            mapping_of([("00001", "MI"), ("00002", "AF")]),
            CLASSES,
        )


def test_folders_tell_equal_file_names_apart():
    manifest = as_manifest(
        pd.DataFrame(
            {
                "dataset": "folder",
                "record_id": ["a/rec", "b/rec"],
                "path": ["/d/a/rec.hea", "/d/b/rec.hea"],
            }
        )
    )
    by_folder = mapping_of([("b/rec", "MI"), ("a/rec", "AF")], "anything")
    assert apply_mapping(manifest, by_folder, CLASSES)[0]["label"].tolist() == [
        "AF",
        "MI",
    ]
    absolute = mapping_of([("/d/b/rec.hea", "MI")], "anything")
    assert apply_mapping(manifest, absolute, CLASSES)[0]["label"].tolist() == ["MI"]
    with pytest.raises(LabelError, match="None of the 2 recordings"):
        apply_mapping(manifest, mapping_of([("rec", "MI")], "anything"), CLASSES)


def test_windows_of_one_file_take_the_row_of_their_record():
    manifest = as_manifest(
        pd.DataFrame(
            {
                "dataset": "mitdb",
                "record_id": ["100-0000", "100-0001"],
                "path": "/d/100.hea",
                "start": [0, 3600],
            }
        )
    )
    assert (
        apply_mapping(manifest, mapping_of([("100", "NORM")], "mitdb"), CLASSES)[0][
            "label"
        ].tolist()
        == ["NORM"] * 2
    )
    both = mapping_of([("100", "NORM"), ("100-0001", "AF")], "mitdb")
    assert apply_mapping(manifest, both, CLASSES)[0]["label"].tolist() == ["NORM", "AF"]


def test_rows_of_other_data_sets_are_not_taken():
    mapping = pd.concat(
        [
            mapping_of([("00001", "MI")], "code15"),
            mapping_of([("00002", "AF")], "PTB-XL"),
        ]
    )
    labelled, coverage = apply_mapping(
        manifest_of("00001", "00002"), mapping.reset_index(drop=True), CLASSES
    )
    assert labelled["label"].tolist() == ["OTHER", "AF"]
    assert (coverage.n_foreign_rows, len(coverage.unknown)) == (1, 0)


def test_a_folder_takes_rows_of_any_data_set_and_its_folders_decide():
    manifest = as_manifest(
        pd.DataFrame(
            {
                "dataset": "folder",
                "record_id": ["x/1", "y/1", "2"],
                "path": ["/d/x/1.hea", "/d/y/1.hea", "/d/2.hea"],
            }
        )
    )
    mapping = pd.concat(
        [mapping_of([("1", "MI"), ("2", "NORM")], "x"), mapping_of([("1", "AF")], "y")]
    )
    labelled, _ = apply_mapping(manifest, mapping.reset_index(drop=True), CLASSES)
    assert labelled["label"].tolist() == ["MI", "AF", "NORM"]


def test_equal_rows_are_fine_and_contradictory_ones_are_named():
    equal = mapping_of([("00001", "MI|AF"), ("00001_lr", "AF|MI"), ("00001", "MI|AF")])
    labelled, coverage = apply_mapping(manifest_of("00001"), equal, CLASSES)
    assert labelled["label"].tolist() == ["MI|AF"]
    assert len(coverage.unknown) == 0
    with pytest.raises(
        LabelError, match=r"1 recordings: 00001 = MI and 00001_hr = AF\. Keep one"
    ):
        apply_mapping(
            manifest_of("00001"),
            mapping_of([("00001", "MI"), ("00001_hr", "AF")]),
            CLASSES,
        )


def test_loosely_equal_rows_that_contradict_are_not_used():
    mapping = mapping_of([("a/9", "MI"), ("b/9", "AF"), ("00001", "MI")])
    labelled, coverage = apply_mapping(manifest_of("00009", "00001"), mapping, CLASSES)
    assert labelled["record_id"].tolist() == ["00001"]
    assert coverage.n_ambiguous == 1


def test_labels_take_the_spelling_and_order_of_the_classes():
    mapping = mapping_of([("1", "norm"), ("2", "af | mi"), ("3", "Other")])
    labelled, _ = apply_mapping(manifest_of("1", "2", "3"), mapping, CLASSES)
    assert labelled["label"].tolist() == ["NORM", "MI|AF", "OTHER"]


def test_labels_that_are_no_class_become_other_and_are_counted():
    mapping = mapping_of([("1", "LVH"), ("2", "MI|LVH"), ("3", "PACE"), ("4", "LVH")])
    labelled, coverage = apply_mapping(manifest_of("1", "2", "3"), mapping, CLASSES)
    assert labelled["label"].tolist() == ["OTHER", "MI", "OTHER"]
    assert coverage.not_classes == {"LVH": 2, "PACE": 1}
    assert coverage.unknown["record_id"].tolist() == ["4"]


def test_labels_that_are_no_class_are_refused_without_other():
    with pytest.raises(LabelError, match=r"'NROM' \(1\)\. Did you mean 'NORM'"):
        apply_mapping(
            manifest_of("1", "2"),
            mapping_of([("1", "NROM"), ("2", "MI")]),
            ("NORM", "MI"),
        )


def test_unmapped_recordings():
    manifest, mapping = (
        manifest_of("1", "2", "3"),
        mapping_of([("1", "MI"), ("99", "AF")]),
    )
    kept, coverage = apply_mapping(manifest, mapping, CLASSES, unmapped="other")
    assert kept["label"].tolist() == ["MI", "OTHER", "OTHER"]
    assert (
        coverage.n_records,
        coverage.n_labelled,
        coverage.n_other,
        coverage.n_dropped,
    ) == (3, 1, 2, 0)
    assert coverage.unknown["record_id"].tolist() == ["99"]
    for classes, unmapped in ((CLASSES, "drop"), (("MI", "AF"), "other")):
        kept, coverage = apply_mapping(manifest, mapping, classes, unmapped=unmapped)
        assert kept["label"].tolist() == ["MI"]
        assert (coverage.n_labelled, coverage.n_other, coverage.n_dropped) == (1, 0, 2)
    with pytest.raises(ConfigError, match="'keep'"):
        apply_mapping(manifest, mapping, CLASSES, unmapped="keep")


def test_the_account_adds_up():
    manifest = manifest_of(*[f"{i:05d}" for i in range(1, 11)])
    mapping = mapping_of(
        [(str(i), ["MI", "MI|AF", "XXX"][i % 3]) for i in range(1, 9)] + [("77", "AF")]
    )
    _, coverage = apply_mapping(manifest, mapping, CLASSES)
    table = coverage.table()
    counts = dict(zip(table["what"], table["count"], strict=True))
    assert (
        counts["recordings found"]
        == 10
        == counts["with a label"] + counts["without a label: OTHER"]
    )
    assert counts["found by leading zeros"] == 8
    assert (
        counts["class MI"] == 5
        and counts["class AF"] == 3
        and counts["class OTHER"] == 5
    )
    assert counts["label 'XXX' is no class"] == 3
    assert table.loc[
        table["what"] == "rows of unknown recordings", ["count", "note"]
    ].values.tolist() == [[1, "77"]]
    assert list(table.columns) == ["what", "count", "note"]


def test_no_match_at_all_shows_both_sides():
    with pytest.raises(
        LabelError,
        match=r"called 00001 \(data set 'ptbxl'\); the mapping names JS1 \(data set 'cinc'\)",
    ):
        apply_mapping(
            manifest_of("00001"), mapping_of([("JS1", "MI")], "cinc"), CLASSES
        )


def test_empty_sides():
    with pytest.raises(LabelError, match=r"mapping of 0 rows.*names none"):
        apply_mapping(manifest_of("00001"), mapping_of([]), CLASSES)
    labelled, coverage = apply_mapping(
        manifest_of(), mapping_of([("1", "MI")]), CLASSES
    )
    assert len(labelled) == 0 == coverage.n_labelled and coverage.n_rows == 1


def test_a_mapping_may_name_patients():
    mapping = mapping_of([("1", "MI"), ("2", "AF"), ("3", "AF"), ("4", "NORM")], "x")
    mapping["patient_id"] = ["p1", "p2", "", "p4"]
    manifest = manifest_of("2", "1", "3", "5", "4", dataset="x").assign(
        patient_id=["own", "", "", "", ""]
    )
    labelled, _ = apply_mapping(manifest, mapping, CLASSES)
    assert labelled["patient_id"].tolist() == ["own", "p1", "", "", "p4"]
    assert labelled.dtypes.to_dict() == manifest.dtypes.to_dict()
    assert manifest["patient_id"].tolist() == ["own", "", "", "", ""]


@pytest.mark.parametrize("missing", [None, float("nan")])
@pytest.mark.parametrize("dtype", ["str", object])
def test_a_missing_label_is_refused(missing, dtype):
    mapping = mapping_of([("1", "MI"), ("2", "AF")])
    mapping["mapped_label"] = pd.Series(["MI", missing], dtype=dtype)
    with pytest.raises(LabelError, match="1 labels are missing, the first in row 1"):
        apply_mapping(manifest_of("1", "2"), mapping, CLASSES)


def test_the_manifest_is_not_changed_and_keeps_its_columns():
    manifest = manifest_of("2", "1").assign(label="before")
    labelled, _ = apply_mapping(manifest, mapping_of([("1", "MI")]), CLASSES)
    assert manifest["label"].tolist() == ["before", "before"]
    assert list(labelled.columns) == list(manifest.columns)
    assert labelled.dtypes.to_dict() == manifest.dtypes.to_dict()
    assert labelled["record_id"].tolist() == ["2", "1"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 99999), min_size=1, max_size=40, unique=True), st.data())
def test_any_mix_of_spellings_gives_every_record_its_own_label(numbers, data):
    spell = [
        "{:05d}",
        "{:05d}_lr",
        "{}",
        "records100/00000/{:05d}_lr.hea",
        "records500\\00000\\{:05d}_HR.DAT",
    ]
    names = [data.draw(st.sampled_from(spell)).format(number) for number in numbers]
    labels = [CLASSES[number % 5] for number in numbers]
    order = data.draw(st.permutations(range(len(numbers))))
    mapping = mapping_of([(names[i], labels[i]) for i in order])
    labelled, coverage = apply_mapping(
        manifest_of(*[f"{number:05d}" for number in numbers]), mapping, CLASSES
    )
    assert labelled["label"].tolist() == labels
    assert (coverage.n_labelled, len(coverage.unknown), coverage.n_ambiguous) == (
        len(numbers),
        0,
        0,
    )


def folder_of(*ids, paths=None):
    rows = []
    for name, path in zip(
        ids, paths or [f"/d/{name}.hea" for name in ids], strict=True
    ):
        rows.append({"dataset": "folder", "record_id": name, "path": path})
    return as_manifest(rows)


def test_an_unknown_label_is_left_out_and_an_empty_set_stays():
    mapping = mapping_of([("1", "MI"), ("2", ""), ("3", "[]")], "x")
    labelled, coverage = apply_mapping(folder_of("1", "2", "3", "4"), mapping, CLASSES)
    assert labelled["record_id"].tolist() == ["1", "3", "4"]  # 4 is not in the mapping
    assert labelled["label"].tolist() == ["MI", "", "OTHER"]
    assert (coverage.n_labelled, coverage.n_other, coverage.n_dropped) == (2, 1, 1)
    assert (coverage.n_unknown, coverage.n_no_class) == (1, 1)
    counts = coverage.table().set_index("what")["count"]
    assert counts["of these, their label is not stated"] == 1
    assert counts["with none of the classes"] == 1


def test_a_row_that_states_a_label_counts_more_than_one_that_does_not():
    mapping = mapping_of([("1", ""), ("1.hea", "MI"), ("2", "")], "x")
    labelled, coverage = apply_mapping(folder_of("1", "2"), mapping, CLASSES)
    assert labelled["label"].tolist() == ["MI"]
    assert (coverage.n_unknown, coverage.n_rows) == (1, 3)


def test_an_exact_name_wins_over_a_stem_that_two_recordings_share():
    manifest = folder_of("1_lr", "1_hr", "a.csv", "a.npy", paths=["/d/1_lr.hea", "/d/1_hr.hea", "/d/a.csv", "/d/a.npy"])  # fmt: skip
    mapping = mapping_of(
        [("1_lr", "MI"), ("1_hr", "AF"), ("a.csv", "BBB"), ("a.npy", "NORM")], "x"
    )
    labelled, coverage = apply_mapping(manifest, mapping, CLASSES)
    assert labelled["label"].tolist() == ["MI", "AF", "BBB", "NORM"]
    assert (coverage.n_ambiguous, len(coverage.unknown)) == (0, 0)
    one = mapping_of([("1_lr", "MI"), ("a.csv", "BBB")], "x")
    labelled, coverage = apply_mapping(manifest, one, CLASSES)
    assert labelled["label"].tolist() == ["MI", "BBB"]  # of the others nothing is known
    assert coverage.n_ambiguous == 2


def test_names_that_differ_in_case_only_are_two_recordings():
    mapping = mapping_of([("a1", "MI"), ("A1", "AF")], "x")
    labelled, _ = apply_mapping(folder_of("A1", "a1"), mapping, CLASSES)
    assert labelled["label"].tolist() == ["AF", "MI"]


def test_names_that_became_floats_are_found():
    mapping = mapping_of([("1000000.0", "MI"), ("2.0", "AF")], "x")
    labelled, _ = apply_mapping(folder_of("1000000", "002"), mapping, CLASSES)
    assert labelled["label"].tolist() == ["MI", "AF"]


def test_patients_of_two_data_sets_with_equal_ids_are_two():
    mapping = pd.concat(
        [mapping_of([("1", "MI")], "x"), mapping_of([("2", "AF")], "y")]
    )
    mapping = mapping.assign(patient_id=["7", "7.0"]).reset_index(drop=True)
    labelled, _ = apply_mapping(folder_of("1", "2"), mapping, CLASSES)
    assert labelled["patient_id"].tolist() == ["x:7", "y:7"]
    one = mapping.assign(dataset="x")
    labelled, _ = apply_mapping(folder_of("1", "2"), one, CLASSES)
    assert labelled["patient_id"].tolist() == ["7", "7"]


def test_missing_words_are_no_patients():
    mapping = mapping_of([("1", "MI"), ("2", "AF"), ("3", "AF")], "x")
    mapping = mapping.assign(patient_id=["nan", "NA", "p"])
    manifest = folder_of("1", "2", "3").assign(patient_id=["None", "9", ""])
    labelled, _ = apply_mapping(manifest, mapping, CLASSES)
    assert labelled["patient_id"].tolist() == ["", "9", "p"]
