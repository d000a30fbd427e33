"""What tests of several rooms share."""

import sys
from pathlib import Path

import pytest

SCRIPTED_TRAINER = Path(__file__).parent / "scripted" / "scripted_trainer.py"


@pytest.fixture
def scripted_command() -> list[str]:
    """A trainer that speaks the contract and trains nothing."""
    return [sys.executable, str(SCRIPTED_TRAINER), "--epoch-seconds", "0.02"]
