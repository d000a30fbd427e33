"""Drive a study: keep it in memory and write every change to its database."""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.contract import ParamValue
from tuner.exceptions import StorageError, StudyChangedError, UsageError
from tuner.storage.database import masked, open_storage, sqlite_path, translated
from tuner.storage.lease import Lease
from tuner.study._changes import Change, Replica
from tuner.study._journal import Journal
from tuner.study._places import found, kept, placed, renewed
from tuner.study._records import PAUSED_AT, Proposal, StudySpec, TrialRecord, trial_record
from tuner.study._stored_study import FINAL_RUN, PROFILING, REEVALUATION, SEARCHED, SPEC, foreign, spec_of
from tuner.study._witness import Witness
from tuner.study._writer import Writer
from tuner.system.atomic_files import write_whole

if TYPE_CHECKING:  # reading a study needs no space
    from tuner.space import Space

_LAST_CHANCE_S = 5.0
"""Time that a driver waits at its end for a database that does not answer, in seconds."""

_INFEASIBLE = "resources"
"""Optuna constraint that a trial violates if the machine cannot train it."""


@contextlib.contextmanager
def driven_study(
    lease: Lease,
    spec: StudySpec | None,
    journal: Path,
    on_event: Callable[[str], None] = lambda line: None,
) -> Iterator["StudySession"]:
    """Drive the study of a lease within the block; create it with `spec` if it does not exist.

    An existing study keeps its own spec. Changes that an earlier driver left in the journal are written first. If the
    files of the record are removed, moved or replaced meanwhile, the whole study is saved in the journal.

    Args:
        lease: Lease of the study.
        spec: Spec of a new study; None if the study must exist.
        journal: Journal file in the study's folder.
        on_event: Receives one-line messages, for example when the database becomes unreachable or answers again.

    Raises:
        StorageError: The database cannot be used, or tune did not make the study.
        RecordRemovedError: The files of the record were removed, moved or replaced.
        UsageError: The study does not exist, and there is no `spec` to create it.
    """
    storage = open_storage(lease.url)
    with translated(lease.url):
        _begin(storage, lease.study, spec, journal.parent)
        replica = _replica(storage, lease.study)
        backlog = Journal(journal)
        try:
            for change in backlog.read():
                replica.follow(change)
            backlog.clear()
        except StudyChangedError as error:  # a retry cannot help: the database is right about the study
            on_event(f"{error} What the last driver could not write any more is kept in '{backlog.set_aside()}'.")
        stored = optuna.load_study(storage=storage, study_name=lease.study)
        trials = stored.get_trials(deepcopy=False)
        attributes = stored.user_attrs

    def carry_out(change: Change) -> None:
        with translated(lease.url):
            replica.follow(change)

    witness = _witness(journal, lease.url)
    writer = Writer(backlog, lease, carry_out, on_event, witness.taken)
    study = StudySession(lease, spec_of(stored, journal.parent), trials, attributes, writer, journal.parent)
    try:
        yield study
        if witness.taken() is not None:
            study.check()
    finally:
        writer.close(_LAST_CHANCE_S)
        storage.engine.dispose()
        if witness.taken() is not None:
            on_event(_saved(study, witness.folder_now() / journal.name))
        witness.close()


def _witness(journal: Path, url: str) -> Witness:
    """Watch the files whose removal would lose the record or later changes."""
    database = sqlite_path(url)
    if database is None:
        return Witness(journal.parent, [journal])
    return Witness(journal.parent, [journal, database], later=[database.with_name(f"{database.name}-wal")])


def _saved(study: "StudySession", journal: Path) -> str:
    """Replace the journal with one that holds the whole study; return a message about it.

    The old journal held only the changes that are not in the database.
    """
    content = "".join(f"{change.encoded()}\n" for change in study.as_changes())
    try:
        journal.parent.mkdir(parents=True, exist_ok=True)
        write_whole(journal, content.encode())
    except OSError as error:
        return f"what is known of the study could not be kept in '{journal}' ({error.strerror})"
    return f"all that is known of the study is kept in '{journal}': the next run there writes it into the database"


def _replica(storage: RDBStorage, name: str) -> Replica:
    try:
        return Replica(storage, name)
    except KeyError as error:
        raise UsageError(f"There is no study '{name}' any more; `tune status` lists the studies.") from error


def _begin(storage: RDBStorage, name: str, spec: StudySpec | None, folder: Path) -> None:
    if spec is None:
        return
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    if SPEC in study.user_attrs:
        return
    # Start a study without our record only if it is empty.
    if study.direction != optuna.study.StudyDirection.MAXIMIZE or study.get_trials(deepcopy=False):
        raise StorageError(foreign(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([spec.metric])
    study.set_user_attr(SPEC, kept(asdict(spec), folder))


class StudySession:
    """Study in memory. A change is safe on disk when its method returns, and reaches the database soon after.

    Create it with `driven_study`. Methods that change the study raise the error that made writing impossible for good:
    StudyChangedError, StudyLockedError (the lease was lost) or MachineError (the disk is full).
    """

    def __init__(
        self,
        lease: Lease,
        spec: StudySpec,
        trials: list[FrozenTrial],
        attributes: Mapping[str, Any],
        writer: Writer,
        folder: Path,
    ) -> None:
        self._folder = folder
        self._name = lease.study
        self._url = lease.url
        self._spec = spec
        self._final_run = dict(attributes.get(FINAL_RUN, {}))
        self._reevaluation = dict(attributes.get(REEVALUATION, {}))
        self._searched_s = float(attributes.get(SEARCHED, 0.0))
        self._profiling = dict(attributes.get(PROFILING, {}))
        self._writer = writer
        self._memory = InMemoryStorage()
        self._study = optuna.create_study(storage=self._memory, study_name=lease.study, direction="maximize")
        self._ids = [self._memory.create_new_trial(self._study._study_id, template_trial=trial) for trial in trials]
        self._records = [self._record_of(trial) for trial in trials]

    @property
    def name(self) -> str:
        return self._name

    @property
    def spec(self) -> StudySpec:
        return self._spec

    def trials(self) -> tuple[TrialRecord, ...]:
        """Return all trials, ordered by number."""
        return tuple(self._records)

    @property
    def final_run(self) -> dict[str, Any]:
        """Facts about the final run; empty before there is one."""
        return found(self._final_run, self._folder)

    @property
    def reevaluation(self) -> dict[str, Any]:
        """Facts about the re-evaluation runs; empty before there are any (see `tuner.comparison`)."""
        return dict(self._reevaluation)

    @property
    def searched_s(self) -> float:
        """Recorded wall time of the search over all drivers, in seconds."""
        return self._searched_s

    @property
    def profiling(self) -> dict[str, Any]:
        """Results of profiling before the search; empty if there are none."""
        return dict(self._profiling)

    def renew_places(self, spec: StudySpec) -> None:
        """Update the paths and names of data set and model from a spec with the same content."""
        now = renewed(self._spec, spec)
        if now != self._spec:
            self._spec = now
            self._writer.put(Change(attributes={SPEC: _jsonable(kept(asdict(now), self._folder))}))

    def check(self) -> None:
        """Raise the error that made writing impossible for good, if there is one."""
        self._writer.check()

    def trial(self, number: int) -> TrialRecord:
        """Return one trial."""
        return self._records[number]

    def propose(self, sampler: BaseSampler, space: "Space") -> Proposal:
        """Start a trial that was enqueued with Optuna's own tools, or ask the sampler for a new one; it is RUNNING."""
        self._study.sampler = sampler
        with self._paused_out_of_the_queue():
            trial = self._study.ask()
        params = space.resolve(space.suggest(trial))
        self._memory.set_trial_user_attr(trial._trial_id, "params", params)
        return self._begun(trial._trial_id, params)

    def begin(self, sampled: Mapping[str, ParamValue], space: "Space") -> Proposal:
        """Add a RUNNING trial with a given configuration.

        Args:
            sampled: Value of each active searched parameter, by label.
            space: Search space of the study.
        """
        ranges = {p.label: p.distribution() for p in space.searched if p.label in sampled}
        params = space.resolve(sampled)
        trial = create_trial(
            state=TrialState.RUNNING,
            # Convert values as Optuna returns them from storage: 1 of a real-valued parameter becomes 1.0.
            params={
                name: range_.to_external_repr(range_.to_internal_repr(sampled[name])) for name, range_ in ranges.items()
            },
            distributions=ranges,
            user_attrs={"params": params},
        )
        return self._begun(self._memory.create_new_trial(self._study._study_id, template_trial=trial), params)

    def _begun(self, trial_id: int, params: dict[str, ParamValue]) -> Proposal:
        """Record a trial that has just started."""
        frozen = self._memory.get_trial(trial_id)
        if frozen.number < len(self._records):  # it was enqueued with Optuna's own tools
            self._records[frozen.number] = self._record_of(frozen)
        else:
            self._ids.append(trial_id)
            self._records.append(self._record_of(frozen))
        self._writer.put(
            Change(
                trial=frozen.number,
                params=dict(frozen.params),
                distributions={name: distribution_to_json(d) for name, d in frozen.distributions.items()},
                attributes=dict(frozen.user_attrs),
                system_attributes=dict(frozen.system_attrs),
                state=frozen.state.name,
            )
        )
        return Proposal(number=frozen.number, params=params)

    @contextlib.contextmanager
    def _paused_out_of_the_queue(self) -> Iterator[None]:
        """Hide paused trials from Optuna: it would start any WAITING trial, but only we resume paused ones."""
        paused = [self._ids[record.number] for record in self._records if record.is_paused]
        for trial_id in paused:
            self._memory.set_trial_state_values(trial_id, state=TrialState.RUNNING)
        try:
            yield
        finally:
            for trial_id in paused:
                self._memory.set_trial_state_values(trial_id, state=TrialState.WAITING)

    def resume(self, number: int) -> Proposal:
        """Set an interrupted or paused trial to RUNNING again."""
        self._change(number, state=TrialState.RUNNING, attributes={PAUSED_AT: 0})
        return Proposal(number=number, params=dict(self._records[number].params))

    def note(self, number: int, **attributes: Any) -> None:
        """Record facts about a trial."""
        self._change(number, attributes=attributes)

    def record_epoch(self, number: int, epoch: int, value: float) -> None:
        """Record the metric of one epoch."""
        self._change(number, curve={epoch: value})

    def interrupt(self, number: int, **attributes: Any) -> None:
        """Put a trial back in the queue: it is WAITING to resume under the same number."""
        self._change(number, state=TrialState.WAITING, attributes=attributes)

    def pause(self, number: int, epoch: int, value: float, **attributes: Any) -> None:
        """Pause a trial after an epoch until the strategy resumes it: WAITING, with `paused_at` and this metric."""
        facts = {PAUSED_AT: epoch, **attributes}
        self._change(number, curve={epoch: value}, state=TrialState.WAITING, attributes=facts)

    def interrupt_all(self) -> None:
        """Put all RUNNING trials and the final run back in the queue, because their trainers are gone."""
        for record in self.trials():
            if record.state == TrialState.RUNNING:
                self.interrupt(record.number)
        if self._final_run.get("state") == TrialState.RUNNING.name:
            self.note_final_run(state=TrialState.WAITING.name)

    def finish(
        self,
        number: int,
        state: TrialState,
        *,
        value: float | None = None,
        reason: str = "",
        curve: Mapping[int, float] | None = None,
        infeasible: bool = False,
        **attributes: Any,
    ) -> None:
        """Close a trial; a closed trial stays unchanged.

        Args:
            number: Number of the trial.
            state: Final state.
            value: Metric of a COMPLETE trial.
            reason: Reason for the end of a PRUNED or FAIL trial.
            curve: Last values of its curve: metric by epoch.
            infeasible: The machine cannot train this configuration; samplers avoid similar ones.
            **attributes: Further facts to record.
        """
        if self._records[number].state.is_finished():
            return
        facts = {**attributes, **({"reason": reason} if reason else {})}
        self._change(number, curve=curve, attributes=facts, state=state, value=value, infeasible=infeasible)

    def begin_final_run(self, **facts: Any) -> None:
        """Start or resume the final run; replace the facts about the last one."""
        self._final_run = _jsonable(kept(facts, self._folder))
        self._writer.put(Change(attributes={FINAL_RUN: self._final_run}))

    def note_final_run(self, **facts: Any) -> None:
        """Add facts about the final run."""
        self.begin_final_run(**{**self.final_run, **facts})

    def note_reevaluation(self, **facts: Any) -> None:
        """Replace the facts about the re-evaluation runs."""
        self._reevaluation = _jsonable(facts)
        self._writer.put(Change(attributes={REEVALUATION: self._reevaluation}))

    def note_profiling(self, **facts: Any) -> None:
        """Add results of profiling: memory (`tuner.memory`) and cost (`tuner.cost`)."""
        self._profiling = {**self._profiling, **_jsonable(facts)}
        self._writer.put(Change(attributes={PROFILING: self._profiling}))

    def note_searched(self, seconds: float) -> None:
        """Record the wall time of the search so far, in seconds."""
        self._searched_s = round(seconds, 3)
        self._writer.put(Change(attributes={SEARCHED: self._searched_s}))

    def flush(self, timeout_s: float) -> None:
        """Wait until all changes are in the database.

        Raises:
            StorageError: The database did not accept all changes in time; nothing is lost.
        """
        flushed = self._writer.flush(timeout_s)
        self._writer.check()
        if not flushed:
            raise StorageError(
                f"The database {masked(self._url)} does not answer: {self._writer.pending} changes of the study "
                f"'{self.name}' wait in its journal. Bring it back and run the same command again."
            )

    def as_changes(self) -> Iterator[Change]:
        """Yield the whole study as changes that complete it in a database that holds only a part of it, or nothing."""
        facts = {
            SPEC: kept(asdict(self._spec), self._folder),
            FINAL_RUN: self._final_run,
            REEVALUATION: self._reevaluation,
            SEARCHED: self._searched_s,
            PROFILING: self._profiling,
        }
        yield Change(attributes={name: _jsonable(fact) for name, fact in facts.items() if fact})
        for trial_id in self._ids:
            trial = self._memory.get_trial(trial_id)
            yield Change(
                trial=trial.number,
                params=dict(trial.params),
                distributions={name: distribution_to_json(d) for name, d in trial.distributions.items()},
                curve=dict(trial.intermediate_values),
                attributes=dict(trial.user_attrs),
                system_attributes=dict(trial.system_attrs),
                state=trial.state.name,
                values=None if trial.values is None else tuple(trial.values),
            )

    def _record_of(self, trial: FrozenTrial) -> TrialRecord:
        return placed(trial_record(trial), self._folder)

    def _change(
        self,
        number: int,
        *,
        curve: Mapping[int, float] | None = None,
        attributes: Mapping[str, Any] | None = None,
        state: TrialState | None = None,
        value: float | None = None,
        infeasible: bool = False,
    ) -> None:
        trial_id, memory = self._ids[number], self._memory
        known = dict(memory.get_trial(trial_id).system_attrs)
        if infeasible:
            optuna.Trial(self._study, trial_id).set_constraint(_INFEASIBLE, 1.0)
        for epoch, metric in (curve or {}).items():
            memory.set_trial_intermediate_value(trial_id, epoch, metric)
        facts = {key: _jsonable(fact) for key, fact in kept(attributes or {}, self._folder).items()}
        for key, fact in facts.items():
            memory.set_trial_user_attr(trial_id, key, fact)
        if state is not None and state.is_finished():
            if self._records[number].state == TrialState.WAITING:  # Optuna's `tell` accepts running trials only
                memory.set_trial_state_values(trial_id, state=TrialState.RUNNING)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # CMA-ES warns that it ignores constraints
                self._study.tell(number, value, state=state)
        elif state is not None:
            memory.set_trial_state_values(trial_id, state=state)
        frozen = memory.get_trial(trial_id)
        self._records[number] = self._record_of(frozen)
        noted = {key: fact for key, fact in frozen.system_attrs.items() if key not in known or known[key] != fact}
        self._writer.put(
            Change(
                trial=number,
                curve=dict(curve or {}),
                attributes=facts,
                system_attributes=noted,
                state="" if state is None else state.name,
                values=tuple(frozen.values) if state is not None and frozen.values is not None else None,
            )
        )


def _jsonable(value: Any) -> Any:
    """Convert a value to what Optuna can store: tuples to lists, NaN and infinities to text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    return [_jsonable(item) for item in value] if isinstance(value, list | tuple) else value
