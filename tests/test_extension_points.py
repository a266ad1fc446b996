"""A new reader, model, objective, callback, figure, transform or command is one file.

Each file below is what a user would write. All are added to a copy of the package, one
file per kind and nothing else, and then used by name in a fresh process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ecgnb

READER = '''
"""Reader of `.toy` files: the sampling rate, then one value in mV per line."""

import numpy as np

from ecgnb.data.readers.base import READERS, Reader
from ecgnb.data.recording import Recording


@READERS.register("toy")
class ToyReader(Reader):
    """Single-lead text files."""

    suffixes = (".toy",)

    def read(self, path, request):
        """Read one lead in mV."""
        fs, *values = map(float, path.read_text().split())
        signal = np.array([values], dtype=np.float32)
        return Recording(signal=signal, fs=fs, leads=("I",), record_id=path.stem)
'''

MODEL = '''
"""A linear model of the mean of each lead."""

from torch import nn

from ecgnb.models.base import MODELS, StagedBackbone


@MODELS.register("toy")
class Toy(StagedBackbone):
    """One convolution and a linear layer."""

    def __init__(self, **words):
        super().__init__(**words)
        self.stem = nn.Conv1d(self.n_leads, 4, 5, stride=2, padding=2)
        self.stages = nn.ModuleList([nn.Identity()])
        self.set_feature_info(2, [4], [1])
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, self.n_classes)
        )
'''

OBJECTIVE = '''
"""Learn to reconstruct the mean of each lead: an objective that owns a decoder."""

from torch import nn

from ecgnb.objectives.base import OBJECTIVES, Loss, Objective


@OBJECTIVES.register("toy")
class ToyObjective(Objective):
    """Reconstruct the lead means from the features."""

    def __init__(self, context, *, weight=1.0):
        super().__init__()
        width = context.model.feature_info[-1]["channels"]
        self.decoder = nn.Linear(width, context.model.n_leads)
        self.weight = weight

    def views(self, batch, *, seed=0, step=0, train=True):
        """Use the signals as they are."""
        return batch.signal

    def loss(self, model, views):
        """Mean squared error of the lead means."""
        features = model.forward_features(views).mean(-1)
        error = (self.decoder(features) - views.mean(-1)).square().mean()
        return Loss(self.weight * error, metrics={"error": error})
'''

CALLBACK = '''
"""Append a line per epoch to a file."""

from ecgnb.training.callbacks.base import CALLBACKS, Callback


@CALLBACKS.register("toy")
class Lines(Callback):
    """Write the loss of each epoch."""

    def on_epoch_end(self, training, row):
        """Append one line."""
        with open(training.files.folder / "toy.txt", "a") as file:
            file.write(f"{row['train_loss']}\\n")
'''

FIGURE = '''
"""Bars of the number of test recordings per class."""

import pandas as pd

from ecgnb.figures import FIGURES
from matplotlib.figure import Figure


@FIGURES.register("toy", caption="A toy figure.")
def toy(classes):
    """Draw one bar per class."""
    figure = Figure()
    figure.add_subplot().bar(range(len(classes)), 1)
    return figure, pd.DataFrame({"class": list(classes)})
'''

TRANSFORM = '''
"""Turn the signal upside down."""

from dataclasses import dataclass

from ecgnb.transforms.pipeline import TRANSFORMS, Transform


@TRANSFORMS.register("toy")
@dataclass(frozen=True)
class Invert(Transform):
    """Multiply by -1."""

    def transform_batch(self, x, params, fs, mask):
        return -x
'''

COMMAND = '''
"""`ecgnb toy`."""

import click

from ecgnb.cli.base import command


@command()
@click.option("--times", default=1)
def toy(times):
    """Print a word."""
    click.echo("toy " * times)
'''


#: The one file of each kind.
FILES = {
    "reader": ("data/readers/toy_reader.py", READER),
    "model": ("models/toy_model.py", MODEL),
    "objective": ("objectives/toy_objective.py", OBJECTIVE),
    "callback": ("training/callbacks/toy_callback.py", CALLBACK),
    "figure": ("figures/toy_figure.py", FIGURE),
    "transform": ("transforms/toy_transform.py", TRANSFORM),
    "command": ("cli/toy_command.py", COMMAND),
}

#: Everything is used by its name; one line of JSON comes out.
USE = """
import json, sys
from pathlib import Path

import ecgnb
from ecgnb.data.catalog import find_records
from ecgnb.transforms.pipeline import build_pipeline

import numpy as np

folder = Path(sys.argv[1])
for number in range(3):
    (folder / f"{number}.toy").write_text("100\\n" + "\\n".join(["0.5", "1", "2"] * 400))
small = dict(PROFILE="smoke", PREPROCESS_LIMIT=40, TARGET_FS=100, TARGET_SAMPLES=1000,
             N_JOBS=1, BOOTSTRAP_RESAMPLES=10)
run = ecgnb.open_run(**small, MODEL="toy", CALLBACKS=["toy"], TRANSFORMS=["toy"])
for stage in (ecgnb.load_cohort, ecgnb.prepare, ecgnb.split, ecgnb.train, ecgnb.evaluate):
    stage(run)
ecgnb.write_report(run)
predictions = ecgnb.predict(folder, run=run)
pretrained = ecgnb.open_run(**small, MODEL="toy", OBJECTIVE="toy",
                            OBJECTIVE_OPTIONS={"weight": 2.0})
for stage in (ecgnb.load_cohort, ecgnb.prepare, ecgnb.split, ecgnb.train):
    stage(pretrained)
history = pretrained.history
print(json.dumps({
    "reader": find_records("folder", folder)["record_id"].tolist(),
    "signal": ecgnb.read_recording(folder / "1.toy").signal[0, :3].tolist(),
    "model": len(predictions),
    "objective": float(history["train_loss"][0] / history["train_error"][0]),
    "callback": len((run.folder / "toy.txt").read_text().splitlines()),
    "figure": len(ecgnb.show.toy(run)),
    "caption": "A toy figure." in (run.folder / "report.html").read_text(),
    "transform": float(build_pipeline(["toy"])(np.ones((1, 4), "float32"))[0, 0]),
}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a process that imports a copy of ecgnb with one more file of each
    kind.
    """
    root = tmp_path_factory.mktemp("extended")
    package = root / "ecgnb"
    shutil.copytree(Path(ecgnb.__file__).parent, package)
    before = {path: path.read_bytes() for path in package.rglob("*.py")}
    for relative, source in FILES.values():
        assert not (package / relative).exists()
        (package / relative).write_text(source, encoding="utf-8")
    changed = [path for path, text in before.items() if path.read_bytes() != text]
    assert not changed
    home = tmp_path_factory.mktemp("home")
    return {
        **os.environ,
        "PYTHONPATH": str(root),
        "ECGNB_HOME": str(home),
        "ECGNB_PROGRESS": "quiet",
    }


@pytest.mark.slow
def test_one_file_is_enough_for_each_kind(
    environment: dict[str, str], tmp_path: Path
) -> None:
    process = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    results = json.loads(process.stdout.splitlines()[-1])
    assert results == {
        "reader": ["0", "1", "2"],
        "signal": [0.5, 1.0, 2.0],
        "model": 3,
        "objective": pytest.approx(2.0),
        "callback": 1,
        "figure": 5,
        "caption": True,
        "transform": -1.0,
    }


def test_a_command_is_one_file(environment: dict[str, str], tmp_path: Path) -> None:
    def ecgnb_command(*arguments: str) -> str:
        command = [sys.executable, "-m", "ecgnb", *arguments]
        process = subprocess.run(
            command,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return process.stdout

    assert "Print a word." in ecgnb_command("--help")
    assert ecgnb_command("toy", "--times", "2").split() == ["toy", "toy"]
