"""Open the files of a study in the dashboard, and no file outside its folder."""

import pytest

from tests.tuner.dashboard.conftest import PNG, ask, detail
from tuner.dashboard import catalogue as catalogue_module
from tuner.study import TrialFacts


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch):
    monkeypatch.setattr(catalogue_module, "FRESH_S", 0.0)


def offered(item):
    return {each["filename"]: each["artifact_id"] for each in item["artifacts"]}


def opened(app, catalogue, name):
    number = catalogue.study_number("s")
    return ask(app, f"/artifacts/{number}/{offered(detail(app, catalogue))[name]}")


def test_parameters_sheets_and_results_of_the_final_run_are_offered(app, catalogue, filled, paths):
    (paths.root / "preview").mkdir()
    (paths.root / "preview" / "weak.jpg").write_bytes(b"sheet")

    names = {"report.html", "params.yaml", "preview-weak.jpg", "final-run-results.png", "final-run-best.pt"}
    assert set(offered(detail(app, catalogue))) == names
    assert opened(app, catalogue, "final-run-best.pt")[2] == b"weights"
    status, headers, content = opened(app, catalogue, "final-run-results.png")
    assert (status, headers["Content-Type"], content) == (200, "image/png", PNG)


def test_the_report_is_written_when_it_is_opened(app, catalogue, filled, paths):
    status, headers, content = opened(app, catalogue, "report.html")

    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    assert b"ahead of the default configuration" in content
    assert not paths.report.exists()


def test_a_page_among_the_files_is_confined_and_other_sites_cannot_read_it(app, catalogue, filled):
    _, headers, _ = opened(app, catalogue, "params.yaml")

    assert headers["Content-Security-Policy"].startswith("sandbox")
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_log_of_a_trial_is_among_its_files(app, catalogue, filled):
    trial = detail(app, catalogue)["trials"][0]
    key = offered(trial)["trainer.log"]
    status, _, content = ask(app, f"/artifacts/{catalogue.study_number('s')}/{trial['trial_id']}/{key}")

    assert (status, content) == (200, b"epoch 1\n")


def test_files_outside_the_folder_are_never_offered(app, catalogue, study, filled, paths, tmp_path):
    secret = tmp_path / "secret.log"
    secret.write_text("secret")
    link = paths.root / "trainer.log"
    link.symlink_to(secret)
    study.record(filled.paused, TrialFacts(log=str(secret), directory="/etc"))
    study.record(filled.running, TrialFacts(log=str(link), directory=f"{paths.root}/../.."))
    study.flush(10)

    trials = detail(app, catalogue)["trials"]
    assert [offered(trial) for trial in trials[3:]] == [{}, {}]


def test_a_removed_or_unknown_file_is_not_found(app, catalogue, filled, paths):
    number = catalogue.study_number("s")
    key = offered(detail(app, catalogue))["params.yaml"]
    paths.params.unlink()

    assert ask(app, f"/artifacts/{number}/{key}")[0] == 404
    assert ask(app, f"/artifacts/{number}/{'0' * 32}")[0] == 404
    assert ask(app, "/artifacts/1/0")[0] in {404, 500}
