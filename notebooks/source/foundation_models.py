# %% [markdown]
# # A foundation model: inspect, embed, probe, fine-tune, look
#
# ECG-FM (McKeen et al., JAMIA Open 2025) is a transformer that was pretrained on 1.5 million ECGs. Its published
# checkpoints are on the Hugging Face hub; name one in `CHECKPOINT`, such as
# `"wanglab/ecg-fm/mimic_iv_ecg_physionet_pretrained.pt"` (extra `hub`) or a file of yours.
#
# By default the notebook writes a small **stand-in with random weights** and uses that: every cell runs, but the
# weights contain nothing. The comparison below then shows how large the effect of chance is.

# %% tags=["parameters"]
CHECKPOINT = ""  # a file or "owner/repository/file.pt" on the hub; empty: a small stand-in with random weights
STAND_IN = "artifacts/checkpoints/stand_in.pt"  # where the stand-in is written
DATASET = "demo"  # what the comparison trains on: the synthetic cohort, or "ptbxl" and others of `ecgnb available`
DATASET_DIR = ""  # folder of that data set
LABEL_SET = "superclass"  # of ptbxl; the demo cohort has its own
PREPROCESS_LIMIT = 256  # number of recordings to use; 0: all
EPOCHS = 2  # of each training in the comparison
LR = 0.001  # largest learning rate of each
SEED = 0
RECORDING = ""  # a recording to predict and look at; empty: a synthetic one

# %% [markdown]
# ## What is in the checkpoint
#
# A PyTorch checkpoint is a pickle, which can run any program when it is loaded. Here nothing is executed: the table
# lists what a plain `torch.load` would have imported and called.

# %%
import ecgnb
from ecgnb.foundation.stand_in import small_stand_in

checkpoint = ecgnb.input_path(CHECKPOINT) or small_stand_in(ecgnb.output_path(STAND_IN))
ecgnb.inspect_model(checkpoint)

# %% [markdown]
# ## The model
#
# Loading is strict: a tensor that is missing, unexpected or of another shape is an error, and so is an architecture
# that the file does not describe completely.

# %%
from ecgnb.models import model_summary

model = ecgnb.load_ecg_fm(checkpoint)
model_summary(model)

# %% [markdown]
# ## Embeddings
#
# Each recording is prepared as in the pretraining (12 leads, 500 Hz, z-scored, windows of 5 s); each window becomes
# one vector.

# %%
from ecgnb.data.demo.cohort_files import synthesise

recordings = [synthesise(number) for number in range(8)]
inference = ecgnb.infer_recordings(recordings, run=checkpoint, embeddings=True)
print(inference.embeddings.shape)
inference.windows

# %% [markdown]
# ## What does pretraining contribute?
#
# The same recordings and the same splits, four initialisations. A linear probe on the pretrained encoder is compared
# with the same probe on an encoder with **random weights**, fine-tuning with **training from scratch**: without these
# two baselines neither number means anything. Intervals are over patients of the test split.

# %%
parameters = {"DATASET": DATASET, "DATASET_DIR": DATASET_DIR, "LABEL_SET": LABEL_SET if DATASET == "ptbxl" else None}
parameters |= {"PREPROCESS_LIMIT": PREPROCESS_LIMIT, "EPOCHS": EPOCHS, "LR": LR, "SEED": SEED}
comparison = ecgnb.compare_starts(checkpoint, parameters)
comparison.round(3)

# %% [markdown]
# Look at each pair of intervals. Good: the pretrained bar lies clearly above its baseline. If the intervals overlap,
# the pretraining has not been shown to help on this data (with the stand-in they must overlap).

# %%
ecgnb.show.comparison_of_starts(comparison)

# %% [markdown]
# ## Attention
#
# The attention of the last layer on ECG paper: which seconds the model attends to, not what raises the score of a
# class (for that use `ecgnb.show.explanation` with a fine-tuned model). Attention that follows the beats is
# plausible; attention on one edge or on padding is not.

# %%
recording = ecgnb.input_path(RECORDING) or synthesise(25)
ecgnb.show.attention(recording, run=checkpoint)

# %% [markdown]
# ## Where to go from here
#
# - `ecgnb predict FILES --run CHECKPOINT` predicts from the shell; `ecgnb bundle CHECKPOINT --out FOLDER` makes a
#   folder that predicts anywhere, with a model card, and `ecgnb push FOLDER owner/name` shares it.
# - Each row of the comparison is a run (none of them becomes the latest one): `ecgnb.predict("my_recording.hea", run=comparison.run[2])`.
