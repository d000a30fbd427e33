"""The scan in C: how its library is built and kept, and what happens without it."""

import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SCAN = """
import logging
logging.basicConfig(level=logging.INFO, format="%(message)s")
import torch
from trainer.nn.selective_scan import selective_scan
x = torch.ones(1, 4, 3)
y = selective_scan(x, x, -torch.ones(4, 2), torch.ones(1, 1, 2, 3), torch.ones(1, 1, 2, 3))
print(f"{y.sum().item():.4f}")
"""


def scan(**environment: str) -> subprocess.CompletedProcess[str]:
    """Scan in a fresh process with this environment."""
    command = [sys.executable, "-c", SCAN]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def libraries(cache: Path) -> list[Path]:
    return sorted(cache.glob("mamba-yolo-tuner/*"))


def test_the_library_is_built_once_and_then_found_and_the_choice_is_said_once_in_the_log(cache):
    first = scan(XDG_CACHE_HOME=str(cache))
    assert first.stderr.count("Selective scan on cpu") == first.stderr.count("Selective scan on cpu: native.") == 1
    (library,) = libraries(cache)
    built_ns = library.stat().st_mtime_ns
    second = scan(XDG_CACHE_HOME=str(cache))
    assert second.stdout == first.stdout
    assert [(path, path.stat().st_mtime_ns) for path in libraries(cache)] == [(library, built_ns)]


@pytest.mark.slow
def test_processes_that_build_at_the_same_time_do_not_disturb_each_other(cache):
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda _: scan(XDG_CACHE_HOME=str(cache)), range(2)))
    assert len({done.stdout for done in results}) == 1
    assert all("native." in done.stderr for done in results)
    assert len(libraries(cache)) == 1


@pytest.mark.slow
def test_a_damaged_library_is_built_again(cache):
    expected = scan(XDG_CACHE_HOME=str(cache)).stdout
    (library,) = libraries(cache)
    library.write_bytes(b"")
    done = scan(XDG_CACHE_HOME=str(cache))
    assert done.stdout == expected
    assert "native." in done.stderr
    assert library.stat().st_size > 0


def test_a_home_that_cannot_be_written_costs_only_the_build():
    assert "native." in scan(XDG_CACHE_HOME="/dev/null/nowhere").stderr


def test_without_a_compiler_plain_torch_scans_and_the_log_says_what_to_install(cache):
    expected = scan(XDG_CACHE_HOME=str(cache)).stdout
    done = scan(XDG_CACHE_HOME=str(cache), PATH="", CC="")
    assert done.stdout == expected
    assert "torch." in done.stderr
    assert "apt-get install gcc" in done.stderr


def test_a_compiler_that_fails_is_named_with_its_error(cache, tmp_path):
    compiler = tmp_path / "broken-cc"
    compiler.write_text("#!/bin/sh\n[ \"$1\" = --version ] && exit\necho 'error: no such instruction' >&2\nexit 1\n")
    compiler.chmod(0o755)
    done = scan(XDG_CACHE_HOME=str(cache), CC=str(compiler))
    assert "torch." in done.stderr
    assert "broken-cc' could not build it: error: no such instruction" in done.stderr
    assert not libraries(cache)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags are those of x86-64")
@pytest.mark.parametrize("flags", ["-mno-avx512f", pytest.param("-mno-avx", marks=pytest.mark.slow)])
def test_processors_with_narrower_vectors_get_the_same_numbers(tmp_path, flags):
    """Run the tests of the scan with a library for lanes of 8 or 4 instead of this machine's."""
    compiler = tmp_path / "narrow-cc"
    compiler.write_text(f'#!/bin/sh\nexec {shutil.which("cc")} "$@" {flags}\n')
    compiler.chmod(0o755)
    environment = {**os.environ, "CC": str(compiler), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    selected = "native and not 25600 and (reference or lanes or paths or extreme or half)"
    tests = Path(__file__).with_name("test_selective_scan.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests), "-k", selected]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    lanes = "from trainer.nn.selective_scan import _native; print(_native._lanes())"
    found = subprocess.run([sys.executable, "-c", lanes], env=environment, capture_output=True, text=True, check=True)
    assert int(found.stdout) == {"-mno-avx512f": 8, "-mno-avx": 4}[flags]


FIRST_CALLS = {
    "under autocast": 'with torch.autocast("cpu", dtype=torch.bfloat16):\n    y = scan(*tensors)',
    "in inference mode": "with torch.inference_mode():\n    y = scan(*tensors)",
    "with another default device": 'with torch.device("meta"):\n    y = scan(*tensors)',
    "while being compiled": 'y = torch.compile(scan, backend="eager")(*tensors)',
}


@pytest.mark.parametrize("circumstance", FIRST_CALLS)
def test_the_first_call_chooses_correctly_whatever_the_circumstances(circumstance):
    program = f"""
import logging
logging.basicConfig(level=logging.INFO, format="%(message)s")
import torch
from trainer.nn.selective_scan import selective_scan as scan
tensors = [torch.ones(1, 4, 3), torch.ones(1, 4, 3), -torch.ones(4, 2), *torch.ones(2, 1, 1, 2, 3)]
{FIRST_CALLS[circumstance]}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Selective scan on cpu: native." in done.stderr
