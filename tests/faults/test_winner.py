"""Row +c: a search never claims more than its values show, and the default configuration takes part."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from tests.support.arena import Arena, assert_nothing_lost, assert_orderly_end
from tuner.exceptions import NoSuccessfulTrialError
from tuner.report.conclusion import conclusion_lines
from tuner.study import FinalRunFacts, StudyPaths, StudySpec, TrialRecord
from tuner.training.export import params_yaml
from tuner.training.final_run import choose_winner

NOT_BEATEN = (
    "# The default configuration was not beaten: keep it.",
    "The default configuration was not beaten: keep it.",
)
NOTHING_LEARNT = "Nothing was learnt in the search: the best mAP50-95 of "
NOTHING_TO_COMPARE_WITH = (
    "the default configuration: did not finish",
    "The default configuration is not complete, so there is nothing to compare with.",
)


@dataclass
class KnownTrials:
    """A study that consists of its trials."""

    spec: StudySpec
    records: tuple[TrialRecord, ...]
    name: str = "s"
    final_run: FinalRunFacts | None = None
    reevaluation: dict = field(default_factory=dict)

    def trials(self):
        return self.records


SPEC = StudySpec(
    space_name="small",
    space={},
    metric="mAP50-95",
    model="mamba-yolo-n",
    model_source="/models/mamba-yolo-n.yaml",
    portable_model="/models/mamba-yolo-n-untrained.pt",
    data="sample",
    data_source="/data/dataset.yaml",
    data_sha256="0" * 64,
    num_classes=6,
    num_images={"train": 80, "val": 20},
    num_parameters=1000,
    checkpoint_bytes=1000,
    epochs=9,
    rungs=(3,),
    reduction_factor=3,
    promote_epochs=20,
    seed=0,
    versions={},
)


def record(number, value):
    """Make a trial that ended with that value; without one, it was stopped at the rung with a high value."""
    return TrialRecord(
        number=number,
        state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
        value=value,
        curve={3: 2.0} if value is None else {3: 0.0, 9: value},
        sampled={"lr0": 0.01},
        params={"optimizer": "SGD", "lr0": 0.01, "batch": 16},
        reason="early stop" if value is None else "",
    )


PATHS = StudyPaths.of(Path("/studies"), "s")
VALUES = st.lists(st.none() | st.sampled_from([0.0, 0.25, 0.5]) | st.floats(0, 1), min_size=1, max_size=6)


@given(values=VALUES)
def test_a_winner_below_the_baseline_is_never_chosen_and_the_baseline_is_never_exported_silently(values):
    study = KnownTrials(SPEC, tuple(record(number, value) for number, value in enumerate(values)))
    complete = [value for value in values if value is not None]
    if not complete:
        with pytest.raises(NoSuccessfulTrialError):
            choose_winner(study)
        return
    winner = choose_winner(study)
    assert winner.trial.value == max(complete)
    exported = params_yaml(study, winner, 20)
    told = "\n".join(conclusion_lines(study, winner, PATHS))
    baseline = values[0]
    nothing_learnt = max(complete) < 0.00005
    assert [NOTHING_LEARNT in said for said in (exported, told)] == [nothing_learnt] * 2
    if nothing_learnt:
        return
    not_beaten = baseline is not None and baseline >= max(complete)
    assert [text in said for text, said in zip(NOT_BEATEN, (exported, told), strict=True)] == [not_beaten] * 2
    unknown = baseline is None
    assert [text in said for text, said in zip(NOTHING_TO_COMPARE_WITH, (exported, told), strict=True)] == [unknown] * 2
    if not unknown:
        assert f"the default configuration: {baseline:.4f}\n" in exported
        assert not_beaten or f"{max(complete) - baseline:.4f} ahead of the default configuration on one seed" in told


@pytest.fixture
def arena(tmp_path, ray_cluster):
    """Return an arena with three trials; the first one, the default configuration, is the best possible."""
    arena = Arena(tmp_path, trials=3, address=ray_cluster)
    yield arena
    arena.kill_everything()


@pytest.mark.slow
def test_a_search_that_finds_nothing_better_than_the_baseline_says_so_in_every_output(arena):
    code, output = arena.run()
    assert_orderly_end(code, output, 0)
    assert NOT_BEATEN[1] in output.splitlines()
    assert NOT_BEATEN[0] in (arena.study_folder / "params.yaml").read_text().splitlines()
    assert assert_nothing_lost(arena, most_redone=0)["best"]["trial"] == 0
    assert "the default configuration" in tune(arena, "status", "s")
    tune(arena, "export", "s", "-o", "exported.yaml")
    assert NOT_BEATEN[0] in (arena.folder / "exported.yaml").read_text().splitlines()


def tune(arena, *arguments):
    command = [sys.executable, "-m", "tuner", *arguments]
    done = subprocess.run(command, cwd=arena.folder, env=arena.environment, capture_output=True, text=True, check=True)
    return done.stdout
