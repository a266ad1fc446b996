# %% [markdown]
# # Port a Keras classifier
#
# A trained Keras model (`.keras`, whole `.h5`, or `model.json` with its weights) becomes a PyTorch model, without Keras
# or TensorFlow. The port is compared with the original layer by layer, and its predictions are explained on the logits.
#
# The model here is a small example in the project. For the AV block detector of Gumpfer et al. (AIME 2024,
# repository `nilsgumpfer/AIME2024`, CC BY 4.0) set `KERAS_MODEL` to its `model.json` and `CONTRACT` to
# `"pathology_avb"`.
#
# Relative paths are looked for in the project's folder, in the clone of ecgnb (its `examples`) and beside this notebook;
# the port is written into the project's folder.

# %% tags=["parameters"]
KERAS_MODEL = "examples/keras_bbb/model.json"  # .keras, .h5, or model.json with its weights beside it
WEIGHTS = ""  # the weights of a model.json, if they are in another folder
REFERENCE = "examples/keras_bbb/golden.npz"  # outputs of the Keras layers; empty: computed with Keras, if installed
CONTRACT = "examples/keras_bbb/contract.json"  # name of a known contract, or its JSON file
RECORDING = ""  # a recording to predict and explain; empty: a synthetic one
METHOD = "lrp_epsilon_std"  # method of explanation; "integrated_gradients" for recurrent networks
PORT_DIR = "artifacts/ports/keras_bbb"  # folder of the port

# %% [markdown]
# ## What is in the file
#
# Layers, options and shapes are read from the file. What it does not contain (sampling rate, unit, order of the leads,
# filters, classes) is the contract.

# %%
import ecgnb
from ecgnb.port import inspect_keras

keras_model, weights = ecgnb.input_path(KERAS_MODEL), ecgnb.input_path(WEIGHTS) or None
inspect_keras(keras_model, weights=weights)

# %% [markdown]
# ## Port it
#
# Real PyTorch layers under the Keras names. The folder holds the weights (safetensors), the architecture (JSON),
# readable source code (`model.py`) and a report.

# %%
from ecgnb.port import convert

folder, contract = ecgnb.output_path(PORT_DIR), ecgnb.input_path(CONTRACT) or None
reference = ecgnb.input_path(REFERENCE) or None
convert(keras_model, folder, weights=weights, contract=contract, reference=reference)

# %% [markdown]
# ## Is it the same?
#
# Each layer's largest difference, relative to the largest number in that layer; a float64 copy of the port decides
# which of the two is closer. Equal probabilities alone would prove nothing: a saturated softmax hides almost any
# fault.

# %%
from ecgnb.port import Reference, compare, load_port

comparison = compare(load_port(folder), reference or Reference.from_keras(keras_model, weights=weights))
comparison

# %% [markdown]
# Good: every layer below 1e-5, in no particular trend. Bad: a step at one layer that all later layers keep; the first
# one above the line is where the port differs.

# %%
ecgnb.show.comparison(comparison)

# %% [markdown]
# ## The PyTorch source code
#
# It needs nothing but PyTorch.

# %%
from pathlib import Path

print(Path(folder, "model.py").read_text(encoding="utf-8"))

# %% [markdown]
# ## Predict
#
# The contract decides the input of the network: sampling rate, length, order of the leads, filters and units are
# converted to those of its training; a recording that cannot be converted is refused.

# %%
from ecgnb.data.demo.cohort_files import synthesise

recording = ecgnb.input_path(RECORDING) or synthesise(25)
ecgnb.predict(recording, run=PORT_DIR)

# %% [markdown]
# ## Explain
#
# What raised the logit of the predicted class. Good: the shading lies on the complexes that define the diagnosis (wide
# QRS for bundle branch block). Bad: on noise, padding or evenly everywhere. Other methods:
# `ecgnb.explain.EXPLAINERS`.

# %%
ecgnb.show.explanation(recording, run=PORT_DIR, method=METHOD)

# %% [markdown]
# ## Where to go from here
#
# - `ecgnb predict FILE --run PORT_DIR` predicts from the shell.
# - `-p START_FROM PORT_DIR` in the master notebook continues training from these weights.
# - `port.logits`, `port.conv1d` and every other layer are available in Python: `port = load_port(PORT_DIR)`.
