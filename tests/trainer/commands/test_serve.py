"""The fork server when a trial dies or hangs: real processes, real kills, the end record that names the cause."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import hear_all
from tests.trainer.run_state.test_failures import request_in
from trainer.commands import serve
from trainer.system import stack_dumps
from tuner.contract import EndRecord, Outcome, StartedRecord, decode, encode
from tuner.execution.trainer_process import TrainerProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's answers are those of Linux")

STAND_IN = """
import os, signal, sys, time
from pathlib import Path
from trainer.commands import serve
from trainer.system.processes import die_with_parent
from tuner.contract import EndRecord, Outcome, StartedRecord

def fill_memory(): return [bytearray(2**24) for _ in range(2**12)]
def die(): os.kill(os.getpid(), signal.SIGKILL)
def fail(): raise MemoryError
def tell_score(): print(Path("/proc/self/oom_score_adj").read_text(), flush=True)

def lose_a_loader(request):
    from torch.utils.data import DataLoader
    from tests.trainer.run_state.test_failures import Faulty
    from trainer.training import trial
    return trial._ended(request, lambda: next(iter(DataLoader(Faulty(fill_memory), num_workers=1))))

def train(request, records):
    if sys.argv[1] == "lose_a_loader":
        return lose_a_loader(request)
    globals()[sys.argv[1]]()
    return EndRecord(outcome=Outcome.COMPLETED)

if len(sys.argv) > 2:
    Path(sys.argv[2], "cgroup.procs").write_text(str(os.getpid()))
serve._train, serve._warm_up = train, lambda: None
sys.exit(serve.serve())
"""
"""The real server, whose trials do only one thing: without torch, it starts at once."""


def ends(tmp_path, *arguments, times=1):
    """Yield the end records of a trial that does what the arguments say, for so many requests."""
    server = TrainerProcess([sys.executable, "-c", STAND_IN, *arguments])
    try:
        for _ in range(times):
            server.send(request_in(tmp_path))
            yield hear_all(server)[-1]
    finally:
        server.close()


@pytest.fixture
def small_cgroup(request):
    """Make a cgroup with 150 MiB of memory, or what the test asks for, inside the one that the tests run in."""
    limit_mib = getattr(request, "param", 150)
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    paths = {controllers: path.lstrip("/") for _, controllers, path in lines}
    first = "memory" in paths
    own = Path("/sys/fs/cgroup", *(["memory"] if first else []), paths.get("memory", paths.get("", "")))
    folder = own / f"mamba-yolo-tuner-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        (folder / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(limit_mib * 2**20))
        yield folder
    except OSError as error:
        pytest.skip(f"no cgroup with a limit can be made here: {error}")
    finally:
        for _ in range(100):  # its processes have ended, but the kernel may not have removed them yet
            try:
                folder.rmdir()
                break
            except OSError:
                time.sleep(0.05)


def test_a_trial_that_the_kernel_kills_for_memory_is_out_of_memory_and_the_server_survives(tmp_path, small_cgroup):
    for end in ends(tmp_path, "fill_memory", str(small_cgroup), times=2):
        assert (end.outcome, end.retryable) == (Outcome.OUT_OF_MEMORY, False)
        assert end.message == (
            "the host ran out of memory at batch 16, image size 640: the training process was killed by the kernel"
        )


@pytest.mark.parametrize("small_cgroup", [1500], indirect=True)
def test_a_trial_that_loses_a_loader_to_the_kernel_is_out_of_memory(tmp_path, small_cgroup):
    (end,) = ends(tmp_path, "lose_a_loader", str(small_cgroup))
    assert end.outcome == Outcome.OUT_OF_MEMORY
    assert end.message.startswith("the host ran out of memory at batch 16, image size 640: RuntimeError: DataLoader")


def test_a_trial_that_somebody_kills_is_retryable(tmp_path):
    (end,) = ends(tmp_path, "die")
    assert (end.outcome, end.retryable) == (Outcome.ERROR, True)
    assert end.message == "the training process was killed by SIGKILL"
    assert decode((tmp_path / "end.json").read_text()) == end


def test_failures_before_training_are_reported_too(tmp_path):
    (end,) = ends(tmp_path, "fail")
    assert end.outcome == Outcome.OUT_OF_MEMORY
    assert "MemoryError" in (tmp_path / "trainer.log").read_text()
    assert decode((tmp_path / "end.json").read_text()) == end


def test_a_run_whose_folder_cannot_be_made_says_why(tmp_path):
    (tmp_path / "a-file").touch()
    (end,) = ends(tmp_path / "a-file" / "run", "die")
    assert (end.outcome, end.retryable) == (Outcome.ERROR, False)
    assert "NotADirectoryError" in end.message


WARM = """
import sys
from pathlib import Path
from trainer.commands import serve
from tuner.contract import decode

serve.environment.isolate()
serve._warm_up()
before = set(sys.modules)
from trainer.training import trial
print(trial.run(decode(Path(sys.argv[1]).read_text()), lambda record: None).outcome.value)
print(*sorted({"torch._dynamo", "torch._inductor", "torchvision", "cv2"} & (set(sys.modules) - before)), sep="\\n")
print(len({"torch._dynamo", "torchvision"} & before))
"""


def test_a_trial_imports_no_slow_module_that_its_server_has_not_imported(train_request, tmp_path):
    (tmp_path / "request.json").write_text(encode(train_request()))
    done = subprocess.run(
        [sys.executable, "-c", WARM, tmp_path / "request.json"],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.split()[-2:] == ["completed", "2"]


def test_trials_are_killed_for_memory_before_their_server(tmp_path):
    list(ends(tmp_path, "tell_score"))
    assert int((tmp_path / "trainer.log").read_text()) >= 500


@pytest.mark.parametrize(
    ("line", "outcome", "said"),
    [
        ('{"version": 1, "type": "weather"}', Outcome.UNSUPPORTED, "got 'weather'"),
        ('{"version": 2, "type": "weather"}', Outcome.ERROR, "must carry version 1"),
        (
            encode(StartedRecord(pid=1, device="CPU")),
            Outcome.ERROR,
            "A line must be a request, but got a message of type started",
        ),
    ],
)
def test_an_unknown_request_is_answered_with_the_reason(line, outcome, said):
    end = serve._request_on(line)
    assert isinstance(end, EndRecord)
    assert end.outcome == outcome
    assert said in end.message


HANGING = """
import os, re, sys, threading, time
from trainer.commands import serve

records = os.dup(1)
os.dup2(2, 1)  # ultralytics has a word to say when it is imported
serve._warm_up()
os.dup2(records, 1)
from trainer.ultralytics_bridge.training import SearchTrainer
from ultralytics.data.dataset import YOLODataset
from trainer.training import trial

get_loader, get_item, run = SearchTrainer.get_dataloader, YOLODataset.__getitem__, trial.run
where = ""

def get_loader_with_processes(trainer, *args, **kwargs):
    trainer.args.workers = 2  # on a CPU ultralytics loads in the process that trains
    return get_loader(trainer, *args, **kwargs)

def wait_for_the_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

def be_caught_in_c_code():
    re.match("(a+)+$", "a" * 60 + "b")  # holds the interpreter's lock for years

def load_for_ever(dataset, index):
    if where == "loader":
        time.sleep(3600)
    return get_item(dataset, index)

def preprocess(trainer, batch):
    {"lock": wait_for_the_lock, "c code": be_caught_in_c_code}[where]()

def run_hanging(request, emit):
    global where
    where = request.study
    return run(request, emit)

SearchTrainer.get_dataloader, SearchTrainer.preprocess_batch = get_loader_with_processes, preprocess
YOLODataset.__getitem__, trial.run = load_for_ever, run_hanging
sys.exit(serve.serve())
"""
"""The real server and real training, up to the first batch."""

HANGS = {"lock": "wait_for_the_lock", "c code": "be_caught_in_c_code", "loader": "load_for_ever"}


@pytest.fixture(scope="module")
def hanging_trainer():
    trainer = TrainerProcess([sys.executable, "-c", HANGING])
    yield trainer
    trainer.close()


def wait_for(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def ask_for_stacks(pid, log, function):
    """Send SIGUSR1 until the log shows the function: the start of a hang is not visible from outside."""

    def shown():
        os.killpg(pid, signal.SIGUSR1)
        os.killpg(pid, signal.SIGCONT)
        time.sleep(0.5)
        return f"in {function}" in log.read_text()

    wait_for(shown)


def dumps_in(text):
    """Return what each process wrote, by its ID. On a busy machine, the log may have one dump in two parts."""
    _, *parts = re.split(r"SIGUSR1: stacks of process (\d+)\n", text)
    dumps = defaultdict(str)
    for process, part in zip(parts[::2], parts[1::2], strict=True):
        dumps[process] += part
    return dumps


@pytest.mark.parametrize("where", HANGS)
def test_a_hanging_trial_writes_its_stacks_to_the_log(hanging_trainer, train_request, where):
    request = replace(train_request(epochs=1), study=where)
    log = Path(request.directory) / "trainer.log"
    hanging_trainer.send(request)
    pid = hanging_trainer.receive(timeout_s=60)[0].pid
    if where == "lock":
        os.killpg(pid, signal.SIGSTOP)
    ask_for_stacks(pid, log, HANGS[where])
    wait_for(lambda: len(dumps_in(log.read_text())) >= 3)  # the trial and both its loaders
    wait_for(lambda: log.read_text().endswith("\n"))  # not while a dump is being moved to the log
    dumps = dumps_in(log.read_text())
    assert any("in _worker_loop" in dump for dump in dumps.values())
    for dump in dumps.values():
        frames = re.findall(r'^  File "[^"]+", line \d+ in \S+$', dump, re.MULTILINE)
        assert len(frames) == dump.count("File "), "each process' dump stands by itself"
    os.killpg(pid, signal.SIGKILL)
    end = hear_all(hanging_trainer)[-1]
    assert (end.outcome, end.retryable) == (Outcome.ERROR, True)
    assert not (Path(request.directory) / "stacks").exists()


FORKED = """
import os, signal, sys
from pathlib import Path
from trainer.system.stack_dumps import dump_on_request

os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGUSR1))  # the first thing that it does
dump_on_request(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
print(child)
"""


def test_a_process_asked_for_its_stacks_while_it_is_forked_writes_to_its_own_file(tmp_path):
    forked = subprocess.run(
        [sys.executable, "-c", FORKED, tmp_path], check=True, capture_output=True, text=True, timeout=60
    )
    dumped = {path.stem for path in (tmp_path / "stacks").iterdir() if path.stat().st_size}
    assert dumped == {forked.stdout.strip()}


def test_a_dump_that_pauses_within_a_line_is_logged_once_it_continues(tmp_path):
    log, dump = tmp_path / "trainer.log", tmp_path / "stacks" / "77.txt"
    dump.parent.mkdir()
    for text, moved in ('  File "loss.py", line', False), ('  File "loss.py", line 3 in forward\n', True):
        dump.write_text(text)
        os.utime(dump, (0, 0))  # long ago
        stack_dumps.collect(tmp_path, log)
        assert log.exists() == moved
    assert 'stacks of process 77\n  File "loss.py", line 3 in forward\n' in log.read_text()
    assert not dump.read_text()


def test_stacks_left_by_a_dead_server_are_logged_with_the_next_attempt(tmp_path):
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "77.txt").write_text('  File "loss.py", line 3 in forward\n')
    (tmp_path / "stacks" / "78.txt").touch()
    list(ends(tmp_path, "die"))
    assert 'stacks of process 77\n  File "loss.py", line 3 in forward' in (tmp_path / "trainer.log").read_text()
    assert not (tmp_path / "stacks").exists()
