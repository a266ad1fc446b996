"""`open_bundle`: whatever can predict, by where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.folder import DESCRIPTION, load_bundle
from ecgnb.errors import CheckpointError
from ecgnb.foundation.hub import is_hub_name
from ecgnb.port.folder import is_port


def open_bundle(where: str | Path, revision: str | None = None, classes: Sequence[str] = ()) -> Bundle:
    """Load a bundle; or a port with its contract, or a checkpoint of ECG-FM, as one.

    Args:
        where: folder of a bundle or of a port, a checkpoint file, or on the Hugging Face hub ``"owner/repository"`` of
            a bundle or ``"owner/repository/file.pt"`` of a checkpoint.
        revision: commit, tag or branch on the hub.
        classes: names of a checkpoint's outputs, for one whose labels were not published; others bring their own.

    Raises:
        CheckpointError: there is nothing of the kind, or it is damaged.
        ConfigError: a port has no contract, or a checkpoint's labels have no known names.
    """
    if is_port(where):
        from ecgnb.deploy.ported import bundle_of_port
        from ecgnb.port.folder import load_port

        return bundle_of_port(load_port(where))
    if Path(where).is_file() or (is_hub_name(str(where)) and str(where).count("/") > 1):
        from ecgnb.deploy.foundation import bundle_of_ecg_fm
        from ecgnb.foundation.ecg_fm import load_ecg_fm

        return bundle_of_ecg_fm(load_ecg_fm(where, revision=revision), classes)
    if is_hub_name(str(where)):
        from ecgnb.deploy.hub import from_hub

        return from_hub(str(where), revision)
    if not Path(where).exists():
        raise CheckpointError(f"There is no file or folder {where}. Check its name, or `ecgnb runs` for a run's.")
    return load_bundle(where)


def is_bundle(where: str | Path) -> bool:
    """Return whether `open_bundle` knows what lies there, without reading it."""
    path = Path(where)
    return path.is_file() or is_port(where) or (path / DESCRIPTION).is_file() or is_hub_name(str(where))
