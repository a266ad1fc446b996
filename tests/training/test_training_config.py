from __future__ import annotations

import math
import subprocess
import sys

import pytest

from ecgnb.core.errors import ConfigError
from ecgnb.training.config import TrainConfig


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"scheduler": "cosin"}, "SCHEDULER is 'cosin'.*Did you mean 'cosine'"),
        ({"monitor": "accuracy"}, "'macro_f1', 'macro_auroc', 'loss'"),
        ({"epochs": 0}, "epochs is 0; it must be a finite number of at least 1"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": math.nan}, "lr is nan"),
        ({"clip_norm": -1.0}, "clip_norm is -1.0"),
        ({"weight_decay": math.inf}, "weight_decay is inf"),
        ({"warmup_fraction": 1.0}, "warmup_fraction is 1.0; it must be less than 1"),
        ({"label_smoothing": 1.5}, "label_smoothing"),
        ({"mixed_precision": "fp8"}, "MIXED_PRECISION"),
        ({"device": "gpu"}, "DEVICE is 'gpu'"),
        (
            {"freeze": "steam"},
            "FREEZE is 'steam'.*'', 'stem', 'body'.*Did you mean 'stem'",
        ),
        ({"layer_decay": 0.0}, "layer_decay is 0.0; it must be above 0 and at most 1"),
        ({"layer_decay": 1.01}, "layer_decay is 1.01"),
        ({"layer_decay": math.nan}, "layer_decay is nan"),
    ],
)
def test_wrong_values_are_refused(changed: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        TrainConfig(**changed)


def test_batch_size_depends_on_the_device() -> None:
    config = TrainConfig(batch_size_cpu=8, batch_size_gpu=64)
    assert [config.batch_size(device) for device in ("cpu", "cuda:1", "mps")] == [
        8,
        64,
        64,
    ]


def test_identity_leaves_out_what_does_not_change_the_weights() -> None:
    assert (
        TrainConfig(checkpoint_every_steps=5, devices=2, callbacks=("a",)).identity()
        == TrainConfig().identity()
    )
    assert TrainConfig(lr=2e-3).identity() != TrainConfig().identity()


def test_objective_freezing_and_layer_decay_are_part_of_the_identity() -> None:
    default = TrainConfig().identity()
    for changed in ({"freeze": "stem"}, {"layer_decay": 0.75}, {"objective": "masked"}):
        identity = TrainConfig(**changed).identity()
        assert {k: v for k, v in identity.items() if v != default[k]} == changed


def test_the_module_needs_no_torch() -> None:
    code = "import sys, ecgnb.training.config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_auto_is_decided_by_the_task() -> None:
    config = TrainConfig()
    decided = {task: config.for_task(task) for task in ("multiclass", "multilabel", "")}
    assert {
        task: (each.class_weights, each.monitor) for task, each in decided.items()
    } == {
        "multiclass": ("balanced", "macro_auroc"),
        "multilabel": ("none", "macro_auroc"),
        "": ("none", "loss"),
    }
    assert (
        TrainConfig(sampler="weighted").for_task("multiclass").class_weights == "none"
    )
    given = TrainConfig(class_weights="none", monitor="macro_auroc").for_task(
        "multiclass"
    )
    assert (given.class_weights, given.monitor) == ("none", "macro_auroc")
