from __future__ import annotations

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
{before}
x = torch.randn(8, 12, 2000)
net = torch.nn.Sequential(torch.nn.Conv1d(12, 64, 3, padding=1), torch.nn.ELU(), torch.nn.MaxPool1d(2))
with torch.inference_mode():
    for _ in range(5): net(x)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20): net(x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(before: str) -> int:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MALLOC_")
    }
    command = [sys.executable, "-c", FAULTS.format(before=before)]
    return int(
        subprocess.run(
            command, capture_output=True, text=True, check=True, env=kept
        ).stdout
    )


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_memory_that_was_freed_is_used_again() -> None:
    """Not a matter of time: the number of pages that the system has to hand out
    again."""
    if (
        page_faults(
            "from ecgnb.models.base import keep_freed_memory; assert keep_freed_memory()"
        )
        > 500
    ):
        pytest.fail("the freed memory is given back to the system after each call")


def test_memory_settings_of_the_user_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ecgnb.models.base import keep_freed_memory

    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert keep_freed_memory.__wrapped__() is False
