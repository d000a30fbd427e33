"""Check the command line that a study records."""

import pytest

from tuner.cli.arguments import without_secrets


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["run", "--space", "quick", "--gpus", "2"], ("run", "--space", "quick", "--gpus", "2")),
        (["run", "--notify", "slack://token", "--space", "quick"], ("run", "--space", "quick")),
        (["run", "--on-end=curl https://x/token"], ("run",)),
        (["run", "--storage", "postgresql://me:secret@host/db"], ("run",)),
        (["run", "--storage", "sqlite:///a.db"], ("run", "--storage", "sqlite:///a.db")),
    ],
)
def test_a_recorded_command_has_all_options_except_those_with_secrets(given, kept):
    assert without_secrets(given) == kept
