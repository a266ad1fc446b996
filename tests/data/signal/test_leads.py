import numpy as np
import pytest

from ecgnb.core.errors import ReadError
from ecgnb.data.signal.leads import (
    LIMB_LEADS,
    STANDARD_12,
    normalise_lead,
    select_leads,
)

RNG = np.random.default_rng(0)


def twelve(n: int = 50) -> np.ndarray:
    """Twelve leads that obey Einthoven and Goldberger."""
    one, two = RNG.normal(size=(2, n))
    limb = [a * one + b * two for a, b in LIMB_LEADS.values()]
    return np.vstack([*limb, RNG.normal(size=(6, n))]).astype(np.float32)


@pytest.mark.parametrize(
    ("written", "house"),
    [
        ("i", "I"), ("II", "II"), ("AVR", "aVR"), ("avl", "aVL"), ("aVf", "aVF"), ("v6", "V6"), (" V1 ", "V1"),
        ("Lead I", "I"), ("ECG_I", "I"), ("ecg aVR", "aVR"), ("lead-v3", "V3"), ("D1", "I"), ("DII", "II"),
        ("d3", "III"), ("VX", "Vx"), ("vy", "Vy"), ("mlii", "MLII"), ("ecg", "ECG"), ("C4", "V4"), ("v4r", "V4R"),
        ("-aVR", "-aVR"), ("ABP", "ABP"), ("", ""),
    ],
)  # fmt: skip
def test_normalise_lead(written, house):
    assert normalise_lead(written) == house
    assert normalise_lead(house) == house


def test_the_same_leads_come_back_as_the_array_itself():
    signal = twelve()
    selected, missing = select_leads(
        signal, [name.upper() for name in STANDARD_12], STANDARD_12
    )
    assert selected is signal
    assert missing == ()


def test_any_order_and_any_case():
    signal = twelve()
    have = (
        "I",
        "II",
        "III",
        "aVR",
        "aVF",
        "aVL",
        "V1",
        "V2",
        "V3",
        "V4",
        "V5",
        "V6",
    )  # the order of CinC 2011
    selected, missing = select_leads(signal, have, ["avl", "avf", "v1", "i"])
    assert missing == ()
    np.testing.assert_array_equal(selected, signal[[5, 4, 6, 0]])


@pytest.mark.parametrize("first", LIMB_LEADS)
@pytest.mark.parametrize("second", LIMB_LEADS)
def test_all_limb_leads_follow_from_any_two(first, second):
    if first == second:
        return
    signal = twelve()
    names = list(STANDARD_12)
    two = signal[[names.index(first), names.index(second)]]
    selected, missing = select_leads(two, [first, second], list(LIMB_LEADS))
    assert missing == ()
    assert selected.dtype == np.float32
    np.testing.assert_allclose(selected, signal[:6], atol=2e-6)


def test_derived_leads_by_their_definitions():
    signal = np.array([[1.0, 2.0], [4.0, 8.0]])
    selected, missing = select_leads(signal, ["I", "II"], ["III", "aVR", "aVL", "aVF"])
    assert missing == ()
    np.testing.assert_array_equal(
        selected, [[3.0, 6.0], [-2.5, -5.0], [-1.0, -2.0], [3.5, 7.0]]
    )


def test_what_cannot_be_had_is_nan_and_named():
    selected, missing = select_leads(
        np.ones((1, 4), np.float32), ["II"], ["I", "II", "V1"]
    )
    assert missing == ("I", "V1")
    assert np.isnan(selected[[0, 2]]).all()
    np.testing.assert_array_equal(selected[1], 1)


def test_integers_become_floating_only_where_nan_is_needed():
    whole = np.arange(6).reshape(2, 3)
    assert select_leads(whole, ["I", "II"], ["II", "I"])[0].dtype == whole.dtype
    assert select_leads(whole, ["I", "II"], ["V1"])[0].dtype == np.float64


def test_batches_keep_their_leading_axes():
    batch = np.stack([twelve(), twelve()])
    selected, missing = select_leads(batch, STANDARD_12, ["II", "V5"])
    assert selected.shape == (2, 2, 50)
    assert missing == ()


def test_nothing_changes_the_input():
    signal = twelve()
    before = signal.copy()
    select_leads(signal[:2], ["I", "II"], STANDARD_12)
    np.testing.assert_array_equal(signal, before)


def test_names_and_rows_must_agree():
    with pytest.raises(ReadError, match="12 rows, but 2 lead names") as caught:
        select_leads(twelve(), ["I", "II"], ["I"])
    assert caught.value.reason == "leads"
