"""Make finished studies of any size in seconds: a real database, timeline and logs, without training anything.

Epochs take no time: a clock that is set, not waited for, runs the slots. Metrics come from a formula in which the
learning rate matters most, so charts have something to show and tests know what is true.
"""

import heapq
import random
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from optuna.trial import TrialState

from tests.support.synthetic_search import DEVICE, EPOCH_S, SyntheticSearch, epoch_record
from tuner.comparison.contest import plan
from tuner.comparison.record import EndedRun, Reevaluated
from tuner.comparison.verdict import next_runs, verdict
from tuner.contract import EndRecord, Outcome, StartedRecord, encode
from tuner.space import Space, parse_space
from tuner.storage.lease import study_lease
from tuner.study import DECIDED, FinalRunFacts, StudyPaths, StudySession, StudySpec, driven_study
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


def synthetic_study(
    home: Path, *, trials: int, slots: int, seed: int = 0, name: str = NAME, storage: str | None = None
) -> StudyPaths:
    """Write a finished study and return its paths.

    Args:
        home: Folder for the study's folder.
        trials: Number of trials; from 12 on, some fail, diverge, are paused and stopped.
        slots: Number of slots that train at the same time.
        seed: Seed of all random numbers.
        name: Name of the study.
        storage: Database URL; None for an SQLite file in the study's folder.
    """
    paths = StudyPaths.of(home, name)
    paths.create()
    space = parse_space(SPACE, name="full", file="full.yaml").with_settings(trials=trials, seed=seed)
    url = storage or f"sqlite:///{paths.database}"
    with ExitStack() as stack:
        lease = stack.enter_context(study_lease(url, name))
        study = stack.enter_context(driven_study(lease, _spec(space), paths.journal))
        search = SyntheticSearch(study, space, paths, slots, random.Random(seed))
        search.run()
        _reevaluate(study, search, slots)
        _train_in_full(study, search, paths)
        study.flush(600)
    return paths


def _reevaluate(study: StudySession, search: SyntheticSearch, slots: int) -> None:
    trials = study.trials()
    ranking = sorted((t for t in trials if t.value is not None), key=lambda t: -(t.value or 0.0))
    planned = plan([t.number for t in ranking], baseline=0, search_seed=study.spec.seed, max_runs=13)
    known = Reevaluated(plan=planned)
    free = [(search.clock.now_s, slot) for slot in range(slots)]
    while runs := next_runs(planned, known.evidence):
        for trial, seed in runs:
            search.clock.now_s, slot = heapq.heappop(free)
            span = search.timeline.begin("re-evaluation", trial, seed, slot)
            span.note(StartedRecord(pid=1, device=DEVICE))
            span.note(epoch_record(54, None))
            span.note(EndRecord(outcome=Outcome.COMPLETED))
            seconds = 54 * EPOCH_S * (0.9 + 0.02 * (trial % 5))
            search.clock.now_s += seconds
            span.end(DECIDED)
            heapq.heappush(free, (search.clock.now_s, slot))
            run = EndedRun(
                trial=trial, seed=seed, value=search.metric(trial, 54, seed), epochs=54, seconds=round(seconds, 3)
            )
            known = replace(known, runs=(*known.runs, run))
    search.clock.now_s = max(now_s for now_s, _ in free)
    study.record_reevaluation(replace(known, verdict=verdict(planned, known.evidence)).encoded())


def _train_in_full(study: StudySession, search: SyntheticSearch, paths: StudyPaths) -> None:
    winner, epochs = choose_winner(study), study.spec.promote_epochs
    number, folder = winner.trial.number, paths.final_run(winner.trial.number, epochs)
    folder.mkdir(parents=True)
    span = search.timeline.begin("final run", number, study.spec.seed, 0)
    span.note(StartedRecord(pid=1, device=DEVICE))
    records = [epoch_record(e, 1.08 * search.metric(number, e, epochs=epochs)) for e in range(1, epochs + 1)]
    (folder / "records.jsonl").write_text("".join(f"{encode(record)}\n" for record in records))
    span.note(records[-1])
    span.note(EndRecord(outcome=Outcome.COMPLETED))
    search.clock.now_s += epochs * EPOCH_S
    span.end(DECIDED)
    best = max((record.metrics or {})["mAP50-95"] for record in records)
    study.record_final_run(
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
    write_params(params_yaml(study, winner, epochs), paths.params)


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
