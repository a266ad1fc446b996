# %% [markdown]
# # Predict on my own recording
#
# One recording, one line. The model is that of the latest run, or of the run or bundle named in the parameters.
# Readable are WFDB (`.hea` with `.dat` or `.mat`), MATLAB `.mat`, CSV and NumPy files.

# %% tags=["parameters"]
RECORDING = ""  # the file; empty: a test recording of the run
RUN = "latest"  # name of a run, or the folder of a bundle or of a ported model
FS = 0.0  # Hz, for files that do not state their rate; 0: the file states it
UNITS = ""  # such as "uV", for files that do not state their units

# %%
import ecgnb

file = RECORDING or ecgnb.find_run(RUN).predictions["path"].iloc[0]
ecgnb.predict(file, run=RUN, fs=FS or None, units=UNITS or None)

# %%
ecgnb.show.recording(file, run=RUN, fs=FS or None, units=UNITS or None)
