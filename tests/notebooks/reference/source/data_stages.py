# %% [markdown]
# # Reference: from recordings to splits
#
# Forty synthetic recordings through the data stages. nbval compares every table below
# with what the code gives today.

# %%
import os
import tempfile

import ecgnb

# A project of its own in a temporary folder: no run of the user's is touched, and
# nothing is left behind.
home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
os.environ |= {"ECGNB_HOME": home.name, "ECGNB_PROGRESS": "quiet"}
run = ecgnb.open_run(
    PROFILE="smoke", PREPROCESS_LIMIT=40, TARGET_FS=100, TARGET_SAMPLES=1000, N_JOBS=1
)

# %%
ecgnb.load_cohort(run)

# %%
ecgnb.show.label_counts(run)

# %%
print(run.classes, run.task)
run.manifest[["record_id", "patient_id", "fs", "n_samples", "label"]].head(8)

# %% [markdown]
# One recording as its file holds it, in millivolts at 500 Hz.

# %%
recording = ecgnb.read_recording(run.manifest["path"].iloc[0])
print(recording)
print(recording.signal[:3, 1000:1008].round(3))

# %%
ecgnb.prepare(run)

# %% [markdown]
# The same recording in the store, at 100 Hz: extent and mean of each lead.

# %%
stored = run.store.read([0])[0]
for lead, signal in zip(run.store.leads, stored, strict=True):
    print(
        f"{lead:<4} lowest {signal.min():6.2f} mV, highest {signal.max():6.2f} mV, spread {signal.std():.3f} mV"
    )

# %%
print(stored.shape, run.store.fs, run.store.valid([0]))
run.store.records[["record_id", "original_fs", "original_samples", "flags"]].head(4)

# %%
ecgnb.show.class_examples(run)[
    ["class", "lead", "start_s", "stop_s", "min_mv", "max_mv"]
].round(2)

# %%
ecgnb.split(run)

# %%
for part, rows in run.splits.parts.items():
    print(f"{part:<6}", " ".join(run.records["record_id"].iloc[rows[:8]]))

# %%
home.cleanup()
