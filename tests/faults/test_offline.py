"""Nothing is fetched: what is installed is what was locked, known malware is refused, and a run needs no network."""

import ctypes
import fcntl
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SCRIPTED_TRAINER
from tests.support.fresh_process import loaded_below, modules_loaded_by
from trainer.commands import prepare
from trainer.exceptions import TrainerError
from trainer.ultralytics_bridge import environment
from tuner.contract import Outcome, PrepareRequest

ROOT = Path(__file__).resolve().parents[2]
SPACE = """
search: {epochs: 1, trials: 2, sampler: random, rungs: [], promote_epochs: 1, reevaluation_runs: 0}
parameters: {optimizer: SGD, batch: 8, imgsz: 32, lr0: {float: [0.001, 0.1], log: true}}
baseline: {lr0: 0.01}
data: sample
model: mamba-yolo-n
"""


def test_every_locked_package_has_one_version_and_hashes_and_comes_from_nowhere_else():
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(entries) > 50
    for entry in entries:
        assert re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[a-z,]+\])?==\S+ ", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry
        assert "://" not in entry.partition("--hash")[0], entry


def test_the_lock_has_no_release_that_was_malware():
    (locked,) = re.findall(r"^ultralytics==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked == environment.TESTED_VERSION
    assert locked not in environment.KNOWN_BAD_VERSIONS


@pytest.mark.parametrize("version", sorted(environment.KNOWN_BAD_VERSIONS))
def test_a_release_that_was_malware_is_refused_before_it_is_imported(monkeypatch, tmp_path, version):
    monkeypatch.setattr(environment, "version", lambda package: version)
    said = []
    end = prepare.run(PrepareRequest(data="sample:8", model="mamba-yolo-n", directory=str(tmp_path)), said.append)
    assert said == []
    assert end.outcome == Outcome.ERROR
    assert end.message.startswith(f"ultralytics {version} contained malicious code on PyPI: remove it")
    with pytest.raises(TrainerError, match="malicious code"):
        environment.configure()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def malware_installed(tmp_path):
    """Make an environment in which ultralytics is a release with a miner, whose import leaves a mark."""
    package = tmp_path / "site" / "ultralytics"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n")
    metadata = tmp_path / "site" / "ultralytics-8.3.41.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: ultralytics\nVersion: 8.3.41\n")
    return {**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}"}


@pytest.mark.parametrize("arguments", [["run", "--space=quick", "--data=sample:8", "--plain"], ["doctor"]])
def test_no_command_imports_malware_and_both_report_it(tmp_path, malware_installed, arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tuner", *arguments],
        cwd=tmp_path,
        env=malware_installed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stdout + done.stderr
    assert "ultralytics 8.3.41 contained malicious code on PyPI" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "imported").exists()


# Trackers, which the tests have installed

TRACKERS = {"clearml", "comet_ml", "dvclive", "mlflow", "neptune", "tensorboard", "tensorboardX", "wandb"}


def test_a_run_without_log_imports_no_tracker(tmp_path):
    """The driver imports none, neither for `--help` nor if no tracker is chosen."""
    (tmp_path / "space.yaml").write_text(SPACE)
    trainer = f"{sys.executable} {SCRIPTED_TRAINER} --epoch-seconds 0.01"
    arguments = [
        "run",
        f"--space={tmp_path / 'space.yaml'}",
        f"--home={tmp_path}",
        "--study=s",
        "--parallel=1",
        "--plain",
    ]
    loaded = modules_loaded_by(
        "from tuner.cli.main import main\n"
        f"try: main({[*arguments, '--trainer', trainer]!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
    )
    assert "tuner.trackers.tracking" in loaded
    assert (tmp_path / "s" / "params.yaml").exists()
    assert loaded_below(TRACKERS, loaded) == set()
    assert not (tmp_path / "s" / "tracking-id").exists()


def test_trainers_import_no_tracker_of_ultralytics_whatever_is_logged():
    """ultralytics imports the trackers that its settings enable whenever it makes a trainer."""
    loaded = modules_loaded_by(
        "from collections import defaultdict\n"
        "from trainer.ultralytics_bridge import environment; environment.configure()\n"
        "from ultralytics.utils.callbacks.base import add_integration_callbacks\n"
        "trainer = type('DetectionTrainer', (), {'callbacks': defaultdict(list)})()\n"
        "add_integration_callbacks(trainer); assert trainer.callbacks"
    )
    assert "ultralytics.utils.callbacks.platform" in loaded, "the trainer has its callbacks"
    assert loaded_below(TRACKERS, loaded) == set()


# A network namespace without routes

_UP = 0x1  # IFF_UP


def leave_the_network():
    """Move this process into its own network, which has only loopback."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_network, new_user = 0x40000000, 0x10000000
    flags = new_network if os.geteuid() == 0 else new_network | new_user
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sh22x", b"lo", _UP))  # SIOCSIFFLAGS


@pytest.fixture
def no_network():
    """Skip if the kernel lets no user make a network."""
    code = (
        "import tests.faults.test_offline as t, socket, sys\n"
        "try: t.leave_the_network()\n"
        "except OSError as error: sys.exit(f'unshare: {error}')\n"
        "s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())\n"
        "try: socket.create_connection(('192.0.2.1', 80), timeout=2)\n"
        "except OSError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no network namespace here: {done.stderr.strip()[-200:]}")
    assert "unreachable" in done.stdout


@pytest.mark.slow
def test_a_whole_run_with_real_training_needs_no_network(tmp_path, no_network):
    """Sample data, model, two trials, promotion and parameters, from an empty home folder."""
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "home").mkdir()
    arguments = ["run", "--space=space.yaml", "--data=sample:16", "--study=s", "--gpus=0", "--parallel=1", "--plain"]
    promotion = ["promote", "s", "--epochs=2", "--gpus=0", "--plain"]
    code = (
        "import tests.faults.test_offline as t\n"
        "t.leave_the_network()\n"
        f"import os; os.chdir({str(tmp_path)!r})\n"
        "from tuner.cli.main import main\n"
        f"for arguments, expected in (({arguments!r}, 7), ({promotion!r}, 0)):\n"  # nothing is learnt in so few epochs
        "    try:\n"
        "        main(arguments)\n"
        "    except SystemExit as end:\n"
        "        assert (end.code or 0) == expected, end.code\n"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "RAY_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**env, "HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    status = subprocess.run(
        [sys.executable, "-m", "tuner", "status", "s", "--json"],
        cwd=tmp_path,
        env={**env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    facts = json.loads(status.stdout)
    assert facts["counts"]["COMPLETE"] == 2
    assert facts["final_run"]["state"] == "COMPLETE"
    assert (tmp_path / "studies/s/params.yaml").exists()
    assert not list((tmp_path / "home").rglob("*.pt")), "weights were fetched"
    shutil.rmtree(tmp_path / "studies")
