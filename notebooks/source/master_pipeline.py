# %% [markdown]
# # From a folder of ECG recordings to an honestly evaluated classifier
#
# An electrocardiogram (ECG) records the heart's electrical activity as voltages (in
# millivolts) between electrodes: up to 12 leads, 250 to 1000 samples per second,
# usually 10 seconds. This notebook trains a neural network that reads such recordings
# and names the diagnosis, and it measures how far the network can be trusted.
#
# The order is that of a lesson: look at the data, bring it into one form, split it
# without leaks, train, evaluate once on recordings that nothing was chosen on, and look
# at single recordings. Each section says why it is there and what to watch for.
#
# Run the cells from top to bottom, or the whole notebook without a browser (`ecgnb run`
# or `papermill`). Every stage keeps its results in the run's folder. After a restart of
# the kernel continue with any cell; a finished stage is not repeated unless its inputs
# changed.
#
# As it is, the notebook synthesises a small demo cohort and trains on it for one epoch.
# For your own recordings set `DATASET_DIR` in the next cell.

# %% tags=["parameters"]
# Literals only. None: the value of the profile, of the environment (ECGNB_<NAME>) or
# the default, in this order of precedence from the right.
PROFILE = "smoke"  # smoke: 256 recordings, 1 epoch; medium: 5,000, 15 epochs; full: all, 50 epochs

# Data
DATASET_DIR = None  # folder of the recordings; None: the synthetic demo cohort
DATASET = None  # known layout: ptbxl, cinc2017, cinc2020, cinc2021, cpsc2018, ptbdb, code15, ludb, mitdb, ...
MAPPING_CSV = None  # labels (record_id, mapped_label); default: unified_label_mapping.csv in the folder
RECORD_COLUMN = None  # its column of recordings; default: record_id
LABEL_COLUMN = None  # its column of labels, several joined with "|"; default: mapped_label
PATIENT_COLUMN = None  # its column of patients, who stay in one split; default: patient_id, where there is one
ONE_HOT_COLUMNS = None  # in place of LABEL_COLUMN: its columns of 0 and 1, such as ["MI", "AF"]
LABEL_SET = None  # label set of a known data set, such as "superclass" for ptbxl
LABEL_ORDER = None  # classes in order; default: those of the label file or of the label set
TASK = None  # "auto", "multiclass" (one class per recording) or "multilabel" (any number of classes)
PREPROCESS_LIMIT = None  # number of recordings to use; 0: all

# Preparation
TARGET_FS = None  # sampling rate in Hz, default 500
TARGET_SAMPLES = None  # length in samples, default 5000 (10 s at 500 Hz)
LEADS = None  # default: those of the data set

# Splits
SPLIT = None  # "stratified" (80/10/10 by label, grouped by patient), "official" or "kfold"

# Model and training
MODEL = None  # default "resnet1d"; ecgnb.available("model") lists all
MODEL_OPTIONS = None  # such as {"widths": [16, 32, 64], "depths": [1, 1, 1]}
AUGMENT = None  # random transforms for training, such as ["gaussian_noise", "lead_dropout"]
EPOCHS = None  # passes over the training split
BATCH_SIZE_CPU = None  # recordings per step on a CPU: default 32, in smoke 8
BATCH_SIZE_GPU = None  # recordings per step on a GPU: default 128, in smoke 8
LR = None  # largest learning rate: default 0.001, in smoke 0.003
WEIGHT_DECAY = None
GRAD_ACCUM_STEPS = None  # micro-batches per optimizer step, for models that need more memory
CLIP_NORM = None  # largest norm of the gradient
SCHEDULER = None  # "cosine", "step", "one-cycle" or "none"
MIXED_PRECISION = None  # "auto", "no", "bf16" or "fp16"
EARLY_STOPPING_PATIENCE = None  # epochs without a better score or loss before it stops
CLASS_WEIGHTS = None  # "balanced" or "none"
DECISION_CRITERION = None  # "macro_f1", "micro_f1", "exact_match" or "youden"
PRIOR_CORRECTION = None  # "auto" (of a training with balanced classes) or "none"
DEVICES = None  # number of processes or GPUs
SEED = None
DRY_RUN = None  # True: train for a few batches only, to see that everything works

# %% [markdown]
# ## The run
#
# The parameters name a run: a folder that holds everything this notebook produces.
# Equal parameters give the same run, so that this cell also continues one. The first
# table below holds the parameters that differ from their default and where each value
# came from (profile, environment or notebook); the second the stages: done, stale (the
# inputs have changed since) or open.
#
# Every cell below names its run and its model. After a change of the parameters run
# this cell again: it opens the run of the new ones, and until then the other cells
# refuse to go on with the old ones.

# %%
import ecgnb

run = ecgnb.open_run(globals())
run

# %% [markdown]
# ## Environment and preflight
#
# What this machine offers, and whether anything prevents the run: missing folders,
# labels, memory, disk space, package versions with known faults. A row `fail` stops the
# notebook and says what to do; read each `warn` before you trust a result.

# %% tags=["nbval-ignore-output"]
import ecgnb; run = ecgnb.open_run()
ecgnb.environment_report(run)

# %% tags=["nbval-ignore-output"]
import ecgnb; run = ecgnb.open_run()
ecgnb.preflight(run)

# %% [markdown]
# ## Data and labels
#
# A classifier can only be as good as its labels. The table counts the recordings of the
# folder, how each got its label, and what happened to those without one. Compare the
# counts with what you know of your data: a large number without a label usually means
# that identifiers in the label file are spelt differently from the file names.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.load_cohort(run)

# %% [markdown]
# **Recordings per class.** Look at the shortest bar: a class with fewer than about 50
# recordings will have wide intervals whatever the model does. Bars within a factor of
# ten of one another are good; far more imbalance calls for `CLASS_WEIGHTS`, more data,
# or merging classes.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.show.label_counts(run)

# %% [markdown]
# ## Preparation
#
# A network needs all recordings in one form: the same leads in the same order, one
# sampling rate, one length, millivolts. Each recording is read, checked, resampled and
# cut or padded once, and stored in a memory-mapped file that training reads quickly.
# Nothing disappears silently: what cannot be used is a row of `rejected.csv` with its
# reason, what is doubtful (flat leads, clipping, an implausible gain) carries a flag.
# Lines above the table say what this form loses (leads, seconds, frequencies) and which
# parameters keep it.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.prepare(run)

# %% [markdown]
# **One stored recording per class.** Good: QRS complexes (the narrow spikes) of about 0.5
# to 2 mV, a calm baseline, the leads named as you expect. Bad: flat lines, spikes of
# tens of millivolts (a wrong gain), a beat every few samples (a wrong sampling rate), or
# zero padding over much of the length.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.show.class_examples(run)

# %% [markdown]
# ## Splits
#
# The model learns from the training split; validation chooses the epoch, the thresholds
# and the temperature; the test split is looked at once, at the end. A patient's
# recordings resemble one another, so a patient in two splits would let the model
# recognise the person instead of the disease: all recordings of a patient, and copies of
# a signal, stay in one split. Check the last rows, which count what connects the splits
# (must be 0) and how many recordings have no known patient.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.split(run)

# %% [markdown]
# ## Model
#
# The default is a residual network of one-dimensional convolutions: layers that slide
# over time and see all leads at once, each block shortening the signal and widening
# what it describes, until an average over time and one linear layer give a score per
# class. Look at the last output (one number per class) and at the number of parameters:
# millions of parameters need thousands of recordings.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.show.model(run)

# %% [markdown]
# ## Training
#
# In each epoch the network sees every training recording once, in small batches, and
# its weights move a little against the gradient of the loss. One of the three cells
# trains, the one of the `PROFILE`; the others return at once. An interrupted training
# continues where it was and ends with the same weights, bit for bit.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.train(run, when="smoke")

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.train(run, when="medium")

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.train(run, when="full")

# %% [markdown]
# **Training curves.** Good: both losses fall and the validation scores level off near the
# marked epoch, whose weights were kept. Bad: the validation loss rises while the training
# loss falls (overfitting: more data, augmentation, weight decay), both stay flat (a too
# small learning rate, wrong labels), or they jump (a too large one).

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.show.training_curves(run)

# %% [markdown]
# ## Evaluation on the test split
#
# The test recordings are used here for the first time. Each number has a 95 %
# interval over patients: what another sample of patients of this size could have given.
# Compare intervals, not values: two models whose intervals overlap widely are not known
# to differ. AUROC is the probability that a positive recording gets a higher score than
# a negative one (0.5 is chance); F1 balances precision and recall at the chosen
# thresholds.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.evaluate(run)

# %% [markdown]
# **Scores per class.** Good: similar scores for all classes, with short intervals. Bad: one
# class far behind the others (look at its recordings and labels), or an interval that
# reaches chance, which means that the test split has too few of its recordings.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.show.per_class(run)

# %% [markdown]
# **ROC curves** show sensitivity against the false positive rate for every threshold. Good
# curves hug the upper left corner; one on the diagonal is no better than a coin, and one
# below it usually means swapped labels.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.show.roc(run)

# %% [markdown]
# **Precision-recall curves** are the stricter view where a class is rare, since they ignore
# the many true negatives. Compare each curve with its dotted line, the share of positives,
# which is what guessing reaches: a good curve stays near the top far to the right.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.show.precision_recall(run)

# %% [markdown]
# **Confusion matrix.** Rows are labels, columns predictions; good is a strong diagonal. A
# strong cell elsewhere names the pair that the model confuses: is it a hard clinical
# distinction, or a labelling habit?

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.show.confusion(run)

# %% [markdown]
# **Calibration.** Of the recordings with a predicted probability near 0.8, eight in ten
# should be right: good points follow the diagonal. Points below it mean overconfidence,
# which the temperature, fitted on validation, should reduce.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.show.reliability(run)

# %% [markdown]
# **Probabilities of positives and negatives.** Good: two separate hills, the
# positives at the right. Bad: hills on top of each other, so that no threshold separates
# them.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.show.score_histograms(run)

# %% [markdown]
# ## Single recordings
#
# Numbers hide what a glance shows. The first example is a confident correct prediction,
# the second a confident wrong one: look whether the wrong one has noise, a flat lead, or a
# label that you would doubt yourself.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.show.test_examples(run, count=2)

# %% [markdown]
# A prediction from a file alone, as for a recording that nobody has seen before. Of a
# longer file the middle is used; the column `flags` says so.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.predict(run.predictions["path"].iloc[0], run=run)

# %% [markdown]
# **Why this prediction?** Shaded is what raised the score of the predicted class. Good: the
# shading lies on what a cardiologist would use (the width of QRS for bundle branch block,
# the missing P waves for atrial fibrillation). Bad: it lies on padding, on noise, or evenly
# everywhere.

# %%
import ecgnb; run = ecgnb.open_run()
ecgnb.show.explanation(run.predictions["path"].iloc[0], run=run)

# %% [markdown]
# ## Report
#
# Everything above in one HTML file that needs nothing else, beside `metrics.json`,
# `predictions.csv` and the model bundle that `ecgnb predict` loads.

# %% tags=["nbval-ignore-output"]
import ecgnb; run = ecgnb.open_run()
ecgnb.write_report(run)

# %% [markdown]
# ## Where to go from here
#
# | I want to | do |
# |---|---|
# | use my own recordings | set `DATASET_DIR`, and put `unified_label_mapping.csv` into it |
# | use a public data set | `ecgnb download ptbxl data/ptbxl`, then `DATASET = "ptbxl"`, `DATASET_DIR = "data/ptbxl"` |
# | train for real | `PROFILE = "medium"` or `"full"`, here or headless: `ecgnb run --profile full` |
# | try another model | `MODEL = "xresnet1d101"`; `ecgnb.available("model")` lists all |
# | train on several GPUs | `DEVICES = 4`, or `torchrun --nproc-per-node 4 -m ecgnb train RUN` |
# | watch or change the training | `ecgnb.train(run, callbacks=[...])`, see `ecgnb.training.callbacks` |
# | predict my own file | `ecgnb predict FILE`, or the notebook `predict_recording.ipynb` |
# | continue after a restart or a crash | run the next cell, or the same command again |
#
# ## Troubleshooting
#
# | message | what to do |
# |---|---|
# | There is no parameter ... | a mistyped name in the parameters cell; the message names the nearest one |
# | There is no label file ... | write the label file, or name the data set with `DATASET` |
# | Stage ... is not done yet | run the cell that the message names |
# | many recordings rejected | read the reasons in `rejected.csv` beside the store |
# | out of memory on the GPU | lower `BATCH_SIZE_GPU`, raise `GRAD_ACCUM_STEPS` |
# | the loss is not finite | lower `LR`; look for recordings with flags in `records.csv` |
