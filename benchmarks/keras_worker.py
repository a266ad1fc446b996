"""Process with one Keras model on the torch backend that times calls on request, for
`benchmarks.port`.

It needs Keras 3 and torch and nothing of ecgnb. Arguments: model, inputs (.npy). Each
line on its input is a number of calls; it answers with the seconds that one took.
"""

from __future__ import annotations

import os
import sys
import time

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch


def main(model_file: str, inputs_file: str) -> None:
    """Load, warm up, then answer."""
    model = keras.models.load_model(model_file, compile=False)
    x = torch.from_numpy(np.load(inputs_file))
    print("ready", keras.__version__, flush=True)
    with torch.inference_mode():
        for line in sys.stdin:
            calls = int(line)
            started = time.perf_counter()
            for _ in range(calls):
                model(x, training=False)
            print((time.perf_counter() - started) / calls, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
