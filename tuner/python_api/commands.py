"""Run the verbs of the command line from Python, with the same options, defaults and checks."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.cli.arguments import STORAGE_VARIABLE, data_source, model_source
from tuner.contract import ParamValue
from tuner.contract.data_report import DataReport, decode_report
from tuner.exceptions import DataError, MachineError
from tuner.python_api._arguments import Name, drive_verb, home_folder, space_file
from tuner.python_api._driver import Progress, listener
from tuner.python_api.study import Study
from tuner.report.progress import COST_PREFIX

if TYPE_CHECKING:
    from tuner.diagnosis import Run
    from tuner.report.studies import StudySummary


def run(
    space: Name | Mapping[str, object],
    *,
    data: Name | None = None,
    model: Name | None = None,
    gpus: int | Sequence[int] | None = None,
    parallel: int | None = None,
    trials_per_gpu: int | str | None = None,
    study: str | None = None,
    home: Name | None = None,
    storage: str | None = None,
    warm_start: Sequence[str] = (),
    settings: Mapping[str, ParamValue] | None = None,
    imgsz: int | None = None,
    trials: int | None = None,
    epochs: int | None = None,
    grace_epochs: int | None = None,
    rungs: Sequence[int] | None = None,
    reduction_factor: int | None = None,
    strategy: str | None = None,
    sampler: str | None = None,
    seed: int | None = None,
    metric: str | None = None,
    reevaluation_runs: int | None = None,
    promote_epochs: int | None = None,
    promote_deterministic: bool | None = None,
    promote: bool = True,
    validate_every_epoch: bool = False,
    max_hours: float | None = None,
    gpu_hours: float | None = None,
    no_improvement: int | None = None,
    address: str | None = None,
    artifacts: str | None = None,
    trainer: str | None = None,
    hang_after: float | None = None,
    start_within: float | None = None,
    cache_gib: float | str | None = None,
    on_end: str | None = None,
    notify: Sequence[str] = (),
    log: Sequence[str] = (),
    progress: Progress = False,
) -> Study:
    """Search a space, compare the best trials with the default, train the winner in full; return the study.

    It does what `tune run` does with the options of the same names (`settings` are those of `--set`), in a process of
    its own: no signal handler, no Ray and no output in this one. The same call again resumes an interrupted run. It
    blocks until the run has ended; in a running event loop use `await asyncio.to_thread(tuner.run, ...)`.

    Args:
        space: Space file, name of a shipped space, or the content of a space file as a mapping.
        data: Data set YAML, or "sample"; None for that of the space.
        model: Model; None for that of the space, or the one that the data check suggests.
        gpus: Number of GPUs, or their indices; 0 for the CPU, None for all.
        parallel: Trials to run at once; None for `trials_per_gpu` on each GPU, or one per CPU core.
        trials_per_gpu: Trials that share a GPU, or "auto" to measure how many pay; None for 1.
        study: Name of the study; None for space-data-model.
        home: Folder that holds the studies; None for $TUNE_HOME, or "studies".
        storage: Database URL; None for $TUNE_STORAGE, or an SQLite file in the study's folder.
        warm_start: Studies whose best configurations are tried first.
        settings: Parameters to fix for all trials, overriding the space.
        imgsz: Image size for all trials.
        trials: Number of trials.
        epochs: Epochs of a complete trial.
        grace_epochs: Epoch of the first rung.
        rungs: Epochs at which trials are compared.
        reduction_factor: One trial in this many continues at a rung.
        strategy: "auto", "asha-promotion" or "asha-stopping".
        sampler: "auto", "model", "tpe", "gp", "cmaes" or "random".
        seed: Random seed of the search.
        metric: "mAP50-95", "mAP50", "precision" or "recall".
        reevaluation_runs: Maximum re-evaluation runs on fresh seeds; 0 disables.
        promote_epochs: Epochs of the final run.
        promote_deterministic: Value of `deterministic` in the final run; None for that of the trials.
        promote: Train the winner in full after the search.
        validate_every_epoch: Validate after every epoch, not only at rungs.
        max_hours: Wall time after which the search ends.
        gpu_hours: Training time in total after which the search ends.
        no_improvement: Trials without a better result after which the search ends.
        address: Ray cluster to join; None to start Ray on this machine.
        artifacts: Store for the files of runs, if the machines share no folder; None for $TUNE_ARTIFACTS, or the
            study's folder.
        trainer: Command of your own trainer.
        hang_after: Seconds of silence after which a trainer is restarted.
        start_within: The same before the first epoch has ended.
        cache_gib: Maximum size in GiB of the decoded images that all runs on a machine share; 0 shares none. None or
            "auto" shares those of the run if they fit into half of the free memory and a fifth of the free disk.
        on_end: Shell command to run when the run ends.
        notify: URLs to notify when the run ends.
        log: Trackers that log the run: "tensorboard", "mlflow" or "wandb"; "none" ignores those of the space.
        progress: True to print the lines of the run, or a function that receives each of them.

    Raises:
        TunerError: see `tuner.exceptions`; RunStoppedError after a signal from outside.
        KeyboardInterrupt: The caller was interrupted; all states are written, and the same call resumes the run.
    """
    options = dict(locals())  # the parameters, by the names of the command's options
    del options["progress"]
    from tuner.cli.run import default_study_name
    from tuner.space import find_space, load_space
    from tuner.study import checked_study_name

    if study is not None:
        checked_study_name(study)
    with space_file(space, study) as file:
        loaded = load_space(find_space(file, Path.cwd()))
        source = data_source(str(data) if data is not None else loaded.data)
        named = str(model) if model is not None else loaded.model
        chosen = model_source(named) if named is not None else _advised_model(source, trainer)
        name = study or default_study_name(loaded.name, source, chosen)
        options |= {"space": file, "data": source, "model": chosen, "study": name, "home": home_folder(home)}
        drive_verb("run", options, progress)
    return open_study(name, home=home, storage=storage)


def estimate(
    space: Name | Mapping[str, object],
    *,
    data: Name | None = None,
    model: Name | None = None,
    gpus: int | Sequence[int] | None = None,
    parallel: int | None = None,
    trials_per_gpu: int | str | None = None,
    settings: Mapping[str, ParamValue] | None = None,
    imgsz: int | None = None,
    trials: int | None = None,
    epochs: int | None = None,
    grace_epochs: int | None = None,
    rungs: Sequence[int] | None = None,
    reduction_factor: int | None = None,
    strategy: str | None = None,
    reevaluation_runs: int | None = None,
    promote_epochs: int | None = None,
    promote: bool = True,
    address: str | None = None,
    artifacts: str | None = None,
    trainer: str | None = None,
    progress: Progress = False,
) -> tuple[str, ...]:
    """Time one epoch and estimate the cost of `run` with the same arguments, as `tune run --dry-run` does.

    It has the arguments of `run` that change the cost, and leaves no study behind.

    Returns:
        The estimate, one line for each part: trials, epochs, hours and disk space.

    Raises:
        TunerError: see `tuner.exceptions`.
        KeyboardInterrupt: The caller was interrupted.
    """
    options = dict(locals())
    del options["progress"]
    listen = listener(progress)
    lines: list[str] = []

    def keep(line: str) -> None:
        lines.append(line)
        listen(line)

    with space_file(space, None) as file:
        drive_verb("run", {**options, "space": file, "dry_run": True}, keep)
    return tuple(line.removeprefix(COST_PREFIX) for line in lines if line.startswith(COST_PREFIX))


def promote(
    study: Study,
    *,
    epochs: int | None = None,
    deterministic: bool | None = None,
    data: Name | None = None,
    model: Name | None = None,
    gpus: int | Sequence[int] | None = None,
    address: str | None = None,
    artifacts: str | None = None,
    trainer: str | None = None,
    hang_after: float | None = None,
    start_within: float | None = None,
    cache_gib: float | str | None = None,
    on_end: str | None = None,
    notify: Sequence[str] = (),
    log: Sequence[str] = (),
    progress: Progress = False,
) -> Study:
    """Train the winner of a search in full, or resume this final run, as `tune promote` does; return the study.

    Args:
        study: Study of a search.
        epochs: Epochs of the final run; None for those of the space.
        deterministic: True to train only with operations that give the same bits each time, False for faster ones;
            None for what the run began with, or what the space says.
        data: New location of the data set, if it was moved.
        model: New location of the model, if it was moved.
        gpus: Number of GPUs, or their indices; 0 for the CPU, None for all.
        address: Ray cluster to join; None to start Ray on this machine.
        artifacts: New place of the store for the files of runs, if it has moved.
        trainer: Command of your own trainer.
        hang_after: Seconds of silence after which the trainer is restarted.
        start_within: The same before the first epoch has ended.
        cache_gib: Maximum size in GiB of the decoded images that all runs on a machine share; 0 shares none. None or
            "auto" shares those of the run if they fit into half of the free memory and a fifth of the free disk.
        on_end: Shell command to run when the run ends.
        notify: URLs to notify when the run ends.
        log: Trackers that log the run: "tensorboard", "mlflow" or "wandb".
        progress: True to print the lines of the run, or a function that receives each of them.

    Raises:
        TunerError: see `tuner.exceptions`; RunStoppedError after a signal from outside.
        KeyboardInterrupt: The caller was interrupted; the same call resumes the run.
    """
    options = dict(locals())
    for name in ("study", "progress"):
        del options[name]
    url, paths = study.location
    drive_verb("promote", {**options, "home": paths.root.parent, "storage": url}, progress, study.name)
    return study


def train(
    *,
    out: Name,
    params: Name | None = None,
    data: Name | None = None,
    model: Name | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    settings: Mapping[str, ParamValue] | None = None,
    stage: Sequence[str] = (),
    batch: int | str | None = None,
    patience: int | None = None,
    save_period: int | None = None,
    distill: Name | None = None,
    backup: Name | None = None,
    warm_restart: Name | None = None,
    gpus: int | Sequence[int] | None = None,
    trainer: str | None = None,
    hang_after: float | None = None,
    start_within: float | None = None,
    cache_gib: float | str | None = None,
    progress: Progress = False,
) -> "Run":
    """Train one configuration in full, or resume this run, as `tune train` does; return its records.

    Args:
        out: Folder of the run; the weights are in weights/best.pt.
        params: File of arguments, such as params.yaml; None for the defaults of medium_aug.
        data: Data set YAML, or "sample"; None for that of the file.
        model: Model; None for that of the file, or the one that the data check suggests.
        epochs: Number of epochs; None for that of the file, or 300.
        seed: Random seed; None for that of the file, or 0.
        settings: Training arguments of ultralytics, overriding the file.
        stage: Image sizes and batches up to an epoch, each as "EPOCH:IMGSZ:BATCH".
        batch: Batch size over all GPUs, or "auto".
        patience: Epochs without a better one after which the run ends; 0 disables.
        save_period: Epochs between the checkpoints that are kept.
        distill: Weights of a larger model to distil from.
        backup: Folder or URL to copy the weights to.
        warm_restart: Run that is stuck, to start from its best weights.
        gpus: Number of GPUs, or their indices; 0 for the CPU, None for all.
        trainer: Command of your own trainer.
        hang_after: Seconds of silence after which the trainer is restarted.
        start_within: The same before the first epoch has ended.
        cache_gib: Maximum size in GiB of the decoded images that all runs on a machine share; 0 shares none. None or
            "auto" shares those of the run if they fit into half of the free memory and a fifth of the free disk.
        progress: True to print the lines of the run, or a function that receives each of them.

    Raises:
        TunerError: see `tuner.exceptions`; RunStoppedError after a signal from outside.
        KeyboardInterrupt: The caller was interrupted; the same call resumes the run.
    """
    options = dict(locals())
    del options["progress"]
    drive_verb("train", options, progress)
    from tuner.diagnosis import read_run

    return read_run(Path(out))


def check_data(data: Name, *, trainer: str | None = None) -> DataReport:
    """Check every image and label of a data set, as `tune data check` does; return the report.

    Args:
        data: Data set YAML, or "sample".
        trainer: Command of your own trainer.

    Raises:
        DataError: The data set cannot be read at all. One that must not be trained on has a `refusal` in its report.
        MachineError: The trainer does not work.
    """
    lines: list[str] = []
    try:
        drive_verb("data", {"trainer": trainer, "json": True}, lines.append, "check", str(data))
    except DataError:
        if not any(line.startswith("{") for line in lines):
            raise
    text = "\n".join(lines)
    if "{" not in text:
        raise MachineError("The data check printed no report; run `tune data check` to find the cause.")
    return decode_report(text[text.index("{") : text.rindex("}") + 1])


def open_study(name: Name, *, home: Name | None = None, storage: str | None = None) -> Study:
    """Open a study that exists; it may be running.

    Args:
        name: Name of the study, or its folder.
        home: Folder that holds the studies; None for $TUNE_HOME, or "studies".
        storage: Database URL; None for $TUNE_STORAGE, or the SQLite file in the study's folder.

    Raises:
        UsageError: There is no such study.
        StorageError: The database cannot be used.
    """
    from tuner.storage.urls import sqlite_url
    from tuner.study import StoredStudy, StudyPaths

    folder = Path(name)
    is_folder = folder.name != str(name)
    paths = StudyPaths.of(folder.parent if is_folder else home_folder(home), folder.name)
    url = storage or os.environ.get(STORAGE_VARIABLE) or sqlite_url(paths.database)
    return Study(StoredStudy.open(url, folder.name, paths.root), paths)


def studies(home: Name | None = None, *, storage: str | None = None) -> "tuple[StudySummary, ...]":
    """Summarise the studies below a folder, and those of a database, ordered by name, as `tune status` lists them.

    Args:
        home: Folder that holds the studies; None for $TUNE_HOME, or "studies".
        storage: URL of a database with further studies; None for $TUNE_STORAGE, or none.
    """
    from tuner.report.studies import summaries

    names = [path.parent.name for path in home_folder(home).glob("*/study.db")]
    urls = [storage] if storage else os.environ.get(STORAGE_VARIABLE, "").split()
    return tuple(summaries(home_folder(home), names, urls))


def _advised_model(data: str, trainer: str | None) -> str:
    from tuner.workflows.data_check import model_advice

    return model_advice(check_data(data, trainer=trainer)).choice
