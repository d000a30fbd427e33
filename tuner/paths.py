"""Where a study keeps its files: every path below a study's folder is named here."""

import re
from dataclasses import dataclass
from pathlib import Path

from tuner.exceptions import EnvironmentProblem, UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def checked_study_name(name: str) -> str:
    """The name itself, if it can be the name of a folder and of nothing else.

    Raises:
        UsageError: anything but 1 to 64 letters, digits, `.`, `_` and `-`, starting with a letter or digit.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            "A study's name must be 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit, "
            f"but got {name!r}."
        )
    return name


@dataclass(frozen=True, slots=True)
class StudyPaths:
    """The folder of one study."""

    root: Path

    @classmethod
    def of(cls, home: Path, name: str) -> "StudyPaths":
        """The paths of the study `name` under `home`; touches nothing on the disk."""
        return cls(home.absolute() / checked_study_name(name))

    @property
    def database(self) -> Path:
        return self.root / "study.db"

    @property
    def lock(self) -> Path:
        return self.root / "driver.lock"

    def trial(self, number: int) -> Path:
        return self.root / "trials" / f"{number:04d}"

    def promoted(self, number: int, epochs: int) -> Path:
        return self.root / "promoted" / f"trial-{number:04d}-{epochs}-epochs"

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    def create(self) -> None:
        """Make the folder and see that it can be written.

        Raises:
            EnvironmentProblem: it cannot.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / ".writable"
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise EnvironmentProblem(
                f"The study's folder must be writable, but '{self.root}' is not ({error.strerror}); "
                "choose another with --home."
            ) from error
