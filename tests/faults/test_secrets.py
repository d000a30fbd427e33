"""Row 25: the password of the database is in no file, on no command line and in no message.

The environment of the driver may hold it: that is where a user puts it, and only that user can read it.
"""

import json
import secrets
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.arena import Arena, assert_orderly_end
from tests.support.leaks import leaks

COMMANDS = {
    "tune": (str(Path(sys.executable).parent / "tune"),),
    "python -m tuner": (sys.executable, "-P", "-m", "tuner"),
}


@pytest.fixture
def canary():
    """Return unique letters, which stay the same however a password with them is quoted."""
    return secrets.token_hex(8)


@pytest.fixture
def password(canary):
    """Return a password with characters that must be quoted in a URL."""
    return f"Ca/na{canary}+ry%"


@pytest.fixture
def url(postgres, password):
    """Yield an empty database of a user with that password."""
    name = f"canary_{secrets.token_hex(6)}"
    postgres.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    postgres.execute(f"CREATE DATABASE {name} OWNER {name}")
    return postgres.url(name, user=name, password=quote(password, safe=""))


@pytest.fixture
def arena(tmp_path):
    """Return an arena with three trials that starts its own Ray, so that what Ray keeps is searched too."""
    arena = Arena(tmp_path, trials=3)
    yield arena
    arena.kill_everything()


def leaks_of(arena, canary, driver=None):
    """List the places where the canary should not be; the driver's own environment may have it."""
    found = leaks(canary, [arena.folder], [process.pid for process in arena.processes()])
    return [line for line in found if driver is None or not line.startswith(f"environ of process {driver.pid} ")]


def tune(arena, *arguments, storage=None, command=COMMANDS["python -m tuner"]):
    """Run a verb to its end, and return its exit code and all of its output."""
    environment = {**arena.environment, **({"TUNE_STORAGE": storage} if storage else {})}
    done = subprocess.run(
        [*command, *arguments], cwd=arena.folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_password_of_a_run_is_only_in_the_environment_of_its_driver(arena, url, canary):
    arena.environment["TUNE_STORAGE"] = url
    process = arena.start(epoch_seconds=0.2, promote=True, more=["--debug"])
    arena.wait_for(lambda: len(arena.events("epoch")) >= 4)
    assert leaks_of(arena, canary), "the driver's environment has it: the search finds what it looks for"
    assert leaks_of(arena, canary, driver=process) == []
    output, _ = process.communicate(timeout=120)
    assert_orderly_end(process.returncode, output, 0)
    code, copied = tune(arena, "db", "backup", "s", "-o", "copy.db", "--debug", storage=url)
    assert code == 0, copied
    code, told = tune(arena, "status", "s", "--json", storage=url)
    assert len(json.loads(told)["trials"]) == 3
    (arena.folder / "told").write_text(output + copied + told)
    assert (arena.study_folder / "params.yaml").exists()
    assert leaks_of(arena, canary) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "form"),
    [("tune", "--storage={}"), ("python -m tuner", "--storage {}")],
)
def test_a_password_on_the_command_line_is_removed_from_it(arena, url, canary, command, form):
    arguments = [*arena.run_arguments(epoch_seconds=0.2), *form.format(url).split()]
    process = subprocess.Popen(
        [*COMMANDS[command], "run", *arguments],
        cwd=arena.folder,
        env=arena.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    arena.wait_for(lambda: len(arena.events("epoch")) >= 2)
    assert leaks_of(arena, canary, driver=process) == []
    output, _ = process.communicate(timeout=120)
    assert_orderly_end(process.returncode, output, 0)
    (arena.folder / "told").write_text(output)
    assert leaks_of(arena, canary) == []


@pytest.mark.parametrize("debug", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", ["wrong password", "database down"])
@pytest.mark.parametrize(
    "verb", ["run", *(pytest.param(v, marks=pytest.mark.slow) for v in ("status s", "db backup s"))]
)
def test_an_unusable_database_is_reported_without_the_password(
    arena, postgres, url, password, canary, fault, verb, debug
):
    arguments = [*verb.split(), *(arena.run_arguments() if verb == "run" else ())]
    if fault == "wrong password":
        url = postgres.url(password=quote(password, safe=""))
    else:
        url = url.replace(f":{postgres.port}/", ":1/")
    code, output = tune(arena, *arguments, *(["--debug"] if debug else []), storage=url)
    assert code == 8, output
    assert debug or len(output.strip().splitlines()) == 1, output
    (arena.folder / "told").write_text(output)
    assert leaks_of(arena, canary) == []


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--debug"]])
def test_a_run_whose_database_goes_away_says_so_without_the_password(arena, postgres, url, canary, more):
    arena.environment["TUNE_STORAGE"] = url
    process = arena.start(epoch_seconds=1.0, more=more)
    arena.wait_for(lambda: len(arena.events("epoch")) >= 3)
    postgres.stop_immediately()
    try:
        arena.wait_for(lambda: (arena.study_folder / "journal.jsonl").read_text().count("\n") >= 2)
        assert leaks_of(arena, canary, driver=process) == []
        process.terminate()
        output, _ = process.communicate(timeout=60)
    finally:
        postgres.start()
    assert process.returncode == 143, output
    (arena.folder / "told").write_text(output)
    assert leaks_of(arena, canary) == []
