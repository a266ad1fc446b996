"""Damage: flip bits in the files of a finished run, kill commands that write.

``python -m benchmarks.damage flips 100`` flips one bit at a time anywhere in the files
of a run and its store. A flipped bit is *believed* when a fresh process reads other
results, weights or signals than before without an error.

``python -m benchmarks.damage kills 100`` kills commands at random moments and starts
them again; in the end every file must be as if they had never been killed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

PARAMETERS = {
    "PROFILE": "smoke",
    "PREPROCESS_LIMIT": 60,
    "EPOCHS": 2,
    "TARGET_FS": 100,
    "TARGET_SAMPLES": 1000,
    "SHARD_SIZE": 20,
    "MODEL_OPTIONS": {"widths": [8], "depths": [1]},
    "BATCH_SIZE_CPU": 16,
    "BOOTSTRAP_RESAMPLES": 20,
    "N_JOBS": 1,
}
STAGES = ("load_cohort", "prepare", "split", "train", "evaluate", "write_report")


def make_run(home: Path) -> str:
    """Finish a small run on the demo cohort; return its name."""
    import ecgnb

    os.environ["ECGNB_HOME"] = str(home)
    run = ecgnb.open_run(PARAMETERS)
    for stage in STAGES:
        getattr(ecgnb, stage)(run)
    return run.name


def read_everything(name: str) -> dict[str, str]:
    """Read all that a run offers as a fresh process does; a hash of each, or the kind
    of its error.
    """
    from ecgnb.core import files
    from ecgnb.core.errors import EcgnbError
    from ecgnb.deploy.bundle_folder import load_bundle
    from ecgnb.deploy.inference import model_fingerprint
    from ecgnb.run import session
    from ecgnb.stages.evaluate import load_best_model
    from ecgnb.training.checkpoint import read_checkpoint

    files._remembered.clear()  # what this process has verified
    session._opened = None
    results = {}

    def read(what: str, function) -> None:
        try:
            results[what] = hashlib.sha256(repr(function()).encode()).hexdigest()
        except EcgnbError as error:
            results[what] = f"{type(error).__name__}: {error}"

    def opened():
        return session.find_run(name)

    def last():
        contents = read_checkpoint(opened().path("checkpoints", "last.ckpt"))
        model = {key: value.tolist() for key, value in contents["model"].items()}
        return model, contents["state"], contents["identity"]

    read("parameters", lambda: opened().config.parameters())
    read("stages", lambda: [opened().record(stage) for stage in opened().states()])
    read("states", lambda: opened().states())
    read("manifest", lambda: opened().manifest.to_csv())
    read("coverage", lambda: opened().coverage.to_csv())
    read("records", lambda: opened().records.to_csv())
    read("rejected", lambda: opened().store.rejected.to_csv())
    read("store", lambda: (vars(opened().store)["manifest"], opened().store.content))
    read(
        "signals",
        lambda: opened().store.read(np.arange(len(opened().store))).tobytes(),
    )
    read("splits", lambda: [rows.tolist() for rows in opened().splits.parts.values()])
    read("split report", lambda: opened().splits.report)
    read("history", lambda: opened().history.to_csv())
    read("last", last)
    read("best", lambda: model_fingerprint(load_best_model(opened())[0]))
    read("metrics", lambda: opened().metrics)
    read("predictions", lambda: opened().predictions.to_csv())
    read("bundle", lambda: describe(load_bundle(opened().path("bundle"))))
    read("results", lambda: opened().require("report"))
    return results


def describe(bundle) -> tuple:
    """Return everything about a bundle as plain values."""
    from ecgnb.deploy.inference import inference_record

    record = inference_record(bundle)
    del record["utc"]
    return record, bundle.classes, bundle.task, bundle.metrics


def flip_bits(count: int, seed: int) -> None:
    """Flip one bit at a time; print a line per kind of file."""
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        name = make_run(home)
        whole = read_everything(name)
        run = home / "artifacts" / "runs" / name
        store = next((home / "artifacts" / "stores").glob("*/manifest.json")).parent
        paths = sorted(path for path in (*run.rglob("*"), *store.rglob("*")))
        paths = [path for path in paths if path.is_file() and path.stat().st_size]
        unread = {"environment.json", "made_from.json", "run.lock"}
        paths = [path for path in paths if path.name not in unread]
        outcomes: dict[str, Counter[str]] = {}
        for number in range(count):
            path = paths[number % len(paths)]  # each file, small ones as often as big
            content = path.read_bytes()
            damaged = bytearray(content)
            bit = int(random.integers(8 * len(content)))
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            results = read_everything(name)
            path.write_bytes(content)
            changed = [what for what in whole if results[what] != whole[what]]
            silent = [what for what in changed if ": " not in results[what]]
            # States tell the damage; a record that is not valid is None.
            believed = set(silent) - {"states", "stages"}
            outcome = "noticed" if changed else "no difference"
            if believed:
                outcome = f"BELIEVED {sorted(believed)} (bit {bit})"
            relative = path.relative_to(home / "artifacts").parts
            label = "/".join((relative[0], *relative[2:]))
            outcomes.setdefault(label, Counter())[outcome] += 1
        for label, counts in sorted(outcomes.items()):
            print(f"{label:45} {dict(counts)}")
        total = sum(outcomes.values(), Counter())
        print(f"{count} flipped bits: {dict(total)}")


def contents(home: Path) -> dict[str, str]:
    """Hash of each file that must be the same after kills."""
    results = {}
    for path in sorted(home.rglob("*")):
        # Clocks, paths and process ids differ; checkpoints hold the seconds of epochs.
        is_timed = path.suffix in (".json", ".html", ".log", ".ckpt", ".txt", ".lock")
        if path.is_file() and not is_timed and path.name != "history.csv":
            content = path.read_bytes().replace(str(home).encode(), b"home")
            digest = hashlib.sha256(content).hexdigest()
            # A store's name depends on the times of the recordings.
            name = re.sub(
                "demo-[0-9a-f]{12}", "demo", path.relative_to(home).as_posix()
            )
            results[name] = digest
    return results


def kill_commands(count: int, seed: int, keras: str = "") -> None:
    """Kill each command at random moments until it has been killed often enough."""
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        home = base / "home"
        name = make_run(home)
        model = str(home / "artifacts" / "runs" / name / "bundle")
        records = next((home / "artifacts" / "demo").glob("*/records"))
        options = []
        for parameter, value in PARAMETERS.items():
            text = str(value).replace("'", '"')
            options += ["-p", parameter, text]
        commands: dict[str, list[str]] = {
            "train": ["train", *options],
            "train, DEVICES=2": ["train", *options, "-p", "DEVICES", "2"],
            "bundle": ["bundle", model, "--out", "out"],
            "predict --out": ["predict", str(records), "--run", model, "--out", "out"],
            "demo": ["demo", "out", "--records", "300"],
        }
        if keras:
            commands["port convert"] = ["port", "convert", keras, "--out", "out"]
        share = -(-count // len(commands))
        for label, arguments in commands.items():
            killed, rounds, same = 0, 0, True
            whole = base / f"whole {label}"
            run_command(arguments, whole)
            # Of a command with nothing left to do: kills come before and after that.
            seconds = run_command(arguments, whole)
            expected = contents(whole)
            while killed < share:
                target = base / f"killed {label} {rounds}"
                rounds += 1
                while killed < share:
                    delay = random.uniform(0.3 * seconds, 1.3 * seconds)
                    taken = run_command(arguments, target, delay)
                    if taken >= 0:
                        break
                    killed += 1
                else:
                    run_command(arguments, target)
                leftovers = list(target.rglob(".tmp-*"))
                found = contents(target)
                different = [
                    name
                    for name in expected | found
                    if expected.get(name) != found.get(name)
                ]
                if different or leftovers:
                    same = False
                    print(label, rounds, different, leftovers)
                shutil.rmtree(target)
            print(f"{label:20} {killed} kills in {rounds} rounds, the same: {same}")


def run_command(arguments: list[str], home: Path, kill_after: float = 0.0) -> float:
    """Run ``ecgnb`` in a folder; return the seconds it took, -1 when it was killed."""
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "ECGNB_HOME": str(home), "ECGNB_PROGRESS": "quiet"}
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "ecgnb", *arguments],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        printed, _ = process.communicate(timeout=kill_after or None)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return -1.0
    if process.returncode:
        raise SystemExit(f"ecgnb {' '.join(arguments)} failed:\n{printed}")
    return time.monotonic() - started


def main() -> None:
    """Flip bits or kill commands, as often as the command line states."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["flips", "kills"])
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keras", default="", help="a Keras file to convert")
    arguments = parser.parse_args()
    os.environ["ECGNB_PROGRESS"] = "quiet"
    if arguments.what == "flips":
        flip_bits(arguments.count, arguments.seed)
    else:
        kill_commands(arguments.count, arguments.seed, arguments.keras)


if __name__ == "__main__":
    main()
