"""ECG-FM at its real size, from a checkpoint with random weights in the original's
layout.

The limit of an inference is its multiplications and additions divided by the rate of
its largest matrix product (1248 x 768 x 3072), measured in the same run and turn by
turn. A plain formulation, with explicit attention and the positional convolution as
Conv1d, is measured beside it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measure import row

BATCH, LEADS, SAMPLES, THREADS = 8, 12, 2500, 2
TOKENS, DIM, FFN = BATCH * 156, 768, 3072

LOAD = """
import sys, time
import torch
from ecgnb.foundation.ecg_fm_checkpoint import load_ecg_fm
import ecgnb.checkpoints.container, ecgnb.hub.huggingface
def peak():  # kB; of this program alone, which getrusage is not
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
before = peak()
started = time.perf_counter()
model = load_ecg_fm(sys.argv[1])
seconds = time.perf_counter() - started
total = sum(float(p.detach().sum()) for p in model.parameters())
weights = sum(p.numel() * 4 for p in model.parameters())
print(seconds, (peak() - before) * 1024 / weights, model.n_parameters())
"""


def run(quick: bool) -> list[dict[str, Any]]:
    """Measure loading in fresh processes, and inference against its limit."""
    from ecgnb.foundation.ecg_fm_checkpoint import load_ecg_fm
    from ecgnb.foundation.stand_in import stand_in

    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        pretrained = stand_in(Path(folder) / "pretrained.pt")
        rows = _loading("pretrained", pretrained, 1 if quick else 5)
        pretrained.unlink()
        finetuned = stand_in(Path(folder) / "finetuned.pt", n_classes=17)
        rows += _loading("fine-tuned, 17 labels", finetuned, 1 if quick else 5)
        model = load_ecg_fm(finetuned)
        rows += _inference(model, 2 if quick else 7)
        del model
    return rows


def _loading(name: str, file: Path, repeats: int) -> list[dict[str, Any]]:
    """Load in fresh processes; every weight is read before the peak of the memory is
    taken.
    """
    measured = []
    for _ in range(repeats):
        process = subprocess.run(
            [sys.executable, "-c", LOAD, str(file)],
            check=True,
            capture_output=True,
            text=True,
        )
        measured.append([float(value) for value in process.stdout.split()])
    seconds, memory, count = zip(*measured, strict=True)
    label = f"ECG-FM {name} ({count[0]:,.0f} parameters, {file.stat().st_size / 1e9:.2f} GB)"
    return [
        row(f"load {label}", max(seconds), None, "s", "<= 2 s"),
        row(
            "  peak memory over the weights' size, all weights read",
            max(memory),
            None,
            "",
            "<= 1.2",
        ),
    ]


def _inference(model: nn.Module, repeats: int) -> list[dict[str, Any]]:
    from ecgnb.models.lowering import to_precision

    x = torch.randn(BATCH, LEADS, SAMPLES, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        flops = _flops(model, x)
        plain = Plain(model)
        difference = float((plain(x) - model(x)).abs().max())
        if difference > 1e-4:
            raise AssertionError(f"the plain formulation differs by {difference}")
        ours, theirs, product = _by_turns(
            [lambda: model(x), lambda: plain(x), _product(torch.float32)], repeats
        )
        rate = 2 * TOKENS * DIM * FFN / product
        rows = _rows("float32", ours, flops, rate, "<= 1.15")
        rows.append(
            row("  against explicit attention and Conv1d", ours, theirs, "s", "")
        )
        half = to_precision(model, "bfloat16")
        ours, product = _by_turns([lambda: half(x), _product(torch.bfloat16)], repeats)
        return rows + _rows(
            "bfloat16", ours, flops, 2 * TOKENS * DIM * FFN / product, "<= 1.25"
        )


def _rows(
    name: str, seconds: float, flops: float, rate: float, target: str
) -> list[dict[str, Any]]:
    label = f"inference {BATCH} x {LEADS} x {SAMPLES}, {name}, {THREADS} threads"
    return [
        row(f"{label} ({seconds:.2f} s; {flops / 1e9:.0f} GFLOP at {rate / 1e9:.0f} GFLOP/s)", seconds, flops / rate,
            "s", ""),
        row("  over its limit", seconds * rate / flops, None, "", target),
    ]  # fmt: skip


def _flops(model: nn.Module, x: Tensor) -> float:
    """Count the operations of the plain formulation: convolutions, projections and
    attention, two per multiply-add.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        Plain(model)(x)
    return float(counter.get_total_flops())


def _product(dtype: torch.dtype) -> Callable[[], Tensor]:
    x, weight = (
        torch.randn(TOKENS, DIM, dtype=dtype),
        torch.randn(FFN, DIM, dtype=dtype),
    )
    return lambda: F.linear(x, weight)


def _by_turns(calls: list[Callable[[], Any]], repeats: int) -> list[float]:
    """Return the median seconds of each call; the product is short and runs many times
    per turn.
    """
    spent: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(repeats):
        for call, times in zip(calls, spent, strict=True):
            started, count = time.perf_counter(), 0
            while count == 0 or time.perf_counter() - started < 0.3:
                call()
                count += 1
            times.append((time.perf_counter() - started) / count)
    return [statistics.median(times) for times in spent]


class Plain(nn.Module):
    """The same network with explicit attention and a direct convolution."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        model = self.model
        tokens = model.project(model.stem_norm(model.stem(x).transpose(1, 2)))
        tokens = model.norm(tokens + model.position.act(model.position.direct(tokens)))
        for layer in model.layers:
            tokens = layer.attention_norm(
                tokens + self._attention(layer.attention, tokens)
            )
            tokens = layer.ffn_norm(tokens + layer.down(F.gelu(layer.up(tokens))))
        return model.head(tokens)

    @staticmethod
    def _attention(part: Any, x: Tensor) -> Tensor:
        query, key, value = (
            part._heads(part.query(x)),
            part._heads(part.key(x)),
            part._heads(part.value(x)),
        )
        weights = (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(-1)
        return part.out((weights @ value).transpose(1, 2).flatten(2))
