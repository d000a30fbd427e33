"""Name every path below the folder of a study."""

import re
from dataclasses import dataclass
from pathlib import Path

from tuner.exceptions import MachineError, UsageError
from tuner.system.paths import checked_path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def checked_study_name(name: str) -> str:
    """Return the name if it is a valid study name.

    Raises:
        UsageError: The name is not 1 to 64 letters, digits, `.`, `_` or `-`, starting with a letter or digit.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            "A study's name must be 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit, "
            f"but got {name!r}."
        )
    return name


@dataclass(frozen=True, slots=True)
class StudyPaths:
    """Paths in the folder of one study."""

    root: Path

    @classmethod
    def of(cls, home: Path, name: str) -> "StudyPaths":
        """Return the paths of the study `name` under `home`; create nothing.

        Raises:
            UsageError: The study name is invalid, or `home` contains '?' or '%'.
        """
        root = home.absolute() / checked_study_name(name)
        if set("?%") & set(checked_path("--home", str(home.absolute()))):
            raise UsageError(
                f"--home must not contain '?' or '%', which are special in URLs, but got '{home}'; rename it."
            )
        _refuse_link_out(root)
        return cls(root)

    @property
    def database(self) -> Path:
        return self.root / "study.db"

    @property
    def lock(self) -> Path:
        return self.root / "driver.lock"

    @property
    def decisions(self) -> Path:
        """Log of the search's events and decisions, in order; it is for users, the program never reads it."""
        return self.root / "decisions.jsonl"

    @property
    def timeline(self) -> Path:
        """Record of what each slot trained and when (see `_timeline`)."""
        return self.root / "timeline.jsonl"

    @property
    def driver_log(self) -> Path:
        """Log of the events of all drivers, for people only; older parts are in files that end with .1, .2 and .3."""
        return self.root / "driver.log"

    @property
    def journal(self) -> Path:
        return self.root / "journal.jsonl"

    def trial(self, number: int) -> Path:
        return self.root / "trials" / f"{number:04d}"

    def reevaluated(self, number: int, seed: int) -> Path:
        return self.root / "reevaluation" / f"trial-{number:04d}-seed-{seed}"

    def final_run(self, number: int, epochs: int) -> Path:
        return self.root / "promoted" / f"trial-{number:04d}-{epochs}-epochs"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def card(self) -> Path:
        """Winner's card (see `tuner.training.card`)."""
        return self.root / "card.json"

    @property
    def tracking_id(self) -> Path:
        """Name under which trackers know the study; random, because names of studies are used again."""
        return self.root / "tracking-id"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    @property
    def wandb_epochs(self) -> Path:
        """Last epoch that W&B has got of each run."""
        return self.root / "wandb-epochs.json"

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    def create(self) -> None:
        """Create the folder and check that it is writable.

        Raises:
            MachineError: The folder is not writable.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / ".writable"
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise MachineError(
                f"The study's folder must be writable, but '{self.root}' is not ({error.strerror}); "
                "choose another with --home."
            ) from error


def _refuse_link_out(root: Path) -> None:
    """Refuse a study folder that links to a location outside `--home`, where its files would be written.

    The home itself can be a link, because the user chose it.
    """
    try:
        target = root.resolve() if root.is_symlink() else root
        leads_out = target != root and not target.is_relative_to(root.parent.resolve())
    except (OSError, RuntimeError) as error:  # RuntimeError: circular links
        reason = getattr(error, "strerror", None) or "it is a circular link"
        raise MachineError(f"A study's folder must be accessible, but '{root}' is not ({reason}).") from error
    if leads_out:
        raise MachineError(
            f"A study's folder must be in --home, but '{root}' is a link to '{target}'; use --home '{target.parent}'."
        )
