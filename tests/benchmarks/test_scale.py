"""Large studies for measuring: copies that every command reads."""

import pytest
from sqlalchemy import text

from benchmarks import scale
from tests.support.synthetic_study import synthetic_study
from tuner.storage.database import open_storage
from tuner.study import StoredStudy


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request):
    return None if request.param == "sqlite" else request.getfixturevalue("postgres").new_database()


def test_a_large_study_consists_of_copies_of_a_small_one(tmp_path, monkeypatch, storage):
    monkeypatch.setattr(scale, "_ORIGINAL", 12)
    (paths,) = scale.large_studies(tmp_path, [30], storage)
    stored = (
        StoredStudy.in_folder(paths.root) if storage is None else StoredStudy.open(storage, "trials-30", paths.root)
    )
    trials = stored.trials()
    assert [trial.number for trial in trials] == list(range(30))
    for trial in trials:
        original = trials[trial.number % 12]
        assert (trial.params, trial.curve, trial.value) == (original.params, original.curve, original.value)
        assert trial.facts == original.facts


def test_studies_of_one_database_are_copied_apart(tmp_path, monkeypatch, postgres):
    monkeypatch.setattr(scale, "_ORIGINAL", 12)
    url = postgres.new_database()
    scale.large_studies(tmp_path, [12, 24, 30], url)
    with open_storage(url).engine.connect() as connection:
        (counted,) = connection.execute(text("select count(*) from trials")).one()
    assert counted == 66


def test_the_cost_of_a_process_is_measured_and_a_failure_is_an_error():
    found = scale.cost(["-c", "x = bytearray(300 * 2**20); [i for i in range(10**6)]"])
    assert found.memory_mib > 290
    assert found.cpu_s > 0
    with pytest.raises(RuntimeError, match="exit code 3"):
        scale.cost(["-c", "raise SystemExit(3)"])


def test_many_studies_are_copies_of_one_with_their_files(tmp_path, storage):
    original = synthetic_study(tmp_path, trials=12, slots=2, name="study-0", storage=storage)
    for number in (1, 2):
        scale._copy_study(original, f"study-{number}", storage)
    found = [
        StoredStudy.in_folder(tmp_path / name) if storage is None else StoredStudy.open(storage, name, tmp_path / name)
        for name in ("study-0", "study-1", "study-2")
    ]
    assert found[0].trials()[0].facts.log != found[1].trials()[0].facts.log
    assert [trial.curve for trial in found[0].trials()] == [trial.curve for trial in found[2].trials()]
    assert all(study.spec.metric == "mAP50-95" for study in found)


@pytest.mark.slow
def test_a_search_that_is_a_copy_adds_trials_on_ray(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "_ORIGINAL", 12)
    monkeypatch.setattr(scale, "_MORE", 2)
    (row,) = scale.measured_searches(tmp_path, [20, 30])
    assert row[0] == "2 more trials"
    for trials in (20, 30):
        assert len(StoredStudy.in_folder(tmp_path / f"trials-{trials}").trials()) == trials + 2
