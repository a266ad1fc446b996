# %% [markdown]
# # A foundation model: inspect, embed, probe, fine-tune, look
#
# ECG-FM (McKeen et al., JAMIA Open 2025) is a transformer that was pretrained on 1.5 million ECGs. Its published
# checkpoints are on the Hugging Face hub; name one in `CHECKPOINT`, such as
# `"wanglab/ecg-fm/mimic_iv_ecg_physionet_pretrained.pt"` (extra `hub`) or a file of yours.
#
# As it stands, the notebook writes a small **stand-in with random weights** and uses that: everything runs, and nothing
# is to be gained from its weights. What the comparison below shows then is how large chance is.

# %% tags=["parameters"]
CHECKPOINT = ""  # a file, or "owner/repository/file.pt" on the hub; empty: a small stand-in with random weights
STAND_IN = "artifacts/checkpoints/stand_in.pt"  # where that one is kept
DATASET = "demo"  # what the comparison trains on: the synthetic cohort, or "ptbxl" and others of `ecgnb available`
DATASET_DIR = ""  # folder of that data set
LABEL_SET = "superclass"  # of ptbxl; the demo cohort has its own
PREPROCESS_LIMIT = 256  # use that many recordings; 0: all
EPOCHS = 2  # of each training in the comparison
LR = 0.001  # the largest step size of each
SEED = 0
RECORDING = ""  # a recording to predict and look at; empty: a synthetic one

# %% [markdown]
# ## What is in the checkpoint
#
# A PyTorch checkpoint is a pickle, which can run any program when it is loaded. Here nothing is run: the table says
# what a naive `torch.load` would have done.

# %%
import ecgnb
from ecgnb.foundation.stand_in import small_stand_in

small_stand_in(STAND_IN)
ecgnb.inspect_model(CHECKPOINT or STAND_IN)

# %% [markdown]
# ## The model
#
# Loading is strict: a tensor that is missing, unexpected or of another shape is an error, and so is an architecture
# that the file does not tell in full.

# %%
from ecgnb.models import model_summary

model = ecgnb.load_ecg_fm(CHECKPOINT or STAND_IN)
model_summary(model)

# %% [markdown]
# ## Embeddings
#
# Each recording is prepared as the model has learnt to see it (12 leads, 500 Hz, z-scored, windows of 5 s) and becomes
# one vector a window.

# %%
from ecgnb.data.demo.cohort_files import synthesise

recordings = [synthesise(number) for number in range(8)]
inference = ecgnb.infer_recordings(recordings, run=CHECKPOINT or STAND_IN, embeddings=True)
print(inference.embeddings.shape)
inference.windows

# %% [markdown]
# ## Is it worth it?
#
# The same recordings and the same splits, four ways to begin. A linear probe on the pretrained encoder stands beside
# the same probe on an encoder with **random weights**, fine-tuning beside **training from scratch**: without these two
# baselines neither number means anything. Intervals are over patients of the test split.

# %%
parameters = {"DATASET": DATASET, "DATASET_DIR": DATASET_DIR, "LABEL_SET": LABEL_SET if DATASET == "ptbxl" else None}
parameters |= {"PREPROCESS_LIMIT": PREPROCESS_LIMIT, "EPOCHS": EPOCHS, "LR": LR, "SEED": SEED}
comparison = ecgnb.compare_starts(CHECKPOINT or STAND_IN, parameters)
comparison.round(3)

# %%
ecgnb.show.comparison_of_starts(comparison)

# %% [markdown]
# ## Where it looks
#
# The attention of the last layer on paper: where the model looks, not what speaks for a class. For that take
# `ecgnb.show.explanation` with a fine-tuned model.

# %%
recording = RECORDING or synthesise(25)
ecgnb.show.attention(recording, run=CHECKPOINT or STAND_IN)

# %% [markdown]
# ## Go on
#
# - `ecgnb predict FILES --run CHECKPOINT` predicts from the shell; `ecgnb bundle CHECKPOINT --out FOLDER` makes a
#   folder that predicts anywhere, with a model card, and `ecgnb push FOLDER owner/name` shares it.
# - Each row of the comparison is a run: `ecgnb.predict("my_recording.hea", run=comparison.run[2])`.
