from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ecgnb.port.proof import oracle


def test_oracle_script_stands_alone() -> None:
    """The interpreter that has Keras need not have ecgnb, and ecgnb's own never loads
    Keras."""
    text = oracle.SCRIPT.read_text(encoding="utf-8")
    assert "ecgnb" not in "".join(
        line
        for line in text.splitlines()
        if line.lstrip().startswith(("import", "from"))
    )
    package = Path(oracle.__file__).parent
    users = [
        path.name
        for path in package.rglob("*.py")
        if "import oracle_script" in path.read_text(encoding="utf-8")
    ]
    assert not users


def test_oracle_script_says_when_there_is_no_keras() -> None:
    code = (
        "import importlib.util, runpy, sys\n"
        "importlib.util.find_spec = lambda name: None\n"
        f"sys.argv = ['script', 'model.keras', 'model.keras', '3', 'in.npz', 'out.npz']\n"
        f"runpy.run_path({str(oracle.SCRIPT)!r}, run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == oracle.NO_KERAS
