"""Check submissions: no command, no file outside the roots, no space that exceeds the limits of a check."""

import os
import time

import pytest

from tests.support.team_service import SPACE
from tuner.cli.passed_on import parsed_run
from tuner.contract import METRICS
from tuner.study_queue.entries import MOST_SPACE_BYTES
from tuner.team_service import space_check, submissions
from tuner.team_service.answers import Problem
from tuner.team_service.data_roots import DataRoots
from tuner.team_service.schema import MOST_EPOCHS, SpaceRequest, SubmitRequest


@pytest.fixture
def bob(empty_team):
    with empty_team.client("bob") as client:
        yield client


def body(**more):
    return {"study": "mine", "space": SPACE, "data": "sample", **more}


def test_a_submission_becomes_arguments_of_tune_run_and_nothing_else(empty_team, bob):
    settings = {"trials": 5, "epochs": 6, "seed": 3, "metric": "mAP50", "reevaluation_runs": 0, "promote_epochs": 2,
                "max_hours": 1.5, "gpu_hours": 2.0, "no_improvement": 4, "gpus": 2, "priority": -5, "promote": False,
                "model": "yolov8n.yaml", "space_name": "tiny"}  # fmt: skip
    assert bob.post("/api/v1/studies", json=body(**settings)).status_code == 201
    (entry,) = empty_team.table.entries()
    mine = entry.submission
    assert (mine.study, mine.owner, mine.space_name, mine.space) == ("mine", "bob", "tiny", SPACE)
    assert (mine.priority, mine.most) == (-5, 2)
    assert mine.arguments == (
        "--data=sample", "--model=yolov8n.yaml", "--trials=5", "--epochs=6", "--seed=3", "--metric=mAP50",
        "--reevaluation-runs=0", "--promote-epochs=2", "--max-hours=1.5", "--gpu-hours=2.0", "--no-improvement=4",
        "--no-promote",
    )  # fmt: skip
    given, _ = parsed_run([*mine.arguments, "--space=x.yaml"], "tune submit")
    assert (given["trials"], given["promote"], given["max_hours"]) == (5, False, 1.5)


@pytest.mark.parametrize(
    "more",
    [{"trainer": "sh -c id"}, {"on_end": "id"}, {"notify": "http://x"}, {"arguments": ["--trainer=id"]},
     {"log": "wandb"}, {"owner": "ann"}, {"home": "/"}, {"storage": "sqlite:///x"}, {"address": "x"},
     {"warm_start": "cats"}, {"settings": ["x=1"]}],
)  # fmt: skip
def test_a_submission_cannot_set_anything_else(empty_team, bob, more):
    answer = bob.post("/api/v1/studies", json=body(**more))
    assert answer.status_code == 422
    assert [problem["field"] for problem in answer.json()["problems"]] == list(more)
    assert empty_team.table.entries() == []


@pytest.mark.parametrize(
    "more",
    [{"data": "--trainer=id"}, {"model": "--trainer=id"}, {"model": "x --trainer=id"}, {"metric": "--trainer=id"},
     {"study": "--trainer"}, {"study": "../x"}, {"study": "a/b"}, {"study": ""}, {"study": "a\n"}, {"study": ".x"},
     {"space_name": "../../x"}, {"space_name": "a.yaml"}, {"trials": "5 --trainer=id"}, {"seed": True}, {"gpus": 0},
     {"priority": 101}, {"epochs": 10**9}, {"max_hours": -1}, {"reevaluation_runs": 3}],
    ids=str,
)  # fmt: skip
def test_no_value_can_become_another_option_or_leave_its_range(empty_team, bob, more):
    assert bob.post("/api/v1/studies", json=body(**more)).status_code == 422
    assert empty_team.table.entries() == []


@pytest.fixture
def files(tmp_path):
    """Create files inside and outside a root, with links in both directions."""
    root, other = tmp_path / "root", tmp_path / "root-other"
    for folder in (root / "sub", other):
        folder.mkdir(parents=True)
        (folder / "data.yaml").touch()
        (folder / "best.pt").touch()
    (root / "out.yaml").symlink_to(other / "data.yaml")
    (root / "out").symlink_to(other)
    (root / "in.yaml").symlink_to(root / "sub" / "data.yaml")
    (root / "loop.yaml").symlink_to(root / "loop.yaml")
    (root / "notes.txt").touch()
    return root, other


def test_data_and_models_below_a_root_are_found_and_their_links_resolved(files):
    root, _ = files
    roots = DataRoots([root])
    assert roots.data(f"{root}/sub/../in.yaml") == str(root / "sub" / "data.yaml")
    assert roots.data(f"{root}/sub") == str(root / "sub")
    assert roots.model(f"{root}/sub/best.pt") == str(root / "sub" / "best.pt")
    assert [roots.data("sample"), roots.data("sample:coco"), roots.model("mamba-yolo-t")] == [
        "sample", "sample:coco", "mamba-yolo-t"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    ["{other}/data.yaml", "{root}/../root-other/data.yaml", "{root}/out.yaml", "{root}/out/data.yaml",
     "{root}/loop.yaml", "{root}/missing.yaml", "/etc/passwd", "/proc/self/environ", "sub/data.yaml", "../x.yaml",
     "~/x.yaml", "{root}/notes.txt", "{root}/\x00.yaml", "{root}/sub/data.yaml\n", "file:///etc/passwd",
     "http://169.254.169.254/x.yaml", "s3://bucket/x.yaml", "", "{root}-other/data.yaml", "sample/../x", "samples"],
)  # fmt: skip
def test_no_other_file_can_be_named_as_data_or_model(files, path):
    root, other = files
    roots, text = DataRoots([root]), path.format(root=root, other=other)
    assert isinstance(roots.data(text), Problem)
    if "/" in text:
        assert isinstance(roots.model(text), Problem)
    assert isinstance(DataRoots([]).data(text), Problem)


def test_an_answer_does_not_say_whether_a_file_elsewhere_exists(files):
    root, other = files
    texts = [DataRoots([root]).data(f"{other}/{name}").text.replace(name, "") for name in ("data.yaml", "none.yaml")]
    assert texts[0] == texts[1]


def test_weights_by_bare_name_are_refused_because_the_driver_would_look_in_its_own_folder():
    assert isinstance(DataRoots([]).model("best.pt"), Problem)


@pytest.mark.parametrize("line", ["data: /etc/passwd", "model: /etc/evil.pt", "log: wandb"])
def test_data_and_models_in_a_space_obey_the_same_rules(empty_team, bob, line):
    answer = bob.post("/api/v1/studies", json={"study": "mine", "space": f"{line}\n{SPACE}"})
    assert answer.status_code == 422
    assert line.partition(":")[0] in answer.text
    assert empty_team.table.entries() == []


def test_a_data_set_of_the_space_below_a_root_is_used(empty_team, bob, tmp_path):
    file = tmp_path / "data" / "set.yaml"
    file.touch()
    assert bob.post("/api/v1/studies", json={"study": "mine", "space": f"data: {file}\n{SPACE}"}).status_code == 201
    assert empty_team.table.entries()[0].submission.arguments == (f"--data={file}",)


def test_a_check_reports_problems_by_line_and_an_estimate_in_epochs(bob):
    wrong = SPACE.replace("lr0: {float: [0.0001, 0.9]", "lr0: {float: [0.9, 0.0001]").replace("batch", "bach")
    found = bob.post("/api/v1/spaces/check", json={"space": wrong, "data": "sample"}).json()
    assert {problem["line"] for problem in found["problems"]} >= {5, 7}
    assert found["estimate"] is None
    found = bob.post("/api/v1/spaces/check", json={"space": SPACE, "data": "sample", "gpus": 2}).json()
    assert found["problems"] == []
    estimate = found["estimate"]
    assert (estimate["trials"], estimate["slots"]) == (6, 2)
    assert 9 <= estimate["trained"][0] <= estimate["trained"][1] <= 54
    assert list(estimate["reach"]) == ["3", "9"]


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]" for n in range(8)
)
HOSTILE = {
    "an alias bomb": BOMB,
    "a tag that names a class": "!!python/object/apply:os.system ['touch /tmp/pwned']\n",
    "a deep nest": "[" * 30_000,
    "a wide list": "x: [" + "1," * 30_000 + "]",
    "a huge number": SPACE.replace("epochs: 9", "epochs: 2147483647"),
    "a number of many digits": SPACE.replace("trials: 6", f"trials: {'9' * 4000}"),
    "a search that never ends": SPACE.replace("epochs: 9, rungs: [3]", "epochs: 10000").replace("ls: 6", "ls: 10000"),
    "too many trials": SPACE.replace("trials: 6", "trials: 2000000000"),
    "a choice of everything": SPACE.replace("batch: 16", f"batch: {{choice: {list(range(1, 9000))}}}"),
    "a long line": "x: " + "y" * 60_000,
    "binary": "\x00\x01\x02" * 1000,
    "directives": "%YAML 1" + "9" * 20_000 + ".2\n---\n",
    "a long tag": "!" + "%41" * 15_000 + " x",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_space_costs_a_bounded_time_and_cannot_be_queued(empty_team, bob, name):
    began = time.monotonic()
    answer = bob.post("/api/v1/studies", json=body(space=HOSTILE[name]))
    assert answer.status_code == 422 or name == "a search that never ends"
    assert time.monotonic() - began < 2 * submissions._PATIENCE_S
    assert not os.path.exists("/tmp/pwned")  # noqa: PTH110


def test_a_check_that_takes_too_long_or_too_much_is_killed_and_reported(monkeypatch):
    monkeypatch.setattr(submissions, "_PATIENCE_S", 0.05)
    found = submissions._in_process({"space": SPACE, "space_name": "s", "gpus": 1, "is_estimated": True})
    assert "took more than" in found["problems"][0]["text"]


def test_a_check_has_no_secret_in_its_environment(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    monkeypatch.setenv("TUNE_STORAGE", "postgresql://u:secret@h/d")
    seen = {}
    monkeypatch.setattr(
        submissions.subprocess, "run", lambda *args, env, **rest: seen.update(env) or pytest.fail("stop", pytrace=False)
    )
    with pytest.raises(pytest.fail.Exception):
        submissions._in_process({})
    assert "secret" not in str(seen)
    assert {"RAY_AUTH_TOKEN", "TUNE_STORAGE"}.isdisjoint(seen)


def test_a_space_of_more_than_64_kib_is_refused(bob):
    for space in ("#" * (MOST_SPACE_BYTES + 1), "# " + "ä" * (MOST_SPACE_BYTES // 2) + "\n" + SPACE):
        assert bob.post("/api/v1/studies", json=body(space=space)).status_code == 422


def test_the_description_knows_the_metrics_and_limits_of_the_check():
    schema = SpaceRequest.model_json_schema()["properties"]
    assert tuple(schema["metric"]["anyOf"][0]["enum"]) == METRICS
    assert space_check.MOST["epochs"] == MOST_EPOCHS
    assert set(space_check.SETTINGS) < set(SubmitRequest.model_fields)


def test_a_user_has_a_maximum_of_studies_in_the_queue(empty_team, bob, monkeypatch):
    monkeypatch.setattr(submissions, "MOST_ACTIVE", 1)
    assert bob.post("/api/v1/studies", json=body()).status_code == 201
    answer = bob.post("/api/v1/studies", json=body(study="second"))
    assert answer.status_code == 409
    assert "the maximum" in answer.json()["error"]


def test_a_study_in_the_queue_cannot_be_submitted_twice(bob):
    assert [bob.post("/api/v1/studies", json=body()).status_code for _ in range(2)] == [201, 409]
