# %% [markdown]
# # Predict on my own recording
#
# One recording, one line. The model is that of the latest run, or of the run or bundle named in the parameters.
# The first line of each output names run and model: look at it before you believe the prediction.
#
# Supported files: WFDB (`.hea` with `.dat` or `.mat`), MATLAB `.mat`, CSV and NumPy.

# %% tags=["parameters"]
RECORDING = ""  # the file; empty: a test recording of the run
RUN = "latest"  # name of a run, or the folder of a bundle or of a ported model
FS = 0.0  # Hz, for files without a sampling rate; 0: the file has one
UNITS = ""  # such as "uV", for files without units

# %%
import ecgnb

file = ecgnb.input_path(RECORDING) or ecgnb.find_run(RUN).predictions["path"].iloc[0]
ecgnb.predict(file, run=RUN, fs=FS or None, units=UNITS or None)

# %% [markdown]
# The recording on ECG paper (25 mm per second, 10 mm per mV) with the probabilities. Compare what you see with the
# prediction: a flat lead, noise or a wrong gain make any prediction worthless.

# %%
ecgnb.show.recording(file, run=RUN, fs=FS or None, units=UNITS or None)
