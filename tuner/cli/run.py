"""Implement `tune run`."""

import re
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli import completion
from tuner.cli.arguments import (
    DEFAULT_HOME,
    Address,
    Artifacts,
    CacheGib,
    Gpus,
    HangAfter,
    Home,
    Log,
    Notify,
    OnEnd,
    Parallel,
    StartWithin,
    Storage,
    Trainer,
    TrialsPerGpu,
    chosen_model,
    data_name,
    data_source,
    given_command,
    hooks_of,
    machines,
    open_study,
    started_view,
    storage_url,
)
from tuner.exceptions import UsageError
from tuner.execution.watchdog import LEAST_S, START_S

if TYPE_CHECKING:
    from tuner.search.warm_start import Start
    from tuner.space import Space


def run(
    context: typer.Context,
    space: Annotated[
        str,
        typer.Option(
            help="Space file or name of a shipped space: quick, strong_aug, full, ...", autocompletion=completion.spaces
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set YAML or COCO JSON, or sample for the bundled data set. Default: that of the space."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="mamba-yolo-n|t|b|l, a detection YAML (yolov8n.yaml), or a .pt to fine-tune. Default: that of the "
            "space, or the one that the data check suggests."
        ),
    ] = None,
    gpus: Gpus = None,
    parallel: Parallel = None,
    trials_per_gpu: TrialsPerGpu = "1",
    study: Annotated[str | None, typer.Option(help="Name of the study. Default: space-data-model.")] = None,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STUDY|FILE",
            autocompletion=completion.study_names,
            help="Try the best configurations of an earlier study, or of a file (see `tune import-results`), first, "
            "adapted to this space; repeat the option to combine several.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Fix a parameter for all trials, for example batch=16; overrides the space; may be repeated.",
        ),
    ] = None,
    imgsz: Annotated[int | None, typer.Option(help="Image size for all trials; the same as --set imgsz=N.")] = None,
    trials: Annotated[int | None, typer.Option(help="Number of trials; overrides the space.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of a complete trial; overrides the space.")] = None,
    grace_epochs: Annotated[int | None, typer.Option(help="Epoch of the first rung; overrides the space.")] = None,
    rungs: Annotated[
        str | None,
        typer.Option(help="Epochs at which trials are compared, for example 3,9,27; overrides the space."),
    ] = None,
    reduction_factor: Annotated[
        int | None, typer.Option(help="One trial in this many continues at a rung; overrides the space.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="Strategy: auto, asha-promotion or asha-stopping; overrides the space.",
            autocompletion=completion.strategies,
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="Sampler: auto, model, tpe, gp, cmaes or random; overrides the space.",
            autocompletion=completion.samplers,
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed of the search; overrides the space.")] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Metric to maximise: mAP50-95, mAP50, precision or recall; overrides the space.",
            autocompletion=completion.metrics,
        ),
    ] = None,
    reevaluation_runs: Annotated[
        int | None,
        typer.Option(
            help="Maximum re-evaluation runs on fresh seeds (6 or more; 0 disables). They compare the best trials with "
            "the default configuration. Default: a quarter of what the search has trained, but 6 to 20 runs."
        ),
    ] = None,
    promote_epochs: Annotated[int | None, typer.Option(help="Epochs of the final run; overrides the space.")] = None,
    promote_deterministic: Annotated[
        bool | None,
        typer.Option(
            "--promote-deterministic/--promote-fast",
            help="Value of `deterministic` in the final run; overrides the space. Default: that of the trials "
            "(--set deterministic=false).",
        ),
    ] = None,
    promote: Annotated[bool, typer.Option(help="Train the winner in full after the search.")] = True,
    validate_every_epoch: Annotated[
        bool, typer.Option("--validate-every-epoch", help="Validate after every epoch, not only at rungs.")
    ] = False,
    max_hours: Annotated[
        float | None,
        typer.Option(metavar="HOURS", help="End the search after this much wall time, over all runs of the study."),
    ] = None,
    gpu_hours: Annotated[
        float | None,
        typer.Option(
            metavar="HOURS",
            help="End the search after this much training in total; a slot on the CPU counts as a GPU.",
        ),
    ] = None,
    no_improvement: Annotated[
        int | None,
        typer.Option(metavar="TRIALS", help="End the search after this many trials without a better result."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Time one epoch and estimate the cost of the run, without starting it.")
    ] = False,
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
    """Search a space, compare the best trials with the default, train the winner in full, write params.yaml.

    Run the same command again to resume an interrupted run.

    Examples:

        tune run --space quick

        tune run --space strong_aug.yaml --data my/dataset.yaml --model mamba-yolo-t --gpus 8

        tune run --space strong_aug --data my/dataset.yaml --imgsz 416 --set batch=32

        tune run --space strong_aug --data new/dataset.yaml --warm-start strong_aug-dataset-mamba-yolo-t
    """
    view = started_view(context, plain=plain)
    from tuner.decisions.stopping import Budget
    from tuner.study import StudyPaths, checked_study_name
    from tuner.trackers.choice import chosen_trackers
    from tuner.workflows import run as service
    from tuner.workflows.hooks import Hooks, reported_end
    from tuner.workflows.options import RunOptions

    loaded, fixed = chosen_space(context.params)
    trackers = chosen_trackers(log or (), loaded.log)
    bounds = Budget(hours=max_hours, gpu_hours=gpu_hours, no_improvement=no_improvement)
    if study is not None:
        checked_study_name(study)
    if fixed:
        view.note(f"set    {', '.join(fixed)} for all trials; overrides the space")
    hooks = hooks_of(on_end, notify)
    with reported_end(Hooks() if dry_run else hooks, view.note) as end:
        source = data_source(data or loaded.data)
        where = machines(
            gpus, parallel, address, trainer, hang_after, start_within, cache_gib, trials_per_gpu, artifacts
        )
        chosen = chosen_model(model or loaded.model, source, where.trainer, view.note)
        name = default_study_name(loaded.name, source, chosen) if study is None else study
        paths = StudyPaths.of(home, name)
        end.concerns(name, paths)
        url = storage_url(storage, paths)
        options = RunOptions(
            space=loaded,
            data=source,
            model=chosen,
            name=name,
            paths=paths,
            storage=url,
            machines=where,
            warm_start=_warm_start(loaded, list(dict.fromkeys(warm_start or ())), name, home, storage, view.note),
            promote=promote,
            validate_every_epoch=validate_every_epoch,
            bounds=bounds,
            command=given_command(context),
            trackers=trackers,
        )
        if dry_run:
            service.estimate_only(options, view)
        else:
            service.run(options, view, end)


_OVERRIDES = (
    "trials",
    "epochs",
    "grace_epochs",
    "reduction_factor",
    "strategy",
    "sampler",
    "seed",
    "metric",
    "reevaluation_runs",
    "promote_epochs",
    "promote_deterministic",
)
"""Options that override a setting of the space."""


def chosen_space(options: Mapping[str, Any]) -> "tuple[Space, list[str]]":
    """Load and check the space of the options of `run`; return it and the values that are fixed for all trials.

    Raises:
        SpaceError: The space, or an option that overrides it, breaks a rule.
        UsageError: There is no such file.
    """
    from tuner.space import find_space, load_space, with_fixed

    overrides = {name: options[name] for name in _OVERRIDES}
    own = load_space(find_space(options["space"], Path.cwd())).with_settings(
        rungs=_rungs(options["rungs"]), **overrides
    )
    fixed = _settings(options["settings"] or [], options["imgsz"])
    return with_fixed(own, fixed), fixed


def _settings(settings: list[str], imgsz: int | None) -> list[str]:
    if imgsz is None:
        return settings
    if any(setting.partition("=")[0].strip() == "imgsz" for setting in settings):
        raise UsageError("--imgsz and --set imgsz exclude each other, but both are given; omit one.")
    return [*settings, f"imgsz={imgsz}"]


def _warm_start(
    space: "Space", earlier: list[str], name: str, home: Path, storage: str | None, tell: Callable[[str], None]
) -> "tuple[Start, ...]":
    """Return the configurations that earlier studies and files provide for a new study of this name."""
    from tuner.report.imported import import_line, import_summary
    from tuner.search.warm_start import source_of
    from tuner.search.warm_start import warm_start as warm_start_of
    from tuner.training.warm_start_file import is_file_name, read_configurations

    if name in earlier:
        raise UsageError(f"--warm-start must name another study, but got the study of this run, '{name}'; omit it.")
    sources = []
    for each in earlier:
        if is_file_name(each):
            results = read_configurations(Path(each))
            tell(f"start  {import_line(import_summary(space, results))}")
            sources.append(results.source)
        else:
            with closing(open_study(each, home, storage)[0]) as study:
                sources.append(source_of(study))
    return warm_start_of(space, sources)


def _rungs(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"--rungs must be epochs separated by commas, such as 3,9,27, but got {text!r}.")
    return tuple(int(part) for part in parts)


def default_study_name(space: str, data: str, model: str) -> str:
    """Return the same name for the same command, so that repeating the command resumes the study."""
    parts = (space, data_name(data), Path(model).stem)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts)).strip("-._")[:64]
