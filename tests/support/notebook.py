"""Execute the notebook of the documentation: `python -m tests.support.notebook FOLDER [--save]`.

It runs in FOLDER, where it leaves its files. `--save` stores the outputs in the notebook: do so after each change of
its cells.
"""

import argparse
import platform
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
_CELL_TIMEOUT_S = 1800


def executed(folder: Path) -> nbformat.NotebookNode:
    """Execute the notebook in a folder and return it with its outputs.

    Raises:
        CellExecutionError: A cell raises an error.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=_CELL_TIMEOUT_S,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return notebook


def main(arguments: list[str]) -> None:
    """Execute the notebook, as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.notebook")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args(arguments)
    notebook = executed(options.folder)
    if options.save:
        # The version of the kernel depends on the machine.
        notebook.metadata["language_info"] = {"name": "python"}
        text = nbformat.writes(notebook)
        assert platform.node() not in text
        NOTEBOOK.write_text(f"{text.rstrip()}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
