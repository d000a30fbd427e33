"""`tune dashboard`: refused arguments, and the lines that it prints before it serves."""

import re
import socket

import pytest

from tuner.cli.dashboard import _introduce, _tunnel
from tuner.cli.main import main
from tuner.dashboard.server import Address

PASSWORD = "correct horse battery"


def told(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main(["dashboard", *arguments])
    return left.value.code, capsys.readouterr().err


@pytest.fixture
def home(tmp_path, study):
    study.flush(10)
    return str(tmp_path)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "dashboard.example.org"])
def test_access_from_other_machines_requires_a_password(monkeypatch, capsys, home, host):
    monkeypatch.delenv("TUNE_DASHBOARD_PASSWORD", raising=False)
    code, said = told(capsys, "--home", home, "--host", host)

    assert code == 2
    assert said.startswith(f"--host {host} lets other machines in, which needs a password")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "localhost", "::1"])
def test_addresses_of_this_machine_are_known(host):
    assert Address(host=host, port=1).is_local


def test_a_short_password_is_refused_and_never_shown(monkeypatch, capsys, home):
    monkeypatch.setenv("TUNE_DASHBOARD_PASSWORD", "hunter2")
    code, said = told(capsys, "--home", home)

    assert code == 2
    assert "12 or more characters, but it has 7" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(("mode", "status"), [(0o644, 2), (0o640, 2), (0o604, 2)])
def test_a_password_file_that_others_can_read_is_refused(tmp_path, capsys, home, mode, status):
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    file.chmod(mode)
    code, said = told(capsys, "--home", home, "--password-file", str(file))

    assert code == status
    assert "chmod 600" in said


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_an_unreadable_password_file_is_reported(tmp_path, capsys, home, content):
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    code, said = told(capsys, "--home", home, "--password-file", str(file))

    assert code == 5
    assert str(file) in said


def test_an_empty_home_and_an_unknown_study_are_reported(tmp_path, capsys, home):
    (tmp_path / "empty").mkdir()
    code, said = told(capsys, "--home", str(tmp_path / "empty"))
    assert code == 2
    assert "must be a study to show" in said
    code, said = told(capsys, "unknown", "--home", home)
    assert code == 2
    assert "There is no study 'unknown'" in said


def test_a_port_in_use_is_reported_in_one_line(capsys, home):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, said = told(capsys, "--home", home, "--port", str(port))

    assert code == 5
    assert re.fullmatch(r"--host and --port must be free .*\n", said)
    assert str(port) in said


def test_on_a_remote_machine_the_tunnel_is_shown():
    address = Address(host="127.0.0.1", port=8080)
    assert re.fullmatch(
        r"ssh -N -L 8080:127\.0\.0\.1:8080 \S+@192\.0\.2\.7", _tunnel(address, "198.51.100.4 5 192.0.2.7 22")
    )
    assert "-p 2222 " in _tunnel(address, "198.51.100.4 5 192.0.2.7 2222")
    assert _tunnel(Address(host="::1", port=80), "").split()[3] == "80:[::1]:80"


def test_the_first_line_is_the_address_and_hints_follow(capsys):
    local, remote = Address(host="127.0.0.1", port=8080), Address(host="0.0.0.0", port=8080)
    _introduce(local, "/dashboard/studies/7", {})
    assert capsys.readouterr().out == "http://127.0.0.1:8080/dashboard/studies/7 (stop it with Ctrl+C)\n"
    _introduce(local, "/dashboard", {"SSH_CONNECTION": "198.51.100.4 5 192.0.2.7 22"})
    assert "ssh -N -L" in capsys.readouterr().out
    _introduce(remote, "/dashboard", {"SSH_CONNECTION": "198.51.100.4 5 192.0.2.7 22"})
    assert "not encrypted" in capsys.readouterr().out
