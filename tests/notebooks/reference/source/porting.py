# %% [markdown]
# # Reference: a Keras classifier ported, verified and explained
#
# The small network of `examples/keras_bbb`. Numbers are rounded so far that they are
# the same on every processor.

# %%
import os
from pathlib import Path

import ecgnb

os.chdir(Path(ecgnb.__file__).parents[1] / "examples" / "keras_bbb")
os.environ["ECGNB_PROGRESS"] = "quiet"

# %%
ecgnb.port.inspect_keras("model.json")

# %%
port = ecgnb.port.port_keras("model.json", contract="contract.json")
port

# %%
comparison = ecgnb.port.compare(port, "golden.npz")
print(comparison.passed, comparison.warnings)
comparison.table[["layer", "class", "shape", "verdict"]]

# %%
(comparison.table["relative"] < 1e-5).all(), comparison.table["scale"].round(3).tolist()

# %%
print(ecgnb.port.source_code(port))

# %%
from ecgnb.data.demo.cohort_files import synthesise
from ecgnb.deploy.inference import predict_recordings
from ecgnb.deploy.opening import bundle_of_port

records = [synthesise(number) for number in (0, 25, 26)]
predict_recordings(bundle_of_port(port), records).round(3)

# %%
import numpy as np
import torch

signal = torch.from_numpy(np.load("golden.npz")["in/conv1d_input"])
methods = (
    "gradient_x_input",
    "gradient_x_sign",
    "integrated_gradients",
    "grad_cam",
    "lrp_epsilon_std",
)
attributions = {
    name: ecgnb.explain.explain(port, signal, name, target=1) for name in methods
}
{
    name: [round(float(record.sum()), 2) for record in found]
    for name, found in attributions.items()
}

# %%
faulty = ecgnb.port.port_keras("model.json")
faulty.conv1d_2.weight.data = faulty.conv1d_2.weight.data.transpose(0, 1)
broken = ecgnb.port.compare(faulty, "golden.npz")
broken.passed, broken.first_divergent, broken.cause
