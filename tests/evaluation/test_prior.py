import numpy as np
import pytest
from scipy.special import softmax

from ecgnb.evaluation.calibration import calibrated_probabilities
from ecgnb.evaluation.decision_rules import fit_rule
from ecgnb.evaluation.prior import choose_strength, log_prior


def balanced_logits(seed, n, prior):
    """Labels by ``prior``, and the exact logits of a model of balanced classes: unit
    normals around a point for each class.
    """
    rng = np.random.default_rng(seed)
    targets = rng.choice(len(prior), n, p=prior)
    centres = 1.6 * np.eye(len(prior))
    x = rng.normal(size=(n, len(prior))) + centres[targets]
    return x @ centres.T - (centres**2).sum(axis=1) / 2, targets


def test_a_whole_log_prior_gives_the_posterior_of_bayes():
    prior = np.array([0.7, 0.2, 0.1])
    logits, targets = balanced_logits(0, 20000, prior)
    of_balanced = softmax(logits, axis=1)
    bayes = of_balanced * prior / (of_balanced * prior).sum(axis=1, keepdims=True)
    probabilities = calibrated_probabilities(logits, "multiclass", 1.0, np.log(prior))
    np.testing.assert_allclose(probabilities, bayes, atol=1e-12)
    # The decisions of the posterior are the most accurate ones (Bayes).
    strength = choose_strength(
        logits, targets, np.log(prior), "multiclass", criterion="exact_match"
    )
    assert 0.8 <= strength <= 1
    mean_recall = choose_strength(
        logits, targets, np.log(prior), "multiclass", criterion="youden"
    )
    assert mean_recall <= 0.2


def test_the_log_prior_is_that_of_the_training_records():
    targets = np.repeat([0, 1, 2], [60, 30, 10])
    expected = np.log([0.6, 0.3, 0.1])
    np.testing.assert_allclose(log_prior(targets, 3, "multiclass"), expected)
    absent = log_prior(targets, 4, "multiclass")[3]
    assert absent == pytest.approx(np.log(0.5 / 100))
    flags = np.eye(3)[targets]
    odds = np.log(np.array([60 / 40, 30 / 70, 10 / 90]))
    np.testing.assert_allclose(log_prior(flags, 3, "multilabel"), odds)


def test_balanced_weights_and_balanced_sampling_need_the_prior_twice():
    prior = np.array([0.8, 0.15, 0.05])
    logits, targets = balanced_logits(1, 20000, prior)
    twice = logits - np.log(prior)  # as both together would train it
    rule = fit_rule(twice, targets, "multiclass", "micro_f1", np.log(prior), 2)
    assert 1.8 <= rule.strength <= 2
    np.testing.assert_allclose(rule.logit_offset, rule.strength * np.log(prior))


def test_several_labels_get_calibrated_probabilities_from_balanced_weights():
    rng = np.random.default_rng(2)
    share = np.array([0.05, 0.3])
    truth = rng.random((20000, 2)) < share
    x = rng.normal(size=truth.shape) + 1.5 * truth
    logits = 1.5 * x - 1.5**2 / 2  # log likelihood ratio: the odds at equal classes
    rule = fit_rule(
        logits, truth, "multilabel", "macro_f1", log_prior(truth, 2, "multilabel"), 1
    )
    assert 0.9 <= rule.strength <= 1
    means = rule.probabilities(logits).mean(axis=0)
    np.testing.assert_allclose(means, truth.mean(axis=0), atol=0.01)
