# %% [markdown]
# # From a folder of ECG recordings to an honestly evaluated classifier
#
# Run the cells from top to bottom, or run the notebook headless (`ecgnb run`, `papermill`). Every stage keeps its
# results in the run's folder, so the kernel may be restarted at any moment: go on with whichever cell comes next.
# A stage that is done is not done again unless its inputs changed.
#
# As it stands, the notebook makes a small cohort of synthetic recordings and trains on that for one epoch. To use your
# own recordings, set `DATASET_DIR` in the next cell.

# %% tags=["parameters"]
# Literals only. None means: as the profile, the environment (ECGNB_<NAME>) or the default says.
PROFILE = "smoke"  # smoke: 256 recordings, 1 epoch; medium: 5,000 recordings, 15 epochs; full: all, 50 epochs

# Data
DATASET_DIR = None  # folder of the recordings; None: the synthetic demo cohort
DATASET = None  # known layout: ptbxl, cinc2017, cinc2020, cinc2021, cpsc2018, ptbdb, code15, ludb, mitdb, ...
MAPPING_CSV = None  # labels (dataset, record_id, mapped_label); default: unified_label_mapping.csv in the folder
LABEL_SET = None  # label set of a known data set, such as "superclass" for ptbxl
LABEL_ORDER = None  # classes in order; default: MI, AF, BBB, NORM, OTHER, or those of the label set
TASK = None  # "auto", "multiclass" or "multilabel"
PREPROCESS_LIMIT = None  # use that many recordings; 0: all

# Preparation
TARGET_FS = None  # Hz, default 500
TARGET_SAMPLES = None  # default 5000, that is 10 s
LEADS = None  # default: those of the data set

# Splits
SPLIT = None  # "stratified" (80/10/10 by label, grouped by patient), "official" or "kfold"

# Model and training
MODEL = None  # default "resnet1d"; ecgnb.available("model") lists them
MODEL_OPTIONS = None  # such as {"widths": [16, 32, 64], "depths": [1, 1, 1]}
AUGMENT = None  # random transforms for training, such as ["gaussian_noise", "lead_dropout"]
EPOCHS = None
BATCH_SIZE_CPU = None  # default 32, in smoke 8
BATCH_SIZE_GPU = None  # default 128, in smoke 8
LR = None  # default 0.001, in smoke 0.003
WEIGHT_DECAY = None
GRAD_ACCUM_STEPS = None
CLIP_NORM = None
SCHEDULER = None  # "cosine", "step", "one-cycle" or "none"
MIXED_PRECISION = None  # "auto", "no", "bf16" or "fp16"
EARLY_STOPPING_PATIENCE = None
CLASS_WEIGHTS = None  # "balanced" or "none"
DEVICES = None  # number of processes or GPUs
SEED = None
DRY_RUN = None  # True: train for a few batches only, to see that everything works

# %%
import ecgnb

run = ecgnb.open_run(globals())
run

# %% [markdown]
# ## Environment and preflight
#
# What this machine has, and whether anything stands in the way. A `fail` stops the notebook and says what to do.

# %% tags=["nbval-ignore-output"]
import ecgnb

run = ecgnb.open_run()
ecgnb.environment_report(run)

# %% tags=["nbval-ignore-output"]
import ecgnb

run = ecgnb.open_run()
ecgnb.preflight(run)

# %% [markdown]
# ## Data and labels
#
# Which recordings there are, how each got its label, and what became of those without one.

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.load_cohort(run)

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.show.label_counts(run)

# %% [markdown]
# ## Preparation
#
# Each recording is read, checked, resampled, cut or padded to one length and stored in millivolts. What cannot be used
# is listed with its reason in `rejected.csv`.

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.prepare(run)

# %% [markdown]
# A look at one recording of each class, as it went into the store.

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.show.class_examples(run)

# %% [markdown]
# ## Splits
#
# Training, validation and test never share a patient or an identical signal; the last row says so after checking.

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.split(run)

# %% [markdown]
# ## Model

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.show.model(run)

# %% [markdown]
# ## Training
#
# One of the three cells trains, the one that `PROFILE` asks for. A training that was interrupted goes on where it was,
# to the same weights.

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.train(run, when="smoke")

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.train(run, when="medium")

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.train(run, when="full")

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.show.training_curves(run)

# %% [markdown]
# ## Evaluation on the test split
#
# Thresholds and temperature were chosen on validation alone. The intervals are 95 % bootstrap intervals over patients.

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.evaluate(run)

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.show.per_class(run)

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.show.roc(run)

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.show.precision_recall(run)

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.show.confusion(run)

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.show.reliability(run)

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.show.score_histograms(run)

# %% [markdown]
# ## Inference
#
# Test recordings on standard paper with their predictions, and a prediction from a file alone, as it would be made for
# a recording that nobody has seen yet. Of a longer file the middle is used, and flagged.

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.show.test_examples(run, count=2)

# %%
import ecgnb

run = ecgnb.open_run()
ecgnb.predict(run.predictions["path"].iloc[0], run=run)

# %% [markdown]
# ## Report
#
# Everything above in one HTML file that needs nothing else.

# %% tags=["nbval-ignore-output"]
import ecgnb

run = ecgnb.open_run()
ecgnb.write_report(run)

# %% [markdown]
# ## Runbook
#
# | I want to | do |
# |---|---|
# | use my own recordings | set `DATASET_DIR`, and put `unified_label_mapping.csv` into it |
# | use a public data set | `ecgnb download ptbxl data/ptbxl`, then `DATASET = "ptbxl"`, `DATASET_DIR = "data/ptbxl"` |
# | train for real | `PROFILE = "medium"` or `"full"`, here or headless: `ecgnb run --profile full` |
# | try another model | `MODEL = "xresnet1d101"` |
# | train on several GPUs | `DEVICES = 4`, or `torchrun --nproc-per-node 4 -m ecgnb train RUN` |
# | predict my own file | `ecgnb predict FILE`, or the notebook `predict_recording.ipynb` |
# | go on after a restart or a crash | run the next cell, or the same command again |
#
# ## Troubleshooting
#
# | what it says | what to do |
# |---|---|
# | There is no parameter ... | a mistyped name in the parameters cell; the message names the nearest one |
# | There is no label file ... | write the label file, or name the data set with `DATASET` |
# | Stage ... is not done yet | run the cell that the message names |
# | many recordings rejected | look at the reasons in `rejected.csv` beside the store |
# | out of memory on the GPU | lower `BATCH_SIZE_GPU`, raise `GRAD_ACCUM_STEPS` |
# | the loss is not finite | lower `LR`; look for recordings with flags in `records.csv` |
