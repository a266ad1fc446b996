"""Model card of a bundle, in the form that the Hugging Face hub reads.

Contents follow M. Mitchell et al. 2019, "Model cards for model reporting". The metadata
are written with ``huggingface_hub`` (extra ``hub``); without it only the plain ones.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

import jinja2

from ecgnb.deploy.bundle import Bundle

_TAGS = ["electrocardiogram", "ecg", "time-series", "pytorch"]
#: Licences that the hub knows by these names.
_LICENSES = (
    "apache-2.0", "mit", "bsd-3-clause", "gpl-3.0", "cc0-1.0", "cc-by-4.0",
    "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "odc-by", "odbl",
)  # fmt: skip
#: A path from the root of a disk, a share or a home folder, alone or in a sentence, but
#: no web address.
_ABSOLUTE = re.compile(
    r"(?<![\w./~-])/(?=[^\s/])|(?<!\w)~[\w.-]*[/\\]|(?<!\w)[A-Za-z]:[\\/]|\\\\\w|file:/"
)
_MAX_SHOWN = 200  # characters of a parameter
_PURPOSES = {"train": "for training", "valid": "for validation", "test": "for the test"}

_BODY = """\
{%- macro table(head, rows) -%}
| {{ head | join(" | ") }} |
|{{ " --- |" * head | length }}
{% for row in rows -%}
| {{ row | map("cell") | join(" | ") }} |
{% endfor %}
{%- endmacro -%}
# Electrocardiogram {{ "classifier" if classes else "encoder" }} ({{ name | cell }})

{% if classes -%}
It gives a recording {{ "any number" if task == "multilabel" else "one" }} of \
{{ classes | length }} classes, each with a probability.
{%- else -%}
It gives a recording embeddings, one for each window; it has no classifier.
{%- endif %} {{ n_parameters }} parameters. Saved by ecgnb as a bundle: \
`model.safetensors` contains the weights, `bundle.json` the rest; nothing in it is \
executed.

## Input

| what | how |
| --- | --- |
| leads | {{ (prepare.leads | join(", ")) | cell or \
"those of the recording, in their order" }} |
| a missing lead | \
{{ "the recording is refused" if prepare.missing_leads == "reject" else "zeros" }} |
| rate | {{ "%g" | format(prepare.target_fs) }} Hz; other rates are resampled |
| length | {{ "%g" | format(prepare.target_samples / prepare.target_fs) }} s \
({{ prepare.target_samples }} samples); longer recordings are \
{% if windowed %}cut into windows{% elif prepare.crop == "start" -%}
cropped to the beginning{% else %}cropped to the middle{% endif %}, \
shorter ones are padded with zeros |
| units | mV; files in other known units are converted |
| filters, of the whole recording | {{ filters | cell }} |
| transforms, of the model's input | {{ transforms | cell }} |
{% if classes %}
## Classes

{{ table(class_head, class_rows) }}
{%- if not thresholds %}
The most probable class is called.
{% endif %}
{%- if logit_offset %}
To each logit the offset of its class is added, a part of the log of its share of the \
training recordings: the model was trained with balanced classes. For a mixture of \
patients with other shares the offset has to be chosen anew.
{% endif %}
{%- if temperature != 1 %}
Logits are divided by {{ "%.4g" | format(temperature) }}.
{% endif %}
{%- endif %}
{%- if results %}
## Results

| metric | value | {{ interval }} |
| --- | --- | --- |
{% for row in results -%}
| {{ row.metric | cell }} | {{ "%.3f" | format(row.value) }} | \
{% if row.low is number and row.high is number -%}
{{ "%.3f to %.3f" | format(row.low, row.high) }}{% endif %} |
{% endfor %}
On recordings that had no part in training; intervals over patients.
{% if sizes %}
Recordings: {{ sizes | join(", ") }}.
{% endif %}
{%- endif %}
{%- if origin %}
## Where it comes from

{{ table(["what", "value"], origin) }}
{%- endif %}
## How to use it

With `pip install "ecgnb[hub]"`, in Python:

```python
import ecgnb
{% if classes -%}
table = ecgnb.predict("recording.hea", run="{{ repository }}")
{%- else -%}
inference = ecgnb.infer_recordings("recording.hea", run="{{ repository }}")
inference.embeddings
{%- endif %}
```

and in a shell:

```sh
ecgnb predict recording.hea --run {{ repository }}\
{{ "" if classes else " --out FOLDER --embeddings" }}
```

## Limits

For research, not for decisions about patients. \
{% if classes -%}
The model knows the classes above and nothing else, and always answers. Thresholds fit \
one mixture of patients; choose them anew for another.
{%- else -%}
The model was not trained to distinguish findings: a classifier of its embeddings \
needs a test of its own.
{%- endif %} On recordings of other devices, other patients or another quality than \
those it was trained on it may be wrong without a sign of it.
"""


def model_card(bundle: Bundle, repository: str = "owner/repository") -> str:
    """Return the text of ``README.md`` for a bundle.

    Absolute paths in the provenance are left out, and so are lists, which could name
    recordings.

    Args:
        bundle: the model and its facts.
        repository: its name on the hub, for the lines that show how to use it.
    """
    parameters = bundle.provenance.get("parameters") or {}
    confidence = parameters.get("CONFIDENCE")
    split = bundle.metrics.get("split") or {}
    sizes = []
    for part, purpose in _PURPOSES.items():
        if isinstance(split.get(part), int):
            sizes.append(f"{split[part]} {purpose}")
    class_columns = _class_columns(bundle)
    environment = jinja2.Environment(keep_trailing_newline=True)
    environment.filters["cell"] = _cell
    body = environment.from_string(_BODY).render(
        name=bundle.model.spec()["name"],
        n_parameters=f"{sum(p.numel() for p in bundle.model.parameters()):,}",
        classes=bundle.classes,
        task=bundle.task,
        thresholds=bundle.thresholds,
        temperature=bundle.temperature,
        logit_offset=bundle.logit_offset,
        prepare=bundle.prepare,
        windowed=bundle.windowed,
        filters=_steps(bundle.prepare.filters),
        transforms=_steps(bundle.transforms.specs()),
        class_head=list(class_columns),
        class_rows=list(zip(*class_columns.values(), strict=True)),
        results=_finite_metrics(bundle),
        interval=f"{confidence:.0%} interval" if confidence else "interval",
        sizes=sizes,
        origin=_origin_rows(without_paths(bundle.provenance)),
        repository=repository,
    )
    return f"---\n{_metadata(bundle)}\n---\n\n{body}"


def card_body(card: str) -> str:
    """Return a card without its metadata."""
    return card.partition("\n---\n")[2]


def without_paths(value: Any) -> Any:
    r"""Remove texts that look like absolute paths from a JSON value, and their keys.

    >>> without_paths({"dataset": "ptbxl", "folder": "/home/anna", "files": ["C:\\b"]})
    {'dataset': 'ptbxl', 'files': []}
    """
    if isinstance(value, dict):
        kept = {}
        for key, item in value.items():
            if not (_is_path(key) or _is_path(item)):
                kept[key] = without_paths(item)
        return kept
    if isinstance(value, list | tuple):
        return type(value)(without_paths(item) for item in value if not _is_path(item))
    return value


def _is_path(value: object) -> bool:
    return isinstance(value, str) and _ABSOLUTE.search(value) is not None


def _metadata(bundle: Bundle) -> str:
    """Return the YAML above the card."""
    fields: dict[str, Any] = {"library_name": "ecgnb", "tags": _TAGS}
    if not bundle.classes:  # the hub has no pipeline tag for classifiers of signals
        fields["pipeline_tag"] = "feature-extraction"
    license_text = bundle.provenance.get("license")
    if isinstance(license_text, str) and license_text.strip():
        name = re.sub(r"[^a-z0-9.]+", "-", license_text.lower()).strip("-")
        fields["license"] = name
        if name not in _LICENSES:
            fields |= {"license": "other", "license_name": name}
    try:
        from huggingface_hub import EvalResult, ModelCardData  # an optional extra
    except ImportError:
        lines = [f"{key}: {json.dumps(value)}" for key, value in fields.items()]
        return "\n".join(lines)
    dataset = str(bundle.provenance.get("dataset") or "unknown")
    if _is_path(dataset):
        dataset = "unknown"
    results = [
        EvalResult(
            task_type="time-series-classification",
            task_name="Classification of electrocardiograms",
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split="test",
            metric_type=row["metric"],
            metric_value=round(row["value"], 4),
            metric_name=row["metric"].replace("_", " "),
        )
        for row in _finite_metrics(bundle)
    ]
    if results:
        fields["model_name"] = bundle.model.spec()["name"]
        fields["eval_results"] = results
    return ModelCardData(**fields).to_yaml()


def _finite_metrics(bundle: Bundle) -> list[dict[str, Any]]:
    """Return the headline metrics whose value is a finite number."""
    rows = []
    for row in bundle.metrics.get("intervals") or []:
        value = row.get("value")
        if isinstance(value, int | float) and math.isfinite(value):
            rows.append(row)
    return rows


def _steps(specs: Iterable[Any]) -> str:
    """Name filters or transforms in order, with their options."""
    steps = []
    for spec in specs:
        options = {"name": spec} if isinstance(spec, str) else dict(spec)
        name = options.pop("name")
        texts = [f"{key} {_text(value)}" for key, value in options.items()]
        steps.append(f"{name} ({', '.join(texts)})" if texts else name)
    return ", then ".join(steps) or "none"


def _class_columns(bundle: Bundle) -> dict[str, Iterable[str]]:
    columns: dict[str, Iterable[str]] = {"class": bundle.classes}
    if bundle.thresholds:
        texts = [f"{threshold:.4g}" for threshold in bundle.thresholds]
        columns["called from probability"] = texts
    if bundle.logit_offset:
        columns["offset"] = [f"{offset:.4g}" for offset in bundle.logit_offset]
    if bundle.aggregate:
        columns["over the windows of a recording"] = bundle.aggregate
    return columns


def _origin_rows(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """Flatten the provenance: texts, numbers, parameters; of the machine, versions."""
    rows = []
    for name, value in provenance.items():
        if name == "environment" and isinstance(value, dict):
            versions = {"python": value.get("python"), **(value.get("packages") or {})}
            texts = []
            for package, version in versions.items():
                if version not in (None, "not installed"):
                    texts.append(f"{package} {version}")
            rows.append(("versions", ", ".join(texts)))
        elif isinstance(value, dict):
            for key, item in value.items():
                if name == "parameters" or not isinstance(item, dict | list | tuple):
                    rows.append((f"{name}: {key}", _text(item)))
        elif not isinstance(value, list | tuple):
            rows.append((name, _text(value)))
    return rows


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + " ..."


def _cell(text: object) -> str:
    """Escape Markdown, so that a text stays within its cell and is shown as it is."""
    return re.sub(r"([|<\\`*_\[\]])", r"\\\1", " ".join(str(text).split()))
