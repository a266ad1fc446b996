"""`model_card`: what the page of a model must say, in the form that the Hugging Face
hub reads.

Front matter as in the hub's own `modelcard.md`; the contents follow M. Mitchell et al.
2019, "Model cards for model reporting". The hub has a pipeline tag for models that give
embeddings, none for classifiers of signals.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from ecgnb.deploy.bundle import Bundle

_TAGS = ("electrocardiogram", "ecg", "time-series", "pytorch")
_LICENSES = ("apache-2.0", "mit", "bsd-3-clause", "gpl-3.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
             "cc-by-nc-sa-4.0", "odc-by", "odbl")  # fmt: skip
#: A path from the root of a disk, a share or a home folder, alone or within a sentence;
#: a web address is none.
_ABSOLUTE = re.compile(
    r"(?<![\w./~-])/(?=[^\s/])|(?<!\w)~[\w.-]*[/\\]|(?<!\w)[A-Za-z]:[\\/]|\\\\\w|file:/"
)
_SHOWN = 200  # characters of a parameter

_USE = """## How to use it

With `pip install "ecgnb[hub]"`, in Python:

```python
{python}
```

and in a shell:

```sh
{shell}
```
"""
_PREDICT = (
    'import ecgnb\ntable = ecgnb.predict("recording.hea", run="{0}")',
    "ecgnb predict recording.hea --run {0}",
)
_EMBED = (
    'import ecgnb\nembeddings = ecgnb.infer_recordings("recording.hea", run="{0}").embeddings',
    "ecgnb predict recording.hea --run {0} --out FOLDER --embeddings",
)

_LIMITS = """## Limits

For research, not for decisions about patients. {knows} On recordings of other devices, other patients or another
quality than those it was trained on it may be wrong without a sign of it.
"""
_KNOWS_CLASSES = (
    "The model knows the classes above and nothing else, and always answers. Thresholds fit one mixture of patients; "
    "choose them anew for another."
)
_KNOWS_NONE = "The model was not trained to tell findings apart: what is built on its embeddings needs a test of its own."


def model_card(bundle: Bundle, repository: str = "owner/repository") -> str:
    """Return the text of ``README.md`` for a bundle.

    Absolute paths in the provenance are left out, and so are lists, which could name
    recordings.

    Args:
        bundle: the model and all that is known about it.
        repository: its name on the hub, for the lines that show how to use it.
    """
    parts = [
        f"---\n{_yaml(_front_matter(bundle))}---",
        _summary(bundle),
        "## Input\n\n" + _table(("what", "how"), _input_rows(bundle)),
        _classes(bundle),
        _results(bundle),
        _origin(bundle),
        _use(bundle, repository),
        _LIMITS.format(knows=_KNOWS_CLASSES if bundle.classes else _KNOWS_NONE),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def without_paths(value: Any) -> Any:
    r"""Return a value of JSON without the texts in it that look like absolute paths,
    and without what they name.

    >>> without_paths({"dataset": "ptbxl", "folder": "/home/anna/ptbxl", "files": ["a.dat", "C:\\b.dat"]})
    {'dataset': 'ptbxl', 'files': ['a.dat']}
    """
    if isinstance(value, dict):
        return {
            k: without_paths(v)
            for k, v in value.items()
            if not _is_path(k) and not _is_path(v)
        }
    if isinstance(value, list | tuple):
        return type(value)(without_paths(item) for item in value if not _is_path(item))
    return value


def _is_path(value: object) -> bool:
    return isinstance(value, str) and _ABSOLUTE.search(value) is not None


def _front_matter(bundle: Bundle) -> dict[str, Any]:
    matter: dict[str, Any] = {"library_name": "ecgnb", "tags": list(_TAGS)}
    if not bundle.classes:
        matter["pipeline_tag"] = "feature-extraction"
    told = bundle.provenance.get("license")
    if isinstance(told, str) and told.strip():
        name = re.sub(r"[^a-z0-9.]+", "-", told.lower()).strip("-")
        matter |= (
            {"license": name}
            if name in _LICENSES
            else {"license": "other", "license_name": name}
        )
    metrics = [
        {
            "type": row["metric"],
            "value": round(row["value"], 4),
            "name": row["metric"].replace("_", " "),
        }
        for row in _intervals(bundle)
    ]
    if metrics:
        dataset = (
            without_paths({"name": str(bundle.provenance.get("dataset") or "")}).get(
                "name"
            )
            or "unknown"
        )
        result = {
            "task": {
                "type": "time-series-classification",
                "name": "Classification of electrocardiograms",
            },
            "dataset": {"type": dataset, "name": dataset, "split": "test"},
            "metrics": metrics,
        }
        matter["model-index"] = [
            {"name": bundle.model.spec()["name"], "results": [result]}
        ]
    return matter


def _yaml(value: Any, indent: str = "") -> str:
    """Write mappings and lists in YAML's block style; scalars are JSON, which YAML
    reads too.
    """
    lines = ""
    for key, item in (
        value.items() if isinstance(value, dict) else (("-", item) for item in value)
    ):
        head = f"{indent}-" if key == "-" else f"{indent}{key}:"
        if key == "-" and isinstance(item, dict):
            lines += f"{head} {_yaml(item, indent + '  ').lstrip()}"
        elif isinstance(item, dict | list):
            lines += f"{head}\n{_yaml(item, indent + '  ')}"
        else:
            lines += f"{head} {json.dumps(item, ensure_ascii=False)}\n"
    return lines


def _summary(bundle: Bundle) -> str:
    name, n_parameters = (
        _cell(bundle.model.spec()["name"]),
        sum(each.numel() for each in bundle.model.parameters()),
    )
    kind, gives = "encoder", "embeddings, one for each window; it has no classifier"
    if bundle.classes:
        called = "any number" if bundle.task == "multilabel" else "one"
        kind, gives = (
            "classifier",
            f"{called} of {len(bundle.classes)} classes, each with a probability",
        )
    return (
        f"# Electrocardiogram {kind} ({name})\n\n"
        f"It gives a recording {gives}. {n_parameters:,} parameters. Saved by ecgnb as a bundle: `model.safetensors` "
        "holds the weights, `bundle.json` the rest; nothing in it is executed."
    )


def _use(bundle: Bundle, repository: str) -> str:
    python, shell = (
        line.format(repository) for line in (_PREDICT if bundle.classes else _EMBED)
    )
    return _USE.format(python=python, shell=shell)


def _input_rows(bundle: Bundle) -> Iterator[tuple[str, str]]:
    prepare = bundle.prepare
    seconds = f"{prepare.target_samples / prepare.target_fs:g} s ({prepare.target_samples} samples)"
    kept = "the beginning" if prepare.crop == "start" else "the middle"
    longer = "cut into windows" if bundle.windowed else f"cropped to {kept}"
    yield "leads", ", ".join(prepare.leads) or "those of the recording, in their order"
    yield (
        "a lead that is missing",
        "the recording is refused" if prepare.missing_leads == "reject" else "zeros",
    )
    yield "rate", f"{prepare.target_fs:g} Hz; other rates are resampled"
    yield (
        "length",
        f"{seconds}; longer recordings are {longer}, shorter ones are padded with zeros",
    )
    yield "units", "mV; files in other units are converted where they tell theirs"
    yield "filters, of the whole recording", _steps(prepare.filters)
    yield "transforms, of what is kept", _steps(bundle.transforms.specs())


def _steps(specs: Any) -> str:
    """Name filters or transforms in order, with their options."""
    steps = []
    for spec in ({"name": each} if isinstance(each, str) else each for each in specs):
        options = ", ".join(
            f"{name} {_value(value)}" for name, value in spec.items() if name != "name"
        )
        steps.append(spec["name"] + (f" ({options})" if options else ""))
    return ", then ".join(steps) or "none"


def _classes(bundle: Bundle) -> str:
    if not bundle.classes:
        return ""
    columns: dict[str, tuple[str, ...]] = {"class": bundle.classes}
    if bundle.thresholds:
        columns["called from probability"] = tuple(
            f"{each:.4g}" for each in bundle.thresholds
        )
    if bundle.aggregate:
        columns["over the windows of a recording"] = bundle.aggregate
    called = "" if bundle.thresholds else "\n\nThe most probable class is called."
    warmth = (
        f"\n\nLogits are divided by {bundle.temperature:.4g}."
        if bundle.temperature != 1
        else ""
    )
    rows = zip(*columns.values(), strict=True)
    return f"## Classes\n\n{_table(tuple(columns), rows)}{called}{warmth}"


def _intervals(bundle: Bundle) -> list[dict[str, Any]]:
    """Return the headline numbers that are numbers."""
    rows = bundle.metrics.get("intervals") or []
    return [
        row
        for row in rows
        if isinstance(row.get("value"), int | float) and math.isfinite(row["value"])
    ]


def _results(bundle: Bundle) -> str:
    """Return the numbers on the test split with their intervals, and how large the
    splits were.
    """
    rows = [
        (row["metric"], f"{row['value']:.3f}", _interval(row))
        for row in _intervals(bundle)
    ]
    if not rows:
        return ""
    split = bundle.metrics.get("split") or {}
    counts = [
        f"{split[part]} {words}"
        for part, words in _PARTS.items()
        if isinstance(split.get(part), int)
    ]
    sizes = f"\n\nRecordings: {', '.join(counts)}." if counts else ""
    confidence = (bundle.provenance.get("parameters") or {}).get("CONFIDENCE")
    head = f"{confidence:.0%} interval" if isinstance(confidence, float) else "interval"
    note = "\n\nOn recordings that had no part in training; intervals by the bootstrap over patients."
    return f"## Results\n\n{_table(('metric', 'value', head), rows)}{note}{sizes}"


_PARTS = {"train": "for training", "valid": "for validation", "test": "for the test"}


def _interval(row: dict[str, Any]) -> str:
    low, high = row.get("low"), row.get("high")
    return (
        f"{low:.3f} to {high:.3f}"
        if isinstance(low, int | float) and isinstance(high, int | float)
        else ""
    )


def _origin(bundle: Bundle) -> str:
    rows = list(_facts(without_paths(bundle.provenance)))
    return (
        "## Where it comes from\n\n" + _table(("what", "value"), rows) if rows else ""
    )


def _facts(provenance: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Flatten what is told: texts and numbers, and the parameters of the run; of the
    machine the versions alone.
    """
    for name, value in provenance.items():
        if name == "environment" and isinstance(value, dict):
            versions = {"python": value.get("python"), **(value.get("packages") or {})}
            told = [
                f"{key} {version}"
                for key, version in versions.items()
                if version not in (None, "not installed")
            ]
            yield "versions", ", ".join(told)
        elif isinstance(value, dict):
            for key, item in value.items():
                if name == "parameters" or not isinstance(item, dict | list | tuple):
                    yield f"{name}: {key}", _value(item)
        elif not isinstance(value, list | tuple):
            yield name, _value(value)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " ..."


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines
    )


def _cell(text: str) -> str:
    """Return a text that stays within its cell and is shown as it is."""
    return re.sub(r"([|<\\`*_\[\]])", r"\\\1", " ".join(str(text).split()))
