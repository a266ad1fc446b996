"""Models are built by name; wrong arguments are refused; freed memory is reused."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys

import pytest
import torch

from ecgnb.core.errors import ConfigError
from ecgnb.models import MODELS, Backbone, StagedBackbone, build_model

WORDS = {"n_leads": 2, "n_samples": 300, "fs": 100.0, "n_classes": 3}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("resnet", {}, "no model called 'resnet'. Did you mean 'resnet1d'"),
        ("resnet1d", {"width": (8,)}, "no option 'width'. Did you mean 'widths'"),
        ("resnet1d", {"n_lead": 2}, "no option 'n_lead'. Did you mean 'n_leads'"),
        ("xresnet1d101", {"blocks": (1,)}, "Its options: kernel, hidden, dropout"),
        ("resnet1d", {"n_classes": 0}, "n_classes of a model must be above 0; it is 0"),
        ("resnet1d", {"fs": 0.0}, "fs of a model must be above 0"),
        ("resnet1d", {"task": "regression"}, "no task 'regression'"),
        ("resnet1d", {"leads": ("I",)}, "1 lead names ['I'] for n_leads=2"),
        ("resnet1d", {"norm": "layer"}, "no norm 'layer'"),
        ("resnet1d", {"pool": "sum"}, "no pool 'sum'"),
        ("resnet1d", {"kernel": 4}, "must be odd"),
        ("resnet1d", {"depths": (1,)}, "one depth per width"),
        ("resnet1d", {"dropout": 1.0}, "below 1; it is 1.0"),
    ],
)
def test_wrong_arguments_say_what_to_do(name, changes, message):
    with pytest.raises(ConfigError) as caught:
        build_model(name, **{**WORDS, **changes})
    assert message in str(caught.value)


def test_missing_words_are_named():
    with pytest.raises(ConfigError, match="needs fs, n_classes"):
        build_model("resnet1d", n_leads=2, n_samples=300)


def test_a_model_made_without_its_name_knows_its_spec():
    direct = MODELS.get("resnet1d")(**WORDS, widths=(8, 16), depths=(1, 1))
    assert direct.spec()["widths"] == [8, 16] and direct.spec()["kernel"] == 7
    torch.manual_seed(0)
    assert build_model(**direct.spec()).n_parameters() == direct.n_parameters()


def test_copies_keep_their_spec():
    model = build_model("resnet1d", **WORDS, widths=(8, 16), depths=(1, 1))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.spec() == model.spec()
        assert torch.equal(other.head.classifier.weight, model.head.classifier.weight)


def test_an_unregistered_model_says_so():
    class Nameless(StagedBackbone):
        pass

    with pytest.raises(ConfigError, match="register it"):
        Nameless(**WORDS).spec()
    with pytest.raises(TypeError):
        Backbone(**WORDS)


FAULTS = """
import resource, torch
{before}
x = torch.randn(8, 12, 2000)
net = torch.nn.Sequential(torch.nn.Conv1d(12, 64, 3, padding=1), torch.nn.ELU(), torch.nn.MaxPool1d(2))
with torch.inference_mode():
    for _ in range(5): net(x)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20): net(x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(before: str) -> int:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MALLOC_")
    }
    command = [sys.executable, "-c", FAULTS.format(before=before)]
    return int(
        subprocess.run(
            command, capture_output=True, text=True, check=True, env=kept
        ).stdout
    )


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_memory_that_was_freed_is_used_again() -> None:
    """Not a matter of time: the number of pages that the system has to hand out
    again."""
    if (
        page_faults(
            "from ecgnb.models.base import keep_freed_memory; assert keep_freed_memory()"
        )
        > 500
    ):
        pytest.fail("the freed memory is given back to the system after each call")


def test_memory_settings_of_the_user_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ecgnb.models.base import keep_freed_memory

    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert keep_freed_memory.__wrapped__() is False
