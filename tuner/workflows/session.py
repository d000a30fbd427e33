"""Hold what the steps of a run share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.artifacts.runs import StoredRuns
from tuner.execution.slot_health import SlotHealth
from tuner.report.progress import View
from tuner.study import StudyPaths, StudySession
from tuner.system.signals import Signals
from tuner.workflows.options import Machines

if TYPE_CHECKING:
    from tuner.execution.allotment import Allotment
    from tuner.execution.cluster import Slots


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A study in training, with everything that the steps of a run need."""

    study: StudySession
    paths: StudyPaths
    machines: Machines
    slots: "Slots"
    view: View
    signals: Signals
    health: SlotHealth
    allotment: "Allotment"
    image_cache_bytes: int
    stored: StoredRuns | None
    """Runs in a store; None if all machines share the study's folder."""
