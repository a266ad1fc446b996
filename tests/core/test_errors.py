from __future__ import annotations

import errno
import pickle

from ecgnb.core.errors import FileError, first_few


def test_first_few_counts_the_rest() -> None:
    assert first_few([1, 2, 3]) == "1, 2, 3"
    assert first_few(["a", "b", "c"], count=2) == "a, b and 1 more"
    assert first_few([]) == ""


def test_a_file_error_keeps_its_number_when_a_worker_process_raises_it() -> None:
    error = pickle.loads(pickle.dumps(FileError("the disk is full", errno.ENOSPC)))
    assert isinstance(error, FileError)
    assert (str(error), error.errno) == ("the disk is full", errno.ENOSPC)
