"""Make finished studies of any size in seconds: a real database, timeline and logs, without training anything.

Epochs take no time: a clock that is set, not waited for, runs the slots. Metrics come from a formula in which the
learning rate matters most, so charts have something to show and tests know what is true.
"""

import heapq
import math
import random
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from optuna.trial import TrialState

from tuner.comparison.contest import plan
from tuner.comparison.record import EndedRun, Reevaluated
from tuner.comparison.verdict import next_runs, verdict
from tuner.contract import EndRecord, EpochRecord, Outcome, ParamValue, StartedRecord, encode
from tuner.space import Space, UnitCube, parse_space
from tuner.storage.lease import study_lease
from tuner.study import (
    DECIDED,
    LOST,
    EstimateFacts,
    FailedAttempt,
    FinalRunFacts,
    OpenSpan,
    ProfilingFacts,
    StoredStudy,
    StudyPaths,
    StudySession,
    StudySpec,
    Timeline,
    TrialFacts,
    driven_study,
)
from tuner.training.export import params_yaml, write_params
from tuner.training.final_run import choose_winner

SPACE = """
search: {epochs: 54, rungs: [3, 9, 27], reduction_factor: 3, trials: 12, promote_epochs: 100, reevaluation_runs: 13}
parameters:
  imgsz: 640
  batch: { choice: [16, 32, 64] }
  optimizer: { choice: [SGD, AdamW] }
  lr0:
    - { when: { optimizer: SGD }, float: [0.001, 0.1], log: true }
    - { when: { optimizer: AdamW }, float: [0.0001, 0.01], log: true }
  momentum:
    - { when: { optimizer: SGD }, float: [0.8, 0.98] }
    - { when: { optimizer: AdamW }, fixed: 0.9 }
  weight_decay: { float: [0.00001, 0.01], log: true }
  close_mosaic: { int: [0, 15] }
  mosaic: { float: [0, 1] }
  hsv_s: { float: [0, 0.9] }
baseline: {batch: 16, optimizer: SGD, lr0: 0.01, momentum: 0.937, weight_decay: 0.0005, close_mosaic: 10, mosaic: 1,
           hsv_s: 0.7}
"""
NAME = "full-traffic-signs-mamba-yolo-n"
EPOCH_S = 42.0
DEVICE = "NVIDIA H100"
_BEGAN_S = 1_790_000_000.0
_BREAK_S = 6 * 3600.0
"""Time between the end of the first driver, which is killed, and the start of the second."""

OUT_OF_MEMORY = "out of memory"
_LOG = """{time} trainer INFO image size 640, batch 16, 6 classes
{time} trainer INFO epoch {epoch}/54: box_loss 1.92, cls_loss 1.491, dfl_loss 1.253
Traceback (most recent call last):
  File "trainer/training/trial.py", line 118, in train
    loss = self.step(batch)
{cause}
"""


@dataclass(slots=True)
class _Clock:
    now_s: float = _BEGAN_S

    def read(self) -> float:
        return self.now_s


@dataclass(slots=True)
class _Job:
    """Trial that a slot trains until an epoch."""

    trial: int
    target: int
    span: OpenSpan
    failure: str = ""
    """Failure at the end, or "diverged"; empty for none."""


@dataclass(slots=True)
class _Progress:
    """What is known of a trial while the search runs."""

    quality: float
    epoch: int = 0
    seconds: float = 0.0
    attempts: list[FailedAttempt] = field(default_factory=list)
    promoted: set[int] = field(default_factory=set)


def synthetic_study(home: Path, *, trials: int, slots: int, seed: int = 0, name: str = NAME) -> StudyPaths:
    """Write a finished study and return its paths.

    Args:
        home: Folder for the study's folder.
        trials: Number of trials; from 12 on, some fail, diverge, are paused and stopped.
        slots: Number of slots that train at the same time.
        seed: Seed of all chances.
        name: Name of the study.
    """
    paths = StudyPaths.of(home, name)
    paths.create()
    space = parse_space(SPACE, name="full", file="full.yaml").with_settings(trials=trials, seed=seed)
    url = f"sqlite:///{paths.database}"
    with ExitStack() as stack:
        lease = stack.enter_context(study_lease(url, name))
        study = stack.enter_context(driven_study(lease, _spec(space), paths.journal))
        maker = _Maker(study, space, paths, slots, random.Random(seed))
        maker.search()
        maker.reevaluate()
        maker.train_in_full()
        study.flush(600)
    return paths


class _Maker:
    """Maker of one study."""

    def __init__(self, study: StudySession, space: Space, paths: StudyPaths, slots: int, chance: random.Random) -> None:
        self._study = study
        self._space = space
        self._cube = UnitCube(space)
        self._paths = paths
        self._slots = slots
        self._chance = chance
        self._clock = _Clock()
        self._timeline = Timeline(paths.timeline, self._clock.read)
        self._known: dict[int, _Progress] = {}
        self._interrupted: list[int] = []
        self._running: list[tuple[float, int, _Job]] = []
        self._rungs = (*space.settings.rung_epochs, space.settings.epochs)

    # The search.

    def search(self) -> None:
        self._fill(range(self._slots))
        killed = False
        while self._running:
            if not killed and len(self._known) > 0.6 * self._space.settings.trials:
                killed = True
                self._kill_driver()
                continue
            self._clock.now_s, _, job = heapq.heappop(self._running)
            self._end(job)
            self._clock.now_s += 2.0
            idle = set(range(self._slots)) - {each for _, each, _ in self._running}
            self._fill(sorted(idle))
        for trial in self._study.trials():
            if trial.state == TrialState.WAITING:
                epoch = self._known[trial.number].epoch
                value = trial.curve[epoch]
                reason = f"early stop at epoch {epoch}: {value:.4f} was not among the best at this rung"
                self._study.finish(trial.number, TrialState.PRUNED, reason=reason)
        spent_s = self._clock.now_s - _BEGAN_S - _BREAK_S
        self._study.note_searched(spent_s)
        epochs = sum(known.epoch for known in self._known.values())
        wall = spent_s / EPOCH_S
        estimate = EstimateFacts(
            trials=len(self._known),
            slots=self._slots,
            trained=(round(0.8 * epochs), round(1.1 * epochs)),
            wall=(round(0.7 * wall), round(wall)),
        )
        self._study.record_profiling(ProfilingFacts(estimate=estimate))

    def _fill(self, slots: range | list[int]) -> None:
        for slot in slots:
            number = self._next()
            if number is not None:
                self._begin(number, slot)

    def _next(self) -> int | None:
        if self._interrupted:
            return self._study.resume(self._interrupted.pop()).number
        paused = self._promotable()
        if paused is not None:
            return self._study.resume(paused).number
        if len(self._known) == self._space.settings.trials:
            return None
        sampled = self._sampled()
        number = self._study.begin(sampled, self._space).number
        self._known[number] = _Progress(quality=quality(self._space.resolve(sampled)))
        return number

    def _sampled(self) -> Mapping[str, ParamValue]:
        """Propose the default configuration, then chances, then neighbours of the best."""
        if not self._known:
            return self._space.baseline_sampled()
        complete = [t for t in self._study.trials() if t.value is not None]
        best = max(complete, key=lambda t: t.value or 0.0, default=None)
        point = self._cube.point(best.sampled if best else self._space.baseline_sampled())
        is_near = best is not None and self._chance.random() < 0.4
        for i in range(len(point)):
            point[i] = point[i] + self._chance.gauss(0, 0.12) if is_near else self._chance.random()
        return self._cube.sampled(point)

    def _promotable(self) -> int | None:
        """Return a paused trial that is among the best third of those that reached its rung."""
        trials = self._study.trials()
        for rung in reversed(self._rungs[:-1]):
            reached = sorted((t for t in trials if rung in t.curve), key=lambda t: -t.curve[rung])
            for trial in reached[: max(1, len(reached) // 3)]:
                if trial.is_paused and trial.facts.paused_at == rung:
                    return trial.number
        return None

    def _begin(self, number: int, slot: int) -> None:
        known = self._known[number]
        params = self._study.trial(number).params
        target = next(rung for rung in self._rungs if rung > known.epoch)
        if number == 0:
            target = self._rungs[-1]
        failure = self._failure(number, params) if number else ""
        if failure:
            target = min(target, known.epoch + 2) if failure != OUT_OF_MEMORY else known.epoch
        span = self._timeline.begin("search", number, self._study.spec.seed, slot)
        span.note(StartedRecord(pid=1, device=DEVICE))
        pace_s = EPOCH_S * (0.7 + 4.8 / float(params["batch"])) * self._chance.uniform(0.9, 1.1)
        seconds = pace_s * (target - known.epoch)
        known.seconds += seconds
        job = _Job(trial=number, target=target, span=span, failure=failure)
        heapq.heappush(self._running, (self._clock.now_s + 12.0 + seconds, slot, job))

    def _failure(self, number: int, params: Mapping[str, ParamValue]) -> str:
        known = self._known[number]
        # The first failure of each kind is certain, so that small studies have it too.
        if not known.epoch and (number == 2 or known.quality < 0.1):
            return "diverged"
        if (number == 4 and not known.attempts) or self._chance.random() < 0.02:
            return "infrastructure"
        if number == 7 or (params["batch"] == 64 and not known.epoch and self._chance.random() < 0.12):
            return OUT_OF_MEMORY
        return "error" if not known.epoch and self._chance.random() < 0.01 else ""

    def _end(self, job: _Job) -> None:
        number, known = job.trial, self._known[job.trial]
        if job.failure:
            self._fail(job)
            return
        curve = {rung: self._metric(number, rung) for rung in self._rungs if known.epoch < rung <= job.target}
        known.epoch = job.target
        job.span.note(_epoch(known.epoch, None))
        if known.epoch == self._rungs[-1]:
            job.span.note(EndRecord(outcome=Outcome.COMPLETED))
            job.span.end(DECIDED)
            self._finish(number, TrialState.COMPLETE, value=curve[known.epoch], curve=curve)
            return
        reached = [t.curve[known.epoch] for t in self._study.trials() if known.epoch in t.curve]
        value = curve[known.epoch]
        job.span.end(DECIDED)
        if sum(other > value for other in reached) > max(3, len(reached) * 0.6):
            reason = f"early stop at epoch {known.epoch}: {len(reached)} trials reached this rung, most of them better"
            self._finish(number, TrialState.PRUNED, reason=reason, curve=curve)
            return
        self._study.pause(number, known.epoch, value, self._facts(number))

    def _fail(self, job: _Job) -> None:
        number, known = job.trial, self._known[job.trial]
        if job.failure == "diverged":
            known.epoch = job.target
            job.span.note(_epoch(known.epoch, None))
            job.span.note(EndRecord(outcome=Outcome.DIVERGED))
            job.span.end(DECIDED)
            self._finish(number, TrialState.PRUNED, reason=f"diverged: the loss is nan at epoch {known.epoch}")
            return
        cause = {
            "infrastructure": f"the machine 10.0.0.{number % 8} was lost",
            OUT_OF_MEMORY: f"CUDA out of memory: tried to allocate {900 + number} MiB",
            "error": f"RuntimeError: stack expects tensors of equal size, but got [3, 640, {500 + number}]",
        }[job.failure]
        known.attempts.append(FailedAttempt(failure=job.failure, epoch=known.epoch, cause=cause))
        self._write_log(number, cause)
        if job.failure == "infrastructure":
            job.span.end(LOST)
            self._study.interrupt(number, self._facts(number))
            self._interrupted.append(number)
            return
        job.span.note(EndRecord(outcome=Outcome.OUT_OF_MEMORY if job.failure == OUT_OF_MEMORY else Outcome.ERROR))
        job.span.end(DECIDED)
        self._finish(number, TrialState.FAIL, reason=f"{job.failure}: {cause}", failure=job.failure)

    def _kill_driver(self) -> None:
        """Lose all that is running without a trace in the timeline, and start again hours later."""
        for _, _, job in sorted(self._running, key=lambda each: each[1]):
            self._study.interrupt(job.trial)
            self._interrupted.append(job.trial)
        self._running = []
        self._clock.now_s += _BREAK_S
        self._fill(range(self._slots))

    def _finish(
        self,
        number: int,
        state: TrialState,
        *,
        value: float | None = None,
        reason: str = "",
        curve: Mapping[int, float] | None = None,
        failure: str | None = None,
    ) -> None:
        facts = replace(self._facts(number), failure=failure)
        self._study.finish(number, state, value=value, reason=reason, curve=curve, facts=facts)

    def _facts(self, number: int) -> TrialFacts:
        known = self._known[number]
        return TrialFacts(
            device=DEVICE,
            epochs=known.epoch,
            seconds=round(known.seconds, 3),
            batch=int(self._study.trial(number).params["batch"]),
            directory=str(self._paths.trial(number)),
            log=str(self._paths.trial(number) / "trainer.log"),
            failed_attempts=tuple(known.attempts) or None,
        )

    def _metric(self, number: int, epoch: int, seed: int = 0, epochs: int = 54) -> float:
        noise = random.Random(f"{number} {epoch} {seed}").gauss(0, 0.006)
        return round(max(0.0, self._known[number].quality * (1 - math.exp(-3.5 * epoch / epochs)) + noise), 5)

    def _write_log(self, number: int, cause: str) -> None:
        folder = self._paths.trial(number)
        folder.mkdir(parents=True, exist_ok=True)
        text = _LOG.format(time="2026-09-21 10:00:00,000", epoch=self._known[number].epoch, cause=cause)
        (folder / "trainer.log").write_text(text)

    # After the search.

    def reevaluate(self) -> None:
        trials = self._study.trials()
        ranking = sorted((t for t in trials if t.value is not None), key=lambda t: -(t.value or 0.0))
        planned = plan([t.number for t in ranking], baseline=0, search_seed=self._study.spec.seed, max_runs=13)
        known = Reevaluated(plan=planned)
        free = [(self._clock.now_s, slot) for slot in range(self._slots)]
        while runs := next_runs(planned, known.evidence):
            for trial, seed in runs:
                self._clock.now_s, slot = heapq.heappop(free)
                span = self._timeline.begin("re-evaluation", trial, seed, slot)
                span.note(StartedRecord(pid=1, device=DEVICE))
                span.note(_epoch(54, None))
                span.note(EndRecord(outcome=Outcome.COMPLETED))
                seconds = 54 * EPOCH_S * (0.9 + 0.02 * (trial % 5))
                self._clock.now_s += seconds
                span.end(DECIDED)
                heapq.heappush(free, (self._clock.now_s, slot))
                run = EndedRun(
                    trial=trial, seed=seed, value=self._metric(trial, 54, seed), epochs=54, seconds=round(seconds, 3)
                )
                known = replace(known, runs=(*known.runs, run))
        self._clock.now_s = max(now_s for now_s, _ in free)
        self._study.record_reevaluation(replace(known, verdict=verdict(planned, known.evidence)).encoded())

    def train_in_full(self) -> None:
        winner, epochs = choose_winner(self._study), self._space.settings.promote_epochs
        number, folder = winner.trial.number, self._paths.final_run(winner.trial.number, epochs)
        folder.mkdir(parents=True)
        span = self._timeline.begin("final run", number, self._study.spec.seed, 0)
        span.note(StartedRecord(pid=1, device=DEVICE))
        records = [_epoch(e, 1.08 * self._metric(number, e, epochs=epochs)) for e in range(1, epochs + 1)]
        (folder / "records.jsonl").write_text("".join(f"{encode(record)}\n" for record in records))
        span.note(records[-1])
        span.note(EndRecord(outcome=Outcome.COMPLETED))
        self._clock.now_s += epochs * EPOCH_S
        span.end(DECIDED)
        best = max((record.metrics or {})["mAP50-95"] for record in records)
        self._study.record_final_run(
            FinalRunFacts(
                trial=number,
                epochs=epochs,
                directory=str(folder),
                state=TrialState.COMPLETE.name,
                gpus=1,
                metrics={"mAP50-95": best, "mAP50": 1.5 * best},
                checkpoint=str(folder / "weights" / "best.pt"),
            )
        )
        write_params(params_yaml(self._study, winner, epochs), self._paths.params)


def quality(params: Mapping[str, ParamValue]) -> float:
    """Return the metric that a configuration approaches: the learning rate matters most, saturation not at all."""
    best_lr0 = 0.025 if params["optimizer"] == "SGD" else 0.0012
    distance = math.log10(float(params["lr0"]) / best_lr0)
    if distance > (0.55 if params["optimizer"] == "SGD" else 0.85):
        return 0.05  # diverges
    loss = 0.11 * distance**2 + 0.05 * (float(params["mosaic"]) - 0.7) ** 2 + {16: 0.0, 32: 0.008, 64: 0.02}[
        int(params["batch"])
    ]  # fmt: skip
    return 0.44 - loss - 0.004 * abs(math.log10(float(params["weight_decay"]) / 5e-4))


def opened(paths: StudyPaths) -> StoredStudy:
    """Open a study that was made here."""
    return StoredStudy.in_folder(paths.root)


def _epoch(number: int, value: float | None) -> EpochRecord:
    return EpochRecord(
        epoch=number,
        losses={"box": 1.0, "cls": 1.0, "dfl": 1.0},
        metrics=None if value is None else {"mAP50-95": value, "mAP50": 1.5 * value, "precision": 0.5, "recall": 0.5},
        seconds=EPOCH_S,
        memory_gib=7.5,
        learning_rate=0.01,
        batch=16,
        checkpoint="last.pt",
    )


def _spec(space: Space) -> StudySpec:
    settings = space.settings
    return StudySpec(
        space_name=space.name,
        space=space.canonical(),
        metric=settings.metric,
        model="mamba-yolo-n",
        model_source="/models/mamba-yolo-n.yaml",
        portable_model="/models/mamba-yolo-n-untrained.pt",
        data="traffic-signs.yaml",
        data_source="/data/traffic-signs.yaml",
        data_sha256="0" * 64,
        num_classes=6,
        num_images={"train": 8000, "val": 2000},
        num_parameters=5_800_000,
        checkpoint_bytes=60_000_000,
        epochs=settings.epochs,
        rungs=settings.rung_epochs,
        reduction_factor=settings.reduction_factor,
        promote_epochs=settings.promote_epochs,
        seed=settings.seed,
        versions={"torch": "2.14.1", "ultralytics": "8.4.0"},
    )
