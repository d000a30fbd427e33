"""The notebook of the documentation: each cell runs, and the stored outputs are those of a real run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SCRIPTED_TRAINER

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]


def execute(folder: Path, **environment: str) -> None:
    """Execute it in its own process, because Jupyter's sockets outlive a kernel, which is an error here."""
    command = [sys.executable, "-m", "tests.support.notebook", str(folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "params.yaml").exists()
    assert (folder / "report.html").exists()


def test_each_cell_runs(tmp_path):
    execute(tmp_path, TUNE_TRAINER=f"{sys.executable} {SCRIPTED_TRAINER} --epoch-seconds 0.02")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_each_cell_runs_with_real_training(tmp_path):
    execute(tmp_path)
    assert list(tmp_path.glob("studies/notebook/**/best.pt"))


def test_every_cell_is_stored_as_one_run_from_top_to_bottom_leaves_it():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    kinds = {output.get("name", output["output_type"]) for cell in CODE for output in cell["outputs"]}
    assert kinds == {"stdout", "execute_result"}, "no warning, no error"
    assert "trial 0 complete" in str(CODE)


def test_the_stored_outputs_are_small_and_name_no_machine():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 40_000
    assert re.findall(r"/(?:home|tmp|root|work|usr|var|Users)/[^\s\"']*", text) == []
    assert re.findall(r"\b(?:\d{1,3}\.){3}\d{1,3}\b", text) == [], "addresses"
