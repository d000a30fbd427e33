"""Provide queues of a real Ray cluster."""

import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import SCRIPTED_TRAINER
from tests.support.arena import SPACE, note_values
from tests.support.ray_head import ROOT, RayHead
from tuner.study_queue.table import opened_queue, queue_url

EPOCH_S = 2.0
"""Time that is long enough for a test to act before a study ends."""


class Team:
    """Users of a cluster with their own folder, on the command line."""

    def __init__(self, folder, head, studies):
        self.folder, self.head, self.studies = folder, head, studies
        self.journals = folder / "journals"
        self.journals.mkdir()
        (folder / "space.yaml").write_text(SPACE % 8)

    def tune(self, *arguments, environment=None):
        """Return exit code and output of a command."""
        ours = {**self.head.environment, "RAY_API_SERVER_ADDRESS": self.head.url, "PYTHONPATH": str(ROOT)}
        for name in ("TUNE_HOME", "TUNE_STORAGE"):
            ours.pop(name, None)
        done = subprocess.run(
            [sys.executable, "-m", "tuner", *arguments],
            cwd=self.folder,
            env={**ours, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout + done.stderr

    def submit(self, study, *more, trials=8, epoch_s=EPOCH_S):
        """Submit a study that the scripted trainer trains."""
        trainer = f"{sys.executable} {SCRIPTED_TRAINER} --epoch-seconds {epoch_s} --journal {self.journals / study}"
        (self.folder / "space.yaml").write_text(SPACE % trials)
        code, output = self.tune(
            "submit", "--space=space.yaml", f"--study={study}", f"--trainer={trainer}", "--no-promote", *more
        )
        assert code == 0, output
        return output

    def entries(self):
        """Return all entries of the queue by study, the last one of each, without the seconds of a job."""
        with opened_queue(queue_url({"TUNE_HOME": str(self.studies)})) as table:
            return {entry.submission.study: entry.described() for entry in table.entries(all_of_them=True)}

    def epochs(self, study):
        """Return trial and epoch of each trained epoch."""
        return [(event["trial"], event["epoch"]) for event in self._played(study)]

    def _played(self, study):
        journal = self.journals / study
        lines = journal.read_text().splitlines() if journal.exists() else []
        events = [json.loads(line) for line in lines if line.endswith("}")]
        return [event for event in events if event["event"] == "epoch"]

    def wait_for(self, condition, timeout_s=90):
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline, f"it did not come to that in {timeout_s} s: {self.entries()}"
            time.sleep(0.2)
        return found

    def over(self, *studies):
        """Wait until these studies are over, and return their entries."""

        def ended():
            entries = self.entries()
            over = all(entries[study]["state"] in ("done", "failed", "stopped") for study in studies)
            return over and entries

        return self.wait_for(ended, timeout_s=180)

    def status(self, study):
        """Return the status of a study as the command prints it on the cluster."""
        code, output = self.tune("status", study, "--json", environment={"TUNE_HOME": str(self.studies)})
        assert code == 0, output
        return json.loads(output)

    def assert_nothing_lost(self, study, *, trials=8, most_redone=0):
        """Check that a study is complete, and how many epochs were trained twice."""
        states = [trial["state"] for trial in self.status(study)["trials"]]
        assert len(states) == trials
        assert set(states) <= {"COMPLETE", "PRUNED"}
        played = self.epochs(study)
        redone = len(played) - len(set(played))
        assert redone <= most_redone, sorted(played)
        times = [event["time"] for event in self._played(study)]
        note_values(max(later - earlier for earlier, later in pairwise(times)), redone)


@pytest.fixture
def team(tmp_path):
    studies = tmp_path / "studies"
    with (
        tempfile.TemporaryDirectory(prefix="r-") as short,  # for Ray's sockets
        RayHead(Path(short), {"TUNE_HOME": str(studies)}, num_cpus=4) as head,
    ):
        yield Team(tmp_path, head, studies)
