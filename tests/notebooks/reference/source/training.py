# %% [markdown]
# # Reference: training and prediction
#
# A very small network, two epochs on forty synthetic recordings. The numbers are
# rounded so far that they are the same on every processor; they change with the order
# of the records, the weights that are drawn, the loss and the optimizer.

# %%
import os
import tempfile

import ecgnb

# A project of its own in a temporary folder: no run of the user's is touched, and
# nothing is left behind.
home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
os.environ |= {"ECGNB_HOME": home.name, "ECGNB_PROGRESS": "quiet"}

# %%
run = ecgnb.open_run(
    PROFILE="smoke",
    PREPROCESS_LIMIT=40,
    TARGET_FS=100,
    TARGET_SAMPLES=1000,
    N_JOBS=1,
    MODEL_OPTIONS={"widths": [8], "depths": [1]},
    EPOCHS=2,
    BATCH_SIZE_CPU=8,
    LR=0.01,
    DEVICE="cpu",
    BOOTSTRAP_RESAMPLES=20,
)
for stage in (ecgnb.load_cohort, ecgnb.prepare, ecgnb.split):
    stage(run)
{part: len(rows) for part, rows in run.splits.parts.items()}

# %%
ecgnb.show.model(run)

# %%
history = ecgnb.train(run)
history[["epoch", "train_loss", "valid_loss", "lr"]].round(3)

# %%
ecgnb.evaluate(run)
print(
    f"best epoch {run.require('train')['best_epoch']}, temperature {run.metrics['temperature']:.3f}"
)
predictions = run.predictions
predictions[["record_id", "label", *(f"logit_{name}" for name in run.classes)]].round(2)

# %% [markdown]
# From the file alone, through the bundle.

# %%
predicted = ecgnb.predict(predictions["path"].iloc[0], run=run)
predicted[["record_id", *run.classes]].round(2)

# %%
home.cleanup()
