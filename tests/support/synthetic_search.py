"""Record a search without training: time is simulated, and the metrics come from a formula."""

import heapq
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from optuna.trial import TrialState

from tuner.contract import EndRecord, EpochRecord, Outcome, ParamValue, StartedRecord
from tuner.space import Space, UnitCube
from tuner.study import (
    DECIDED,
    LOST,
    EstimateFacts,
    FailedAttempt,
    OpenSpan,
    ProfilingFacts,
    StudyPaths,
    StudySession,
    Timeline,
    TrialFacts,
)

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
class Clock:
    """Clock with simulated time."""

    now_s: float = _BEGAN_S

    def read(self) -> float:
        """Return the time in seconds since 1970."""
        return self.now_s


@dataclass(slots=True)
class _Job:
    """Trial that a slot trains until an epoch."""

    trial: int
    target: int
    span: OpenSpan
    seconds: float
    """Training time until that epoch."""
    failure: str = ""
    """Failure at the end, or "diverged"; empty if there is none."""


@dataclass(slots=True)
class Progress:
    """State of a trial while the search runs."""

    quality: float
    epoch: int = 0
    seconds: float = 0.0
    attempts: list[FailedAttempt] = field(default_factory=list)


class SyntheticSearch:
    """Search that trains nothing: its slots work in simulated time, and its metrics come from a formula."""

    def __init__(self, study: StudySession, space: Space, paths: StudyPaths, slots: int, chance: random.Random) -> None:
        self._study = study
        self._space = space
        self._cube = UnitCube(space)
        self._paths = paths
        self._slots = slots
        self._chance = chance
        self.clock = Clock()
        self.timeline = Timeline(paths.timeline, self.clock.read)
        self.known: dict[int, Progress] = {}
        self._interrupted: list[int] = []
        self._running: list[tuple[float, int, _Job]] = []
        self._rungs = (*space.settings.rung_epochs, space.settings.epochs)

    def run(self) -> None:
        """Run the search to its end, through the death of its driver."""
        self._fill(range(self._slots))
        killed = False
        while self._running:
            if not killed and len(self.known) > 0.6 * self._space.settings.trials:
                killed = True
                self._kill_driver()
                continue
            self.clock.now_s, _, job = heapq.heappop(self._running)
            self._end(job)
            self.clock.now_s += 2.0
            idle = set(range(self._slots)) - {each for _, each, _ in self._running}
            self._fill(sorted(idle))
        for trial in self._study.trials():
            if trial.state == TrialState.WAITING:
                epoch = self.known[trial.number].epoch
                value = trial.curve[epoch]
                reason = f"early stop at epoch {epoch}: {value:.4f} was not among the best at this rung"
                self._study.finish(trial.number, TrialState.PRUNED, reason=reason)
        spent_s = self.clock.now_s - _BEGAN_S - _BREAK_S
        self._study.note_searched(spent_s)
        epochs = sum(known.epoch for known in self.known.values())
        wall = spent_s / EPOCH_S
        estimate = EstimateFacts(
            trials=len(self.known),
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
        if len(self.known) == self._space.settings.trials:
            return None
        sampled = self._sampled()
        number = self._study.begin(sampled, self._space).number
        self.known[number] = Progress(quality=quality(self._space.resolve(sampled)))
        return number

    def _sampled(self) -> Mapping[str, ParamValue]:
        """Propose the default configuration, then random ones, then neighbours of the best."""
        if not self.known:
            return self._space.baseline_sampled()
        complete = [t for t in self._study.trials() if t.value is not None]
        best = max(complete, key=lambda t: t.value or 0.0, default=None)
        point = self._cube.point(best.sampled if best else self._space.baseline_sampled())
        is_near = best is not None and self._chance.random() < 0.4
        for i in range(len(point)):
            # Half of the values of a neighbour are new, so that parameters without effect stay independent.
            is_kept = is_near and self._chance.random() < 0.5
            point[i] = point[i] + self._chance.gauss(0, 0.1) if is_kept else self._chance.random()
        return self._cube.sampled(point)

    def _promotable(self) -> int | None:
        """Return a paused trial among the best third of those that reached its rung."""
        trials = self._study.trials()
        for rung in reversed(self._rungs[:-1]):
            reached = sorted((t for t in trials if rung in t.curve), key=lambda t: -t.curve[rung])
            for trial in reached[: max(1, len(reached) // 3)]:
                if trial.is_paused and trial.facts.paused_at == rung:
                    return trial.number
        return None

    def _begin(self, number: int, slot: int) -> None:
        known = self.known[number]
        params = self._study.trial(number).params
        target = next(rung for rung in self._rungs if rung > known.epoch)
        if number == 0:
            target = self._rungs[-1]
        failure = self._failure(number, params) if number else ""
        if failure:
            target = min(target, known.epoch + 2) if failure != OUT_OF_MEMORY else known.epoch
        span = self.timeline.begin("search", number, self._study.spec.seed, slot)
        span.note(StartedRecord(pid=1, device=DEVICE))
        pace_s = EPOCH_S * (0.7 + 4.8 / float(params["batch"])) * self._chance.uniform(0.9, 1.1)
        seconds = pace_s * (target - known.epoch)
        job = _Job(trial=number, target=target, span=span, seconds=seconds, failure=failure)
        heapq.heappush(self._running, (self.clock.now_s + 12.0 + seconds, slot, job))

    def _failure(self, number: int, params: Mapping[str, ParamValue]) -> str:
        known = self.known[number]
        # The first failure of each kind is certain, so that small studies have it too.
        if not known.epoch and (number == 2 or known.quality < 0.1):
            return "diverged"
        if (number == 4 and not known.attempts) or self._chance.random() < 0.02:
            return "infrastructure"
        if number == 7 or (params["batch"] == 64 and not known.epoch and self._chance.random() < 0.12):
            return OUT_OF_MEMORY
        return "error" if not known.epoch and self._chance.random() < 0.01 else ""

    def _end(self, job: _Job) -> None:
        number, known = job.trial, self.known[job.trial]
        if job.failure:
            self._fail(job)
            return
        curve = {rung: self.metric(number, rung) for rung in self._rungs if known.epoch < rung <= job.target}
        known.epoch = job.target
        known.seconds += job.seconds
        job.span.note(epoch_record(known.epoch, None))
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
        number, known = job.trial, self.known[job.trial]
        if job.failure == "diverged":
            known.epoch = job.target
            known.seconds += job.seconds
            job.span.note(epoch_record(known.epoch, None))
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
        """Lose everything that is running without a trace in the timeline, and start again hours later."""
        for _, _, job in sorted(self._running, key=lambda each: each[1]):
            self._study.interrupt(job.trial)
            self._interrupted.append(job.trial)
        self._running = []
        self.clock.now_s += _BREAK_S
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
        known = self.known[number]
        return TrialFacts(
            device=DEVICE,
            epochs=known.epoch,
            seconds=round(known.seconds, 3),
            batch=int(self._study.trial(number).params["batch"]),
            directory=str(self._paths.trial(number)),
            log=str(self._paths.trial(number) / "trainer.log"),
            failed_attempts=tuple(known.attempts) or None,
        )

    def metric(self, number: int, epoch: int, seed: int = 0, epochs: int = 54) -> float:
        """Return the metric of a trial after an epoch, with noise that depends on epoch and seed."""
        noise = random.Random(f"{number} {epoch} {seed}").gauss(0, 0.006)
        return round(max(0.0, self.known[number].quality * (1 - math.exp(-3.5 * epoch / epochs)) + noise), 5)

    def _write_log(self, number: int, cause: str) -> None:
        folder = self._paths.trial(number)
        folder.mkdir(parents=True, exist_ok=True)
        text = _LOG.format(time="2026-09-21 10:00:00,000", epoch=self.known[number].epoch, cause=cause)
        (folder / "trainer.log").write_text(text)


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


def epoch_record(number: int, value: float | None) -> EpochRecord:
    """Return the record of an epoch; without a value, it was not validated."""
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
