"""What a training process asks of the operating system, seen from outside."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from trainer.processes import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def step():
    return sum(len(bytearray(2**26)) for _ in range(4))  # 64 MiB each, all of it written
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments: str) -> int:
    command = [sys.executable, "-c", FAULTS, *arguments]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of glibc")
def test_kept_memory_is_not_mapped_anew():
    assert faults("keep") < 0.1 * faults("return")
