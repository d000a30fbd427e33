"""`tune slurm-script`: checks before a script is written, and secrets that it does not contain."""

import logging
import sys

import pytest

from tests.support.slurm import SlurmCluster, SlurmMissing, VirtualNode
from tuner.cli.arguments import _without_secrets
from tuner.cli.main import main
from tuner.execution import visible_gpus

SPACE = """
search: {epochs: 3, trials: 1, sampler: random}
parameters:
  optimizer: SGD
  batch: 16
  lr0: {float: [0.001, 0.1], log: true}
baseline: {lr0: 0.01}
data: sample
model: mamba-yolo-n
"""
SEARCH = ["--space", "space.yaml"]


@pytest.fixture
def written(tmp_path, monkeypatch, capsys):
    """Run the verb in this process. Returns exit code, output and messages."""
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "wrong.yaml").write_text(SPACE.replace("[0.001, 0.1]", "[0.1, 0.001]"))
    monkeypatch.chdir(tmp_path)
    for name in ("TUNE_STORAGE", "TUNE_NOTIFY", "TUNE_ON_END"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main(["slurm-script", *arguments])
        return left.value.code, *capsys.readouterr()

    logger = logging.getLogger("tuner")
    level = logger.level
    yield run
    logger.setLevel(level)


def test_a_script_is_printed_or_written_to_a_file(written, tmp_path):
    code, text, _ = written("--gpus-per-node", "2", "--", *SEARCH)
    assert code == 0
    assert f"\npython={sys.executable}\narguments=(\n    --space space.yaml\n)\n" in text
    assert "#SBATCH --job-name=tune\n" in text
    code, path, _ = written("-G", "2", "-o", "job.sh", "--", *SEARCH, "--study", "mine")
    assert (code, path) == (0, "job.sh\n")
    assert "#SBATCH --job-name=mine\n" in (tmp_path / "job.sh").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "The arguments of `tune run` are required after --, but none are given"),
        (["--", "--space"], 2, "Option '--space' requires an argument"),
        (["--", "--spacy", "x"], 2, "No such option: --spacy"),
        (["--", *SEARCH, "--trials", "many"], 2, "Invalid value for '--trials'"),
        (["--", "run", *SEARCH], 2, "unexpected extra argument"),
        (["--", "--space", "wrong.yaml"], 3, "wrong.yaml:6: `lr0`: low must be below high"),
        (["--", "--space", "strongaug"], 3, "strong_aug"),
        (["--", *SEARCH, "--epochs", "0"], 3, "`epochs`"),
        (["--", *SEARCH, "--set", "lr=1"], 3, "did you mean lr0?"),
        (["--", *SEARCH, "--data", "nowhere.yaml"], 4, "nowhere.yaml' does not exist"),
        (["--", *SEARCH, "--max-hours", "0"], 2, "--max-hours must be a number above 0"),
        (["--", *SEARCH, "--study", "../x"], 2, "'../x'"),
        (["--", *SEARCH, "--log", "paper"], 2, "--log"),
        (["--", *SEARCH, "--cache-gib", "much"], 2, "--cache-gib must be"),
        (["--", *SEARCH, "--address", "auto"], 2, "so --address must not be given to `tune run`, but got 'auto'"),
        (["-N", "2", "--", *SEARCH, "--gpus", "0,1"], 2, "must be a number on several nodes"),
        (["-G", "2", "--", *SEARCH, "--gpus", "0,2"], 2, "at most the number of GPUs of the job, 2, but got '0,2'"),
        (["-N", "2", "--gpus-per-node", "4", "--", *SEARCH, "--gpus", "9"], 2, "GPUs of the job, 8, but got '9'"),
        (["-G", "2", "--", *SEARCH, "--gpus", "0"], 2, "trains on the CPU, but the job asks for 2 GPUs"),
        (["-N", "0", "--", *SEARCH], 2, "Invalid value for '--nodes' / '-N'"),
        (["-G", "2", "-o", "no/such/job.sh", "--", *SEARCH], 5, "'no/such/job.sh' is not (No such file or directory)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_input_is_refused_with_its_exit_code_before_a_script_is_written(written, arguments, code, said):
    found, text, messages = written(*arguments)
    assert found == code, messages
    assert text == ""
    assert said in " ".join(line.strip("│ ") for line in messages.splitlines())


def test_a_list_of_gpus_of_one_node_is_not_looked_up_on_this_machine(written, monkeypatch):
    monkeypatch.setattr(visible_gpus, "_listed", lambda: pytest.fail("nvidia-smi was asked"))
    code, text, _ = written("-G", "4", "--", *SEARCH, "--gpus", "0,3")
    assert code == 0
    assert "    --gpus 0,3\n" in text


def test_secrets_are_required_by_name_and_not_written(written, monkeypatch):
    monkeypatch.setenv("TUNE_STORAGE", "postgresql://user:hunter2@host/name")
    monkeypatch.setenv("TUNE_NOTIFY", "https://example.org/hunter2")
    code, text, messages = written("--", *SEARCH)
    assert code == 0
    assert "hunter2" not in text + messages
    assert "the script does not contain TUNE_NOTIFY, TUNE_STORAGE; submit it where they are set" in messages
    assert '[ -n "${TUNE_STORAGE:-}" ] || ' in text


def test_secrets_on_the_command_line_move_to_the_environment():
    url = "postgresql://user:hunter2@host/name"
    given = ["slurm-script", "--", *SEARCH, "--storage", url, "--notify", "https://example.org/hunter2"]
    kept, hidden = _without_secrets(given)
    assert kept == ["slurm-script", "--", *SEARCH]
    assert hidden == {"TUNE_STORAGE": url, "TUNE_NOTIFY": "https://example.org/hunter2"}


def test_checks_that_the_script_cannot_make_are_noted(written):
    _, _, messages = written("-N", "2", "--", *SEARCH)
    assert "note: without --storage or TUNE_STORAGE, the study stays on the disk of one machine" in messages
    assert "note: on nodes without GPUs, give `tune run` the number of trials at once with --parallel" in messages


def test_sbatch_takes_a_script_from_a_folder_of_any_name(written, tmp_path, monkeypatch):
    folder = tmp_path / "a 'b' \"c\" $d"
    folder.mkdir()
    monkeypatch.chdir(folder)
    try:
        slurm = SlurmCluster([VirtualNode("one", cpus=1, gpus=1)])
    except SlurmMissing as why:
        pytest.skip(str(why))
    with slurm:
        options = ["-G", "1", "-o", "job.sh", "--setup", "pwd > where; exit 6"]
        code, _, messages = written(*options, "--", "--space", "quick")
        assert code == 0, messages
        number = slurm.submit(folder / "job.sh", environment=slurm.environment)
        assert slurm.awaited(number).exit_code == 6
    assert (folder / "where").read_text() == f"{folder}\n"
