# %% [markdown]
# # Reference: a foundation model's checkpoint inspected, loaded, asked
#
# A small stand-in with random weights. Numbers are rounded so far that they are the
# same on every processor.

# %%
import os
import tempfile

import torch

import ecgnb
import ecgnb.core.errors
import ecgnb.models
from ecgnb.data.demo.cohort_files import synthesise
from ecgnb.foundation.stand_in import SMALL, stand_in

home = tempfile.TemporaryDirectory()
os.chdir(home.name)
os.environ["ECGNB_PROGRESS"] = "quiet"

# %%
path = stand_in("small.pt", n_classes=17, optimizer=False, **SMALL)
ecgnb.inspect_model(path)

# %%
model = ecgnb.load_ecg_fm(path)
print(model.origin.file, model.n_parameters(), model.n_classes, model.leads)

# %%
ecgnb.models.model_summary(model)

# %%
inference = ecgnb.infer_recordings(
    [synthesise(number) for number in range(3)], run="small.pt", embeddings=True
)
inference.windows.round(3)

# %%
inference.table.drop(columns="prediction").round(3)

# %%
print(inference.embeddings.shape, inference.embeddings.std(axis=0).mean().round(2))
{
    name: inference.record[name]
    for name in ("recordings", "windows", "problems", "precision", "batch_size")
}

# %%
ecgnb.show.attention(synthesise(0), run="small.pt").round(2)

# %%
broken = torch.load(path, weights_only=True)
del broken["model"]["encoder.encoder.layers.1.fc2.bias"]
torch.save(broken, "broken.pt")
try:
    ecgnb.load_ecg_fm("broken.pt")
except ecgnb.core.errors.CheckpointError as error:
    print(error)

# %%
home.cleanup()
