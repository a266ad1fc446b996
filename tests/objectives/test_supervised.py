"""The supervised loss against torch, its independence of how records are batched, and
the mask."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ecgnb.core.errors import ConfigError
from ecgnb.models import build_model
from ecgnb.objectives import OBJECTIVES, Objective, Supervised, class_weights
from ecgnb.transforms import Pipeline, build_pipeline

N, CLASSES = 12, 4
RNG = torch.Generator().manual_seed(0)
LOGITS = torch.randn(N, CLASSES, generator=RNG)
LABEL = torch.arange(N) % CLASSES
LABELS = (torch.rand(N, CLASSES, generator=RNG) < 0.4).float()
TARGET = {"multiclass": LABEL, "multilabel": LABELS}
WEIGHTS = {
    "multiclass": torch.tensor([0.5, 1.0, 3.0, 0.1]),
    "multilabel": torch.tensor([[0.7, 0.8, 0.9, 1.0], [2.0, 1.5, 3.0, 1.0]]),
}


def batch(
    n: int = N, n_samples: int = 200, n_leads: int = 2, task: str = "multiclass"
) -> SimpleNamespace:
    signal = torch.randn(
        n, n_leads, n_samples, generator=torch.Generator().manual_seed(5)
    )
    mask = torch.ones(n, n_samples, dtype=torch.bool)
    return SimpleNamespace(
        signal=signal,
        target=TARGET[task][:n],
        mask=mask,
        index=torch.arange(100, 100 + n),
        metadata={},
    )


def part(whole: SimpleNamespace, rows: slice) -> SimpleNamespace:
    parts = {
        key: getattr(whole, key)[rows] for key in ("signal", "target", "mask", "index")
    }
    return SimpleNamespace(**parts, metadata={})


class Fixed(nn.Module):
    """A model that gives prescribed logits."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits[: len(x)] * 1


def loss_of(objective: Supervised, task: str) -> torch.Tensor:
    return objective.loss(Fixed(LOGITS), objective.views(batch(task=task))).value


def test_it_is_registered():
    assert OBJECTIVES.get("supervised") is Supervised
    assert isinstance(Supervised("multiclass"), Objective)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_multiclass_is_torchs_cross_entropy(smoothing):
    expected = F.cross_entropy(LOGITS, LABEL, label_smoothing=smoothing)
    torch.testing.assert_close(
        loss_of(Supervised("multiclass", label_smoothing=smoothing), "multiclass"),
        expected,
    )


def test_multiclass_weights():
    weights = WEIGHTS["multiclass"]
    loss = loss_of(Supervised("multiclass", weights), "multiclass")
    torch.testing.assert_close(
        loss, F.cross_entropy(LOGITS, LABEL, weights, reduction="none").mean()
    )
    by_hand = torch.stack(
        [
            -weights[y] * row.log_softmax(0)[y]
            for row, y in zip(LOGITS, LABEL, strict=True)
        ]
    ).mean()
    torch.testing.assert_close(loss, by_hand)
    assert not torch.isclose(loss, F.cross_entropy(LOGITS, LABEL, weights)), (
        "not divided by the sum of the weights"
    )


def test_multiclass_golden():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    losses = Supervised("multiclass", [1.0, 0.5]).record_losses(
        logits, torch.tensor([0, 0])
    )
    np.testing.assert_allclose(
        losses, [np.log1p(np.exp(-2.0)), np.log1p(np.exp(1.0))], rtol=1e-6
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_multilabel_is_torchs_binary_cross_entropy(smoothing):
    expected = F.binary_cross_entropy_with_logits(
        LOGITS, LABELS * (1 - smoothing) + smoothing / 2
    )
    torch.testing.assert_close(
        loss_of(Supervised("multilabel", label_smoothing=smoothing), "multilabel"),
        expected,
    )


def test_multilabel_weights_are_torchs_pos_weight_with_a_weight_for_absence():
    absent, present = WEIGHTS["multilabel"]
    loss = loss_of(Supervised("multilabel", WEIGHTS["multilabel"]), "multilabel")
    expected = F.binary_cross_entropy_with_logits(
        LOGITS, LABELS, weight=absent, pos_weight=present / absent
    )
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient_do_not_depend_on_how_records_are_batched(task, weighted):
    torch.manual_seed(0)
    model = build_model(
        "resnet1d",
        n_leads=2,
        n_samples=200,
        fs=100.0,
        n_classes=CLASSES,
        task=task,
        norm="group",
    )
    model.double().eval()  # no dropout; records do not see each other
    pipeline = build_pipeline(
        [
            {"name": "gaussian_noise", "p": 1.0},
            {"name": "time_mask", "p": 0.5},
            "zscore",
        ]
    )
    objective = Supervised(
        task, WEIGHTS[task] if weighted else None, pipeline, fs=100.0
    )
    whole = batch(task=task)
    whole.signal = whole.signal.double()

    def gradient(parts: list[slice]) -> tuple[float, torch.Tensor]:
        model.zero_grad()
        total = 0.0
        for rows in parts:
            some = part(whole, rows)
            views = objective.views(some, seed=4, step=2)
            loss = objective.loss(model, views).value * (len(some.index) / N)
            loss.backward()
            total += loss.item()
        return total, torch.cat([p.grad.flatten() for p in model.parameters()])

    loss, grad = gradient([slice(0, N)])
    for parts in ([slice(0, 5), slice(5, N)], [slice(i, i + 1) for i in range(N)]):
        other_loss, other_grad = gradient(parts)
        assert other_loss == pytest.approx(loss, rel=1e-10)
        torch.testing.assert_close(other_grad, grad, rtol=1e-8, atol=1e-10)


def test_views_augment_in_training_only():
    objective = Supervised(
        "multiclass",
        transforms=build_pipeline([{"name": "gaussian_noise", "p": 1.0}, "zscore"]),
    )
    some = batch()
    still = objective.views(some, train=False).signal
    assert torch.equal(still, build_pipeline(["zscore"])(some.signal))
    assert torch.equal(still, objective.views(some, seed=9, step=9, train=False).signal)
    first = objective.views(some, seed=1, step=1).signal
    assert not torch.equal(first, still)
    assert torch.equal(first, objective.views(some, seed=1, step=1).signal)
    assert not torch.equal(first, objective.views(some, seed=1, step=2).signal)
    assert torch.equal(
        first[3:5], objective.views(part(some, slice(3, 5)), seed=1, step=1).signal
    )


def test_padding_is_zero_and_of_no_influence():
    some = batch()
    some.mask[:, 150:] = False
    objective = Supervised(
        "multiclass",
        transforms=build_pipeline([{"name": "baseline_wander", "p": 1.0}, "zscore"]),
        fs=100.0,
    )
    before = some.signal.clone()
    for train in (True, False):
        view = objective.views(some, train=train).signal
        assert (view[:, :, 150:] == 0).all() and torch.equal(some.signal, before)
        other = SimpleNamespace(
            **{
                **vars(some),
                "signal": some.signal.masked_fill(~some.mask[:, None], 1e4),
            }
        )
        assert torch.equal(objective.views(other, train=train).signal, view)


def test_default_transform_is_the_zscore():
    assert Supervised("multiclass").transforms == build_pipeline(["zscore"])
    assert Supervised("multiclass", transforms=Pipeline([])).transforms == Pipeline([])


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_half_precision_logits_are_scored_in_single(task):
    losses = Supervised(task, WEIGHTS[task]).record_losses(
        LOGITS.bfloat16(), TARGET[task]
    )
    assert losses.dtype == torch.float32
    torch.testing.assert_close(
        losses,
        Supervised(task, WEIGHTS[task]).record_losses(
            LOGITS.bfloat16().float(), TARGET[task]
        ),
    )


def test_class_weights_keep_the_scale_of_the_loss():
    rng = np.random.default_rng(0)
    label = rng.choice(CLASSES, 500, p=[0.7, 0.2, 0.08, 0.02])
    same = torch.zeros(
        500, CLASSES
    )  # every record has the same loss, so weights of mean 1 change nothing
    objective = Supervised("multiclass", class_weights(label, CLASSES, "multiclass"))
    loss = objective.record_losses(same, torch.from_numpy(label)).mean()
    assert float(loss) == pytest.approx(np.log(CLASSES), rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "regression"}, "no task 'regression'"),
        (
            {"task": "multiclass", "label_smoothing": 1.0},
            "label_smoothing is 1.0; it must be at least 0 and below 1",
        ),
        (
            {"task": "multiclass", "class_weights": [[1.0, 1.0]]},
            r"\[n_classes\] finite",
        ),
        (
            {"task": "multilabel", "class_weights": [1.0, 1.0]},
            r"\[2, n_classes\] finite",
        ),
        ({"task": "multiclass", "class_weights": [1.0, -1.0]}, "none below 0"),
        ({"task": "multiclass", "class_weights": [1.0, float("nan")]}, "finite"),
    ],
)
def test_wrong_arguments_say_what_to_do(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Supervised(**arguments)
