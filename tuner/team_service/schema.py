"""Define what requests may contain and what answers contain, for checks and for the OpenAPI description."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.study_queue.entries import MOST_SPACE_BYTES, PRIORITIES

MOST_EPOCHS = 10_000
MOST_TRIALS = 10_000
MOST_HOURS = 100_000.0
_MOST_GPUS = 4096
_MOST_SEED = 2**31 - 1

STUDY_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_SPACE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$"

Metric = Literal["mAP50-95", "mAP50", "precision", "recall"]

Whole = Annotated[int, Field(ge=1)]
Hours = Annotated[float, Field(gt=0, le=MOST_HOURS)]


class SpaceRequest(BaseModel):
    """A space and the settings that override it: all that a submission may set. Nothing else is accepted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    space: str = Field(min_length=1, max_length=MOST_SPACE_BYTES, description="Text of the space file.")
    space_name: str = Field("space", pattern=_SPACE_NAME, description="Name of the space in records and reports.")
    data: str | None = Field(
        None, max_length=1000, description="`sample`, or a path below a --data-root. Default: that of the space."
    )
    model: str | None = Field(
        None, max_length=1000, description="Name of a model, or a path below a --data-root. Default: as `tune run`."
    )
    gpus: int | None = Field(None, ge=1, le=_MOST_GPUS, description="Maximum number of GPUs. Default: all.")
    trials: int | None = Field(None, ge=1, le=MOST_TRIALS)
    epochs: int | None = Field(None, ge=1, le=MOST_EPOCHS)
    seed: int | None = Field(None, ge=0, le=_MOST_SEED)
    metric: Metric | None = None
    reevaluation_runs: int | None = Field(None, ge=0, le=1000, description="0, or 6 and more.")
    promote_epochs: int | None = Field(None, ge=1, le=MOST_EPOCHS)
    promote: bool = Field(True, description="Train the winner in full after the search.")
    max_hours: Hours | None = None
    gpu_hours: Hours | None = None
    no_improvement: int | None = Field(None, ge=1, le=MOST_TRIALS)


class SubmitRequest(SpaceRequest):
    """A study to queue."""

    study: str = Field(pattern=STUDY_NAME, description="Name of the study; a study of yours that has ended resumes.")
    priority: int = Field(0, ge=PRIORITIES[0], le=PRIORITIES[-1])


class ProblemAnswer(BaseModel):
    """One thing that is wrong with what was sent."""

    text: str
    line: int | None = None
    field: str = ""


class FailureAnswer(BaseModel):
    """Answer of every request that fails."""

    error: str
    problems: list[ProblemAnswer] = []


class EstimateAnswer(BaseModel):
    """Cost estimate of a search, in epochs; ranges are the 10th to 90th percentile of simulated searches."""

    trials: int
    slots: int
    trained: tuple[float, float]
    wall: tuple[float, float]
    reach: dict[str, tuple[float, float]]
    """Number of trials that reach each rung, by its epoch."""


class CheckAnswer(BaseModel):
    """Result of the check of a space."""

    problems: list[ProblemAnswer]
    warnings: list[str]
    estimate: EstimateAnswer | None


class QueueAnswer(BaseModel):
    """Entry of the queue, as `tune queue --json` prints it, without the name of its Ray job."""

    number: int
    study: str
    owner: str
    space: str
    priority: int
    most: int | None
    state: str
    granted: int
    starts: int
    code: int | None
    message: str
    submitted: float
    started: float
    ended: float


class RunningTrialAnswer(BaseModel):
    """Trial in training."""

    trial: int
    epoch: int
    value: float | None


class ProgressAnswer(BaseModel):
    """Progress of a study, as recorded in its database."""

    state: str
    metric: str
    best: float | None
    best_trial: int | None
    gain: float | None
    verdict: str | None
    ended: int
    planned: int
    epochs: int
    running: list[RunningTrialAnswer]
    gpu_hours: float
    problem: str


class StudyRow(BaseModel):
    """Study in the list; `queue` is null if nobody submitted it, `progress` before it is recorded and read."""

    name: str
    owner: str | None
    state: str
    queue: QueueAnswer | None
    progress: ProgressAnswer | None


class StudiesAnswer(BaseModel):
    """List of the studies that the user may see."""

    studies: list[StudyRow]
    notice: str
    """What keeps queued studies from starting; empty if nothing is known."""


class StudyAnswer(StudyRow):
    """One study; `status` is what `tune status --json` prints, null before its driver has created it."""

    status: dict[str, Any] | None


class BestAnswer(BaseModel):
    """Winner of a study."""

    study: str
    trial: int
    metric: str
    value: float | None
    result: str
    """Comparison with the default configuration, in one or two sentences."""
    params: dict[str, Any]


class UserAnswer(BaseModel):
    """Holder of the token."""

    name: str
    role: str
