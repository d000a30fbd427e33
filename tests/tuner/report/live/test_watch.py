"""Follow a study that another process drives by its record alone."""

import dataclasses
import json
import sqlite3
import subprocess
import sys
from io import StringIO

import pytest
from rich.console import Console

from tests.support.arena import Arena
from tests.support.clock import Clock
from tests.tuner.conftest import epoch, play
from tuner.comparison.reevaluation import Reevaluation, plan_for
from tuner.contract import EndRecord, Outcome, encode
from tuner.contract.run_folder import RECORDS
from tuner.cost.actual import noted
from tuner.cost.estimate import estimate_cost
from tuner.exceptions import MachineError
from tuner.report.live.of_record import recorded_forecast, recorded_snapshot
from tuner.report.live.watch import watch
from tuner.storage.lease import TIMEOUT_S, HeartbeatWatch
from tuner.study import FinalRunFacts, StoredStudy, Timeline


@pytest.fixture
def forecast(study, space):
    known = noted(estimate_cost(space, slots=2), trials=6, slots=2)
    study.record_profiling(dataclasses.replace(study.profiling, estimate=known))
    return recorded_forecast(study)


def write_epochs(folder, *records):
    folder.mkdir(parents=True)
    (folder / RECORDS).write_text("".join(f"{encode(record)}\n" for record in records) + '{"cut o')


def test_the_forecast_is_that_of_the_driver(forecast):
    assert (forecast.slots, forecast.epochs, forecast.promote_epochs) == (2, 9, 20)


def test_a_search_is_shown_from_its_record(study, search, paths, forecast):
    play(search, search.suggest(), 0.5, 0.25)
    timeline = Timeline(paths.timeline)
    timeline.begin("search", 0, 0, slot=0).end("decided")
    request = search.suggest()
    timeline.begin("search", request.trial, 0, slot=0)
    write_epochs(paths.trial(request.trial), epoch(1), epoch(2, 0.1))
    snapshot = recorded_snapshot(study, paths, forecast)
    assert [phase.name for phase in snapshot.phases] == ["search", "re-evaluation", "final run"]
    assert snapshot.current == 0
    assert snapshot.phases[0].text == "1/6 trials: 1 running, 1 complete"
    (row,) = snapshot.runs
    assert (row.label, row.slot, row.epoch, row.epochs, row.metric, row.epoch_s) == ("1", 0, 2, 9, 0.1, 2.0)
    assert row.changes.startswith("lr0 ")
    assert snapshot.best == "trial 0: 0.2500, the default configuration"
    assert snapshot.events == ("trial 0 complete: mAP50-95 0.2500",)
    assert snapshot.left_s > 2.0 * forecast.promote_epochs


def test_nothing_is_shown_as_running_when_the_driver_is_dead(study, search, paths, forecast):
    Timeline(paths.timeline).begin("search", search.suggest().trial, 0, slot=0)
    snapshot = recorded_snapshot(study, paths, forecast, problem="process 7 on far appears to be dead")
    assert (snapshot.runs, snapshot.left_s) == ((), None)
    assert snapshot.notice == "process 7 on far appears to be dead"


def test_runs_on_fresh_seeds_and_the_final_run_follow(study, search, paths, terms, forecast):
    play(search, search.suggest(), 0.5, 0.25)
    play(search, search.suggest(), 0.5, 0.3)
    reevaluation = Reevaluation(study, plan_for(study, 8), paths, terms, slots=1)
    first, second = reevaluation.suggest(), reevaluation.suggest()
    number = reevaluation.number_of(first)
    reevaluation.report(number, epoch(9, 0.3))
    reevaluation.report(number, EndRecord(outcome=Outcome.COMPLETED))
    Timeline(paths.timeline).begin("re-evaluation", second.trial, second.seed, slot=1)
    snapshot = recorded_snapshot(study, paths, forecast)
    assert snapshot.phases[snapshot.current].text == "1 of at most 8 runs"
    assert snapshot.phases[snapshot.current].share == 1 / 8
    assert [row.label for row in snapshot.runs] == [f"{second.trial}, seed {second.seed}"]
    study.record_final_run(FinalRunFacts(trial=1, epochs=20, directory="/d", state="RUNNING"))
    Timeline(paths.timeline).begin("final run", 1, 0, slot=1)
    write_epochs(paths.final_run(1, 20), epoch(5, 0.3))
    snapshot = recorded_snapshot(study, paths, forecast)
    assert (snapshot.phases[snapshot.current].name, snapshot.phases[snapshot.current].share) == ("final run", 0.25)
    assert snapshot.left_s == 15 * 2.0


def change_lease(url, token=None, **holder):
    """Change the row of the lease, as another machine would."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    with connection:
        row = connection.execute("SELECT token, holder FROM tune_lease").fetchone()
        changed = json.dumps({**json.loads(row[1]), **holder})
        connection.execute("UPDATE tune_lease SET token = ?, holder = ?", (row[0] if token is None else token, changed))
    connection.close()


def test_a_driver_elsewhere_appears_to_be_dead_without_heartbeats(url, study):
    change_lease(url, host="far", system="another", pid=7)
    clock = Clock()
    driver = HeartbeatWatch(url, "s", clock.monotonic)
    driver.look()
    clock.sleep(TIMEOUT_S)
    driver.look()
    assert driver.problem() == ""
    clock.sleep(1.0)
    driver.look()
    assert driver.problem() == "process 7 on far appears to be dead: no heartbeat for 31 s"


def test_a_live_driver_on_this_machine_is_never_called_dead(url, study):
    clock = Clock()
    driver = HeartbeatWatch(url, "s", clock.monotonic)
    driver.look()
    clock.sleep(TIMEOUT_S + 1)
    assert driver.problem() == ""


def test_watching_a_study_that_nobody_drives_ends_at_once(study, url, paths):
    change_lease(url, token="")
    console = Console(file=StringIO(), width=200)
    watch(StoredStudy.open(url, "s", paths.root), paths, console, interval_s=0.01, plain=True)
    assert console.file.getvalue() == "s: finished; no trial is complete yet\n"


def test_a_killed_driver_is_reported_and_the_record_is_not_changed(study, search, url, paths):
    play(search, search.suggest(), 0.5, 0.25)
    study.flush(10.0)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    change_lease(url, pid=dead.pid)
    stored = StoredStudy.open(url, "s", paths.root)
    before = stored.trials()
    console = Console(file=StringIO(), width=200)
    with pytest.raises(MachineError, match=rf"process {dead.pid} on .+ has died; run the same command again"):
        watch(stored, paths, console, interval_s=0.01, plain=True)
    assert console.file.getvalue().startswith("trial 0 complete: mAP50-95 0.2500\nprocess ")
    assert stored.trials() == before


@pytest.mark.slow
def test_a_run_on_postgresql_is_followed_from_a_machine_without_its_folder(tmp_path, postgres):
    arena = Arena(tmp_path, trials=4, storage=postgres.new_database())
    driver = arena.start(epoch_seconds=0.3, promote=True)
    arena.wait_for(lambda: arena.events("epoch"))
    command = [sys.executable, "-m", "tuner", "status", "s", "--watch", "--interval", "0.2", "--home", "elsewhere"]
    follower = subprocess.run(
        command, cwd=tmp_path, env=arena.environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert driver.wait(60) == 0
    assert follower.returncode == 0, follower.stderr
    told = [line for line in follower.stdout.splitlines() if line.startswith("trial ")]
    assert {line.split()[1] for line in told} == {"0", "1", "2", "3"}
    assert not (tmp_path / "elsewhere").exists()
