# %% [markdown]
# # Reference: evaluation
#
# The numbers of the evaluation on outputs that a formula gives, so that they hang on no
# random generator but that of the bootstrap. nbval compares every number below with
# what the code gives today.

# %%
import numpy as np

from ecgnb.evaluation.bootstrap import bootstrap
from ecgnb.evaluation.calibration import (
    apply_temperature,
    brier_score,
    expected_calibration_error,
    fit_temperature,
    probabilities_from_logits,
    reliability_table,
)
from ecgnb.evaluation.metrics import compute_metrics, per_class_metrics
from ecgnb.evaluation.thresholds import choose_thresholds, decide
from ecgnb.figures import plots, plots_decisions, plots_ranking

CLASSES = ("MI", "AF", "BBB", "NORM")
np.set_printoptions(suppress=True)

# %%
number = np.arange(240)
targets = (number * number // 3 + number) % 4
noise = np.sin(0.37 * (number[:, None] + 1) ** 1.7 + 2.3 * np.arange(4) ** 2)
logits = 4 * np.eye(4)[targets] + 5 * noise - 0.8 * np.array([0, 1, 0, 2])
probabilities = probabilities_from_logits(logits, "multiclass")
print(np.bincount(targets))
print(probabilities[:4].round(4))

# %%
measured = compute_metrics(targets, probabilities, CLASSES, "multiclass")
for name, value in measured["headline"].items():
    print(f"{name:<24} {value:.4f}")
print(np.array(measured["confusion_matrix"]))

# %%
per_class_metrics(targets, probabilities, CLASSES, "multiclass").round(4)

# %% [markdown]
# Intervals from 200 resamples of 60 patients with four recordings each.

# %%
patients = number // 4
bootstrap(
    targets, probabilities, CLASSES, "multiclass", n_resamples=200, groups=patients
).round(3)

# %% [markdown]
# Calibration: the temperature, and what it changes.

# %%
temperature = fit_temperature(logits, targets, "multiclass")
calibrated = probabilities_from_logits(
    apply_temperature(logits, temperature), "multiclass"
)
print(f"temperature {temperature:.4f}")
for name, given in {"before": probabilities, "after": calibrated}.items():
    brier = brier_score(targets, given, "multiclass")
    print(
        f"{name:<7} Brier {brier:.4f}, ECE {expected_calibration_error(targets, given, 'multiclass'):.4f}"
    )

# %%
reliability_table(targets, calibrated, "multiclass", n_bins=5).round(4)

# %% [markdown]
# Several labels a recording: a threshold for each class.

# %%
labels = (np.cos(2.7183 * (number[:, None] + 1) * (1 + np.arange(4))) > 0.3).astype(int)
scores = probabilities_from_logits(2 * labels - 1 + 2.5 * noise, "multilabel")
thresholds = choose_thresholds(labels, scores, "multilabel")
print(labels.sum(axis=0), thresholds.round(4))
print(decide(scores, "multilabel", thresholds).sum(axis=0))

# %%
per_class_metrics(labels, scores, CLASSES, "multilabel", thresholds).round(4)

# %% [markdown]
# The tables behind the figures.

# %%
figure, curves = plots_ranking.plot_roc(targets, probabilities, CLASSES, "multiclass")
print(figure.axes[0].get_xlabel(), "|", figure.axes[0].get_ylabel())
curves.groupby("class", sort=False).nth(10).round(4)

# %%
_, curves = plots_ranking.plot_precision_recall(
    targets, probabilities, CLASSES, "multiclass"
)
curves.drop_duplicates("class")[["class", "average_precision", "prevalence"]].round(4)

# %%
_, cells = plots_decisions.plot_confusion(
    targets, probabilities.argmax(axis=1), CLASSES
)
cells.head(6).round(4)

# %%
_, bins = plots_decisions.plot_reliability(
    targets, calibrated, "multiclass", uncalibrated=probabilities
)
bins[bins["count"] > 0].groupby("which", sort=False).head(4).round(4)

# %%
_, bars = plots_ranking.plot_score_histograms(
    labels, scores, CLASSES, "multilabel", thresholds=thresholds
)
bars.head(6).round(4)

# %%
counts = per_class_metrics(targets, probabilities, CLASSES, "multiclass")[
    ["class", "support"]
]
plots.plot_class_distribution(counts)[1].round(4)
