"""The search for leaked secrets finds planted ones: finding nothing proves nothing by itself."""

import base64
import os
import subprocess
import sys
from urllib.parse import quote

import pytest

from tests.support.leaks import leaks

CANARY = "ca/na+ry pa$$wörd-1f9b"

FORMS = {
    "plain": CANARY,
    "in a URL": f"postgresql://u:{quote(CANARY, safe='')}@h/db",
    **{f"base64 after {n} bytes": base64.b64encode(b"x" * n + CANARY.encode() + b"yz").decode() for n in range(4)},
    "URL-safe base64": base64.urlsafe_b64encode(b"x" + CANARY.encode() + b"yz").decode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_in_a_file_is_found(tmp_path, form):
    file = tmp_path / "deep" / "er" / "file.bin"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\0" * ((1 << 20) - 5) + FORMS[form].encode() + b"\n")  # across the boundary of a chunk
    assert leaks(CANARY, [tmp_path], []) == [f"file {file}"]


def test_a_secret_in_the_name_of_a_file_is_found(tmp_path):
    (tmp_path / "log-canary-1f9b.txt").write_text("")
    assert leaks("canary-1f9b", [tmp_path], []) == [f"file {tmp_path / 'log-canary-1f9b.txt'}"]


def test_a_secret_of_a_process_or_its_child_is_found():
    sleep = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    script = f"import subprocess, sys; subprocess.Popen({[*sleep, CANARY]!r}); print(flush=True); sys.stdin.read()"
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "X": CANARY}
    )
    parent.stdout.readline()
    found = leaks(CANARY, [], [parent.pid])
    parent.communicate()
    assert any(line.startswith(f"environ of process {parent.pid} ") for line in found)
    assert any(line.startswith("cmdline of process") and str(parent.pid) not in line for line in found)


def test_without_a_secret_nothing_is_found(tmp_path):
    (tmp_path / "file").write_text(CANARY[:-1])
    os.mkfifo(tmp_path / "pipe")
    assert leaks(CANARY, [tmp_path], [os.getpid()]) == []
