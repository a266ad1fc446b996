from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from inference_bundles import CLASSES, make_bundle, noise, probabilities, seen_by

from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.inference import (
    infer,
    predict_recordings,
)
from ecgnb.transforms.pipeline import build_pipeline


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_bundle()


def test_inference_says_which_seconds_a_window_is_and_what_was_left_out(bundle) -> None:
    result = infer(
        bundle,
        [
            noise(12, name="a"),
            noise(3, name="b"),
            noise(10.02, name="c"),
            noise(10, 400, "d"),
        ],
    )
    assert list(result.table["flags"]) == [
        "tail_dropped:2 s",
        "padded:3 s to 5 s",
        "",
        "",
    ]
    assert list(result.table["seconds"]) == [10, 3, 10, 10]
    rows = (
        result.windows[["record_id", "window", "start_s", "end_s"]].to_numpy().tolist()
    )
    pairs = [
        [name, number, 5.0 * number, 5.0 * number + 5]
        for name in "acd"
        for number in (0, 1)
    ]
    assert rows == [*pairs[:2], ["b", 0, 0.0, 3.0], *pairs[2:]]


def test_inference_with_a_bundle_of_one_crop_names_the_crop(bundle) -> None:
    prepare = dataclasses.replace(
        bundle.prepare, crop="center", filters=(), resampling="filter"
    )
    crop = dataclasses.replace(
        bundle, aggregate=(), prepare=prepare, transforms=build_pipeline(["zscore"])
    )
    recordings = [noise(12, name="a"), noise(3, name="b"), noise(5, name="c")]
    result = infer(crop, recordings)
    assert result.windows[["window", "start_s", "end_s"]].to_numpy().tolist() == [
        [0, 3.5, 8.5],
        [0, 0, 3],
        [0, 0, 5],
    ]
    assert list(result.table["flags"]) == [
        "cropped:12 s to 5 s",
        "padded:3 s to 5 s",
        "",
    ]
    np.testing.assert_array_equal(
        probabilities(result.windows), probabilities(result.table)
    )
    pd.testing.assert_frame_equal(
        result.table, predict_recordings(crop, recordings), atol=1e-6
    )


@pytest.mark.parametrize("step", ["filter", "transform"])
def test_inference_pads_a_short_recording_with_the_mean_of_its_leads(
    bundle, step
) -> None:
    """After a z-score zero is the mean, whether the whole recording was scored or what
    is no padding."""
    changes = {
        "prepare": dataclasses.replace(bundle.prepare, filters=()),
        "transforms": build_pipeline(["zscore"]),
    }
    (x,) = seen_by(
        bundle if step == "filter" else dataclasses.replace(bundle, **changes), noise(3)
    )
    assert x.shape == (1, 12, 2500) and not x[..., 1500:].any()
    np.testing.assert_allclose(x[..., :1500].mean(-1).numpy(), 0.0, atol=1e-6)
    np.testing.assert_allclose(
        x[..., :1500].std(-1, correction=0).numpy(), 1.0, atol=1e-4
    )


def test_inference_applies_thresholds_to_what_was_joined(bundle) -> None:
    recording = noise(15)
    windows = probabilities(infer(bundle, recording).windows)
    joined = np.array([windows[:, 0].mean(), windows[:, 1].max(), windows[:, 2].mean()])
    assert np.ptp(windows, axis=0).min() > 2e-3
    for side, called in ((-1e-6, "|".join(CLASSES)), (1e-6, "")):
        changed = dataclasses.replace(bundle, thresholds=tuple(joined + side))
        assert infer(changed, recording).table["prediction"][0] == called


def test_inference_refuses_other_leads_where_a_bundle_does_not_name_them(
    bundle,
) -> None:
    nameless = dataclasses.replace(
        bundle, prepare=dataclasses.replace(bundle.prepare, leads=())
    )
    few = dataclasses.replace(
        noise(10, name="few"), signal=noise(10).signal[:3], leads=("I", "II", "V1")
    )
    result = infer(nameless, [few, noise(10)])
    assert (
        "has 3 leads, the model takes 12" in result.table["problem"][0]
        and result.table["problem"][1] == ""
    )
