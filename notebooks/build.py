"""Write the notebooks from their sources in `notebooks/source` (py:percent, one cell after the other).

python notebooks/build.py              write the notebooks that people open, without outputs
python notebooks/build.py --check      fail when a notebook differs from its source
python notebooks/build.py --reference  execute the reference notebooks of the tests and keep their outputs
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import jupytext
import nbformat

HERE = Path(__file__).resolve().parent
REFERENCE = HERE.parent / "tests" / "notebooks" / "reference"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def build(source: Path) -> nbformat.NotebookNode:
    """Return the notebook of one source file, with cell names that depend on nothing but their position."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    )
    for position, cell in enumerate(notebook.cells):
        cell.id = f"{source.stem.replace('_', '-')}-{position:02d}"
    return notebook


def text_of(notebook: nbformat.NotebookNode) -> str:
    """Return a notebook as the text of its file."""
    return nbformat.writes(notebook, version=4) + "\n"


def write_or_check(check: bool) -> int:
    """Write every notebook, or with ``check`` count those that differ from their source."""
    stale = 0
    for source in sorted((HERE / "source").glob("*.py")):
        target = HERE / f"{source.stem}.ipynb"
        text = text_of(build(source))
        if check:
            differs = not target.is_file() or target.read_text(encoding="utf-8") != text
            stale += differs
            print(
                f"{target.name}: {'differs from its source' if differs else 'as its source'}"
            )
        else:
            target.write_text(text, encoding="utf-8", newline="\n")
            print(f"wrote {target.name}")
    return stale


def execute_references() -> None:
    """Execute each reference notebook in a fresh kernel and store it with its outputs."""
    for name in [name for name in os.environ if name.startswith("ECGNB_")]:
        del os.environ[
            name
        ]  # the references hang on no parameter of whoever executes them
    os.environ["OMP_NUM_THREADS"] = "1"
    for source in sorted((REFERENCE / "source").glob("*.py")):
        notebook = execute(build(source), REFERENCE)
        target = REFERENCE / f"{source.stem}.ipynb"
        target.write_text(text_of(notebook), encoding="utf-8", newline="\n")
        print(f"executed {target.name}")


def execute(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Execute a notebook and keep of it what is the same on every machine: no times, versions and pixels."""
    from nbclient import NotebookClient

    metadata = nbformat.from_dict(notebook.metadata)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(
        notebook,
        timeout=300,
        resources=resources,
        extra_arguments=["--log-level=ERROR"],
    ).execute()
    notebook.metadata = metadata
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/png", None)  # nbval does not compare it
    return notebook


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="fail when a notebook differs from its source",
    )
    parser.add_argument(
        "--reference",
        action="store_true",
        help="execute the reference notebooks and keep the outputs",
    )
    options = parser.parse_args()
    if options.reference:
        execute_references()
        return 0
    return write_or_check(options.check)


if __name__ == "__main__":
    sys.exit(main())
