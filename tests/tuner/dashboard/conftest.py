"""Provide a study with trials in every state, and its dashboard as a WSGI application and as a server."""

import io
import json
from types import SimpleNamespace
from wsgiref.util import setup_testing_defaults

import pytest

from tests.tuner.conftest import driven, play
from tuner.dashboard.catalogue import Catalogue
from tuner.dashboard.server import application
from tuner.search.search import Search
from tuner.study import FinalRunFacts, TrialFacts

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301010018dd8db0"
    "0000000049454e44ae426082"
)


def fill(study, space, paths, terms):
    """Add trials: 0 and 1 complete, 2 stopped, 3 paused, 4 in training; add the final run of trial 1 with files."""
    search = Search(study, space, paths, terms)
    for at_rung, at_end in ((0.1, 0.25), (0.2, 0.3), (0.05, 0.1)):
        request = search.suggest()
        log = paths.trial(request.trial) / "trainer.log"
        log.parent.mkdir(parents=True)
        log.write_text("epoch 1\n")
        study.record(request.trial, TrialFacts(log=str(log), directory=str(log.parent)))
        play(search, request, at_rung, at_end)
    paused, running = search.suggest().trial, search.suggest().trial
    study.pause(paused, 3, 0.1, TrialFacts(epochs=3, seconds=6.0, device="CPU"))
    study.record(running, TrialFacts(device="CPU", attempts=1))
    run = paths.final_run(1, 20)
    (run / "weights").mkdir(parents=True)
    (run / "results.png").write_bytes(PNG)
    (run / "weights" / "best.pt").write_bytes(b"weights")
    paths.params.write_text("lr0: 0.1\n")
    done = FinalRunFacts(trial=1, epochs=20, directory=str(run), state="COMPLETE", metrics={"mAP50-95": 0.4},
                         checkpoint=str(run / "weights" / "best.pt"))  # fmt: skip
    study.record_final_run(done)
    study.flush(10)
    return SimpleNamespace(paused=paused, running=running)


@pytest.fixture
def filled(study, space, paths, terms):
    """Yield a study that this process drives."""
    return fill(study, space, paths, terms)


@pytest.fixture
def left(url, spec, space, paths, terms):
    """Return the same study without its driver."""
    with driven(url, spec, paths) as study:
        return fill(study, space, paths, terms)


@pytest.fixture
def catalogue(tmp_path):
    return Catalogue(tmp_path)


@pytest.fixture
def app(catalogue):
    return application(catalogue, None, is_read_only=False)


def ask(app, path, method="GET", body=None, **environment):
    """Return status, headers and content of an answer."""
    environ = {"REQUEST_METHOD": method, "HTTP_HOST": "127.0.0.1:8080"}
    environ["PATH_INFO"], _, environ["QUERY_STRING"] = path.partition("?")
    if body is not None:
        content = json.dumps(body).encode()
        environ |= {"CONTENT_LENGTH": str(len(content)), "CONTENT_TYPE": "application/json"}
        environ["wsgi.input"] = io.BytesIO(content)
    setup_testing_defaults(environ)
    answer = {}

    def start(status, headers, *rest):
        answer.update(status=int(status.split()[0]), headers=dict(headers))

    content = b"".join(app(environ | environment, start))
    return answer["status"], answer["headers"], content


def detail(app, catalogue, name="s"):
    """Return the dashboard's answer about a study."""
    status, _, content = ask(app, f"/api/studies/{catalogue.study_number(name)}")
    assert status == 200, content
    return json.loads(content)
