"""Implement `tune promote`."""

from typing import Annotated

import typer

from tuner.cli.arguments import (
    DEFAULT_HOME,
    Address,
    Artifacts,
    CacheGib,
    DataNow,
    Gpus,
    HangAfter,
    Home,
    Log,
    ModelNow,
    Notify,
    OnEnd,
    StartWithin,
    Storage,
    StudyName,
    Trainer,
    data_source,
    hooks_of,
    machines,
    model_source,
    open_study,
    started_view,
)
from tuner.execution.watchdog import LEAST_S, START_S


def promote(
    context: typer.Context,
    study: StudyName,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epochs of the final run. Default: those of the space. If given, the run also follows a search that "
            "learnt nothing.",
        ),
    ] = None,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--fast",
            help="Train only with operations that give the same bits each time, or with faster ones. Default: as the "
            "run began, or as the space says.",
        ),
    ] = None,
    data: DataNow = None,
    model: ModelNow = None,
    gpus: Gpus = None,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
    address: Address = None,
    artifacts: Artifacts = None,
    trainer: Trainer = None,
    hang_after: HangAfter = LEAST_S,
    start_within: StartWithin = START_S,
    cache_gib: CacheGib = "auto",
    on_end: OnEnd = None,
    notify: Notify = None,
    log: Log = None,
    plain: Annotated[bool, typer.Option("--plain", help="Print plain lines instead of a live view.")] = False,
) -> None:
    """Train the winner of a search in full, or resume this final run."""
    view = started_view(context, plain=plain)
    from tuner.trackers.choice import chosen_trackers
    from tuner.workflows import run as service
    from tuner.workflows.hooks import reported_end

    trackers = chosen_trackers(log or ())
    hooks = hooks_of(on_end, notify)
    opened, paths = open_study(study, home, storage)
    with reported_end(hooks, view.note) as end:
        end.concerns(opened.name, paths)
        where = machines(gpus, None, address, trainer, hang_after, start_within, cache_gib, artifacts=artifacts)
        service.promote(
            opened.url,
            opened.name,
            paths,
            epochs,
            where,
            view,
            end,
            deterministic=deterministic,
            data=None if data is None else data_source(data),
            model=None if model is None else model_source(model),
            trackers=trackers,
        )
