"""Class weights: known values, and a mean of 1 over the training records."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from ecgnb.core.errors import ConfigError, LabelError
from ecgnb.objectives.class_weights import SCHEMES, class_weights

RNG = np.random.default_rng(0)
LABEL = RNG.choice(5, 1000, p=[0.6, 0.25, 0.1, 0.04, 0.01])
LABELS = (RNG.random((1000, 3)) < [0.5, 0.1, 0.01]).astype(np.float32)


def test_balanced_multiclass_is_sklearns():
    expected = compute_class_weight("balanced", classes=np.arange(5), y=LABEL)
    np.testing.assert_allclose(
        class_weights(LABEL, 5, "multiclass"), expected, rtol=1e-6
    )


def test_balanced_multilabel_gives_presence_and_absence_the_same_share():
    absent, present = class_weights(LABELS, 3, "multilabel").numpy()
    share = LABELS.mean(0)
    np.testing.assert_allclose(present, 0.5 / share, rtol=1e-6)
    np.testing.assert_allclose(absent, 0.5 / (1 - share), rtol=1e-6)
    np.testing.assert_allclose(
        present / absent, (1 - share) / share, rtol=1e-6
    )  # what is known as pos_weight


@pytest.mark.parametrize("scheme", SCHEMES)
@given(counts=st.lists(st.integers(0, 300), min_size=2, max_size=6).filter(any))
def test_the_mean_weight_is_one(scheme, counts):
    label = np.repeat(np.arange(len(counts)), counts)
    weights = class_weights(label, len(counts), "multiclass", scheme).numpy()
    assert weights[label].mean() == pytest.approx(1.0, rel=1e-5)
    assert np.isfinite(weights).all() and (weights[np.array(counts) == 0] == 1).all()
    labels = np.eye(len(counts))[label]
    absent, present = class_weights(labels, len(counts), "multilabel", scheme).numpy()
    np.testing.assert_allclose(
        (labels * present + (1 - labels) * absent).mean(0), 1.0, rtol=1e-5
    )
    assert scheme != "none" or (weights == 1).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((LABEL, 4, "multiclass"), LabelError, "0 to 4, but there are 4 classes"),
        ((LABEL - 1, 5, "multiclass"), LabelError, "-1 to 3"),
        ((LABELS, 3, "multiclass"), LabelError, "class numbers"),
        ((LABEL[:0], 5, "multiclass"), LabelError, "class numbers"),
        ((LABELS, 4, "multilabel"), LabelError, r"\[n, 4\]"),
        ((LABELS * 0.5, 3, "multilabel"), LabelError, "0 or 1"),
        ((LABEL, 5, "multi-class"), ConfigError, "no task 'multi-class'"),
        (
            (LABEL, 5, "multiclass", "inverse"),
            ConfigError,
            "no class weighting 'inverse'",
        ),
    ],
)
def test_wrong_arguments_say_what_to_do(arguments, error, message):
    with pytest.raises(error, match=message):
        class_weights(*arguments)
