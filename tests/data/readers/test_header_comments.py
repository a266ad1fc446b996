import pytest

from ecgnb.data.readers.header_comments import parse_age, parse_comments


def test_challenge_header():
    found = parse_comments(
        ["Age: 77", "Sex: Female", "Dx: 253352002, 427084000", "Rx: Unknown"]
    )
    assert (found["age"], found["sex"]) == (77.0, "female")
    assert found["dx"] == ["253352002", "427084000"]
    assert found["fields"]["rx"] == "Unknown"


def test_an_empty_diagnosis_does_not_swallow_the_next_line():
    found = parse_comments(["Age: 81", "Dx:", "Rx: 164865005"])
    assert found["dx"] == []
    assert found["fields"]["dx"] == ""
    assert found["fields"]["rx"] == "164865005"


def test_code15_header():
    found = parse_comments(
        [
            "Exam ID: 11111",
            "Patient ID: 911235",
            "Age: 28",
            "Sex: Female",
            "Chagas label: False",
        ]
    )
    assert found["patient_id"] == "911235"
    assert found["fields"]["chagas label"] == "False"


def test_ludb_header():
    found = parse_comments(
        ["<age>: 51", "<sex>: F", "<diagnoses>:", "Rhythm: Sinus bradycardia."]
    )
    assert (found["age"], found["sex"], found["fields"]["rhythm"]) == (
        51.0,
        "female",
        "Sinus bradycardia.",
    )


def test_mit_bih_header():
    found = parse_comments(["69 M 1085 1629 x1", "Aldomet, Inderal"])
    assert (found["age"], found["sex"]) == (69.0, "male")
    assert parse_comments(["23 F 2546 N/A x1", "None"])["sex"] == "female"


def test_nothing():
    assert parse_comments([]) == {
        "age": None,
        "sex": "",
        "dx": [],
        "patient_id": "",
        "fields": {},
        "comments": [],
    }


def test_the_first_of_equal_keys_counts_and_all_lines_are_kept():
    found = parse_comments(["Infarction date: a", "Infarction date: b", "free text"])
    assert found["fields"]["infarction date"] == "a"
    assert found["comments"] == [
        "Infarction date: a",
        "Infarction date: b",
        "free text",
    ]


@pytest.mark.parametrize(
    "text", ["", "NaN", "Unknown", "n/a", "-1", "inf", "300", "x1", "9" * 400]
)
def test_what_is_no_age(text):
    assert parse_age(text) is None


def test_ages():
    assert [parse_age(text) for text in ("0", "77", "12.5", " 130 ")] == [
        0.0,
        77.0,
        12.5,
        130.0,
    ]


@pytest.mark.parametrize(
    "comments",
    [
        ["Dx: 164889003,426783006"],
        ["Dx : 164889003, 426783006 "],
        ["dx:164889003;426783006"],
        ["<DX>: 164889003|426783006"],
        ["Dx: 164889003", "Age: 3", "Dx: 426783006"],
        ["Dx: 164889003.0 0426783006"],
        ["Dx=164889003 426783006"],
        ["Dx: ['164889003', '426783006']"],
    ],
)
def test_every_spelling_of_a_list_of_codes(comments):
    assert parse_comments(comments)["dx"] == ["164889003", "426783006"]


@pytest.mark.parametrize("text", ["NA", "nan", "None", "Unknown", "", "?"])
def test_a_word_for_missing_is_no_patient(text):
    assert parse_comments([f"Patient ID: {text}"])["patient_id"] == ""
    assert parse_comments([f"Patient ID: {text}", "Patient: 7.0"])["patient_id"] == "7"
