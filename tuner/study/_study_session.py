"""Keep a study that is driven in memory, and write every change to its database."""

import contextlib
import copy
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.contract import ParamValue
from tuner.exceptions import StorageError
from tuner.storage.lease import Lease
from tuner.storage.urls import masked
from tuner.study._attributes import (
    ARTIFACTS,
    COMMAND,
    FINAL_RUN,
    PROFILING,
    REEVALUATION,
    SEARCHED,
    SPEC,
    StudyAttributes,
)
from tuner.study._changes import Change
from tuner.study._facts import NO_FACTS, FinalRunFacts, ProfilingFacts, TrialFacts, jsonable
from tuner.study._places import found, kept, renewed
from tuner.study._records import Proposal, StudySpec, TrialRecord, trial_record
from tuner.study._writer import Writer
from tuner.system.garbage import collection_paused

if TYPE_CHECKING:  # reading a study needs no space
    from tuner.space import Space

_INFEASIBLE = "resources"
"""Optuna constraint that a trial violates if the machine cannot train it."""


class _Own:
    """A trial that Optuna's storage in memory may keep as it is, instead of a deep copy, which takes 0.5 ms."""

    def __init__(self, trial: FrozenTrial) -> None:
        self._trial = trial

    def __deepcopy__(self, memo: object) -> FrozenTrial:
        return copy.copy(self._trial)  # the storage numbers its trials, and replaces what it changes


class StudySession:
    """Study in memory; a change is safe on disk when its method returns, and reaches the database soon after.

    Create it with `driven_study`. Methods that change the study raise the error that made writing impossible for good:
    StudyChangedError, StudyLockedError (the lease was lost) or MachineError (the disk is full).
    """

    def __init__(self, lease: Lease, attributes: StudyAttributes, trials: list[FrozenTrial], writer: Writer) -> None:
        self._folder = attributes.folder
        self._name = lease.study
        self._url = lease.url
        self._spec = attributes.spec
        self._final_run = attributes.final_run
        self._reevaluation = attributes.reevaluation
        self._searched_s = attributes.searched_s
        self._profiling = attributes.profiling
        self._command = attributes.command
        self._artifacts = attributes.artifacts
        self._writer = writer
        self._changing = threading.RLock()
        self._memory = InMemoryStorage()
        self._study = optuna.create_study(storage=self._memory, study_name=lease.study, direction="maximize")
        with collection_paused():
            self._ids = [
                self._memory.create_new_trial(self._study._study_id, cast(FrozenTrial, _Own(trial))) for trial in trials
            ]
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
    def final_run(self) -> FinalRunFacts | None:
        """Facts about the final run; None before there is one."""
        return self._final_run

    @property
    def reevaluation(self) -> dict[str, Any]:
        """Facts about the re-evaluation runs; empty before there are any (see `tuner.comparison`)."""
        return dict(self._reevaluation)

    @property
    def searched_s(self) -> float:
        """Recorded wall time of the search over all drivers, in seconds."""
        return self._searched_s

    @property
    def profiling(self) -> ProfilingFacts:
        """Results of profiling before the search."""
        return self._profiling

    @property
    def command(self) -> tuple[str, ...]:
        """Arguments of the last `tune run`; empty if they are not recorded."""
        return self._command

    @property
    def artifacts(self) -> dict[str, str]:
        """Place of the store and folder of the study in it; empty if the machines share a folder."""
        return dict(self._artifacts)

    def record_artifacts(self, place: str, folder: str) -> None:
        """Record the place of the store, which must contain no secrets, and the study's folder in it."""
        self._artifacts = {"place": place, "folder": folder}
        self._writer.put(Change(attributes={ARTIFACTS: self._artifacts}))

    def record_command(self, arguments: tuple[str, ...]) -> None:
        """Replace the arguments of the last `tune run`, which must contain no secrets."""
        self._command = arguments
        self._writer.put(Change(attributes={COMMAND: list(arguments)}))

    def renew_places(self, spec: StudySpec) -> None:
        """Update the paths and names of data set and model from a spec with the same content."""
        now = renewed(self._spec, spec)
        if now != self._spec:
            self._spec = now
            self._writer.put(Change(attributes={SPEC: self._stored(asdict(now))}))

    def check(self) -> None:
        """Raise the error that made writing impossible for good, if there is one."""
        self._writer.check()

    def trial(self, number: int) -> TrialRecord:
        """Return one trial."""
        return self._records[number]

    def propose(self, sampler: BaseSampler, space: "Space") -> Proposal:
        """Start a trial that was enqueued with Optuna's own tools, or ask the sampler for a new one; it is RUNNING."""
        self._study.sampler = sampler
        with self._started_out_of_the_queue():
            trial = self._study.ask()
        params = space.resolve(space.suggest(trial))
        self._memory.set_trial_user_attr(trial._trial_id, "params", params)
        return self._begun(trial._trial_id, params)

    def begin(self, sampled: Mapping[str, ParamValue], space: "Space", origin: str | None = None) -> Proposal:
        """Add a RUNNING trial with a given configuration.

        Args:
            sampled: Value of each active searched parameter, by label.
            space: Search space of the study.
            origin: Where the configuration comes from; None for a proposal.
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
            user_attrs={"params": params, **TrialFacts(origin=origin).encode()},
        )
        return self._begun(self._memory.create_new_trial(self._study._study_id, template_trial=trial), params)

    def _begun(self, trial_id: int, params: dict[str, ParamValue]) -> Proposal:
        """Record a trial that has just started."""
        frozen = self._memory.get_trial(trial_id)
        with self._changing:
            if frozen.number < len(self._records):  # it was enqueued with Optuna's own tools
                self._records[frozen.number] = self._record_of(frozen)
            else:
                self._ids.append(trial_id)
                self._records.append(self._record_of(frozen))
            self._writer.put(Change.whole(frozen))
        return Proposal(number=frozen.number, params=params)

    @contextlib.contextmanager
    def _started_out_of_the_queue(self) -> Iterator[None]:
        """Hide trials that were started before from Optuna: it would start any WAITING trial, but only we resume these.

        A trial that a user has enqueued has no parameters yet.
        """
        waiting = [record for record in self._records if record.state == TrialState.WAITING]
        started = [self._ids[record.number] for record in waiting if record.params]
        for trial_id in started:
            self._memory.set_trial_state_values(trial_id, state=TrialState.RUNNING)
        try:
            yield
        finally:
            for trial_id in started:
                self._memory.set_trial_state_values(trial_id, state=TrialState.WAITING)

    def resume(self, number: int) -> Proposal:
        """Set an interrupted or paused trial to RUNNING again."""
        self._change(number, state=TrialState.RUNNING, facts=TrialFacts(paused_at=0))
        return Proposal(number=number, params=dict(self._records[number].params))

    def record(self, number: int, facts: TrialFacts) -> None:
        """Record facts about a trial; those that are None stay as they are."""
        self._change(number, facts=facts)

    def record_epoch(self, number: int, epoch: int, value: float, facts: TrialFacts = NO_FACTS) -> None:
        """Record the metric of one epoch."""
        self._change(number, curve={epoch: value}, facts=facts)

    def interrupt(self, number: int, facts: TrialFacts = NO_FACTS) -> None:
        """Put a trial back in the queue: it is WAITING to resume under the same number."""
        self._change(number, state=TrialState.WAITING, facts=facts)

    def pause(self, number: int, epoch: int, value: float, facts: TrialFacts = NO_FACTS) -> None:
        """Pause a trial after an epoch until the strategy resumes it: WAITING, with `paused_at` and this metric."""
        paused = replace(facts, paused_at=epoch)
        self._change(number, curve={epoch: value}, state=TrialState.WAITING, facts=paused)

    def interrupt_all(self) -> None:
        """Put all RUNNING trials and the final run back in the queue, because their trainers are gone."""
        for record in self.trials():
            if record.state == TrialState.RUNNING:
                self.interrupt(record.number)
        if self._final_run is not None and self._final_run.state == TrialState.RUNNING.name:
            self.record_final_run(replace(self._final_run, state=TrialState.WAITING.name))

    def leave(self, timeout_s: float) -> None:
        """Put everything that runs back in the queue, and write it, before this thread ends the process.

        The thread that drives the study may still run, and would start the next trial. So it waits for good at its next
        change of a trial or the final run.

        Args:
            timeout_s: Maximum time to wait for a change in progress, and for the database.
        """
        self._changing.acquire(timeout=timeout_s)  # never released
        self.interrupt_all()
        self.flush(timeout_s)

    def finish(
        self,
        number: int,
        state: TrialState,
        *,
        value: float | None = None,
        reason: str = "",
        curve: Mapping[int, float] | None = None,
        infeasible: bool = False,
        facts: TrialFacts = NO_FACTS,
    ) -> None:
        """Close a trial; a closed trial stays unchanged.

        Args:
            number: Number of the trial.
            state: Final state.
            value: Metric of a COMPLETE trial.
            reason: Reason for the end of a PRUNED or FAIL trial.
            curve: Last values of its curve: metric by epoch.
            infeasible: The machine cannot train this configuration; samplers avoid similar ones.
            facts: Further facts to record.
        """
        if self._records[number].state.is_finished():
            return
        self._change(number, curve=curve, facts=facts, reason=reason, state=state, value=value, infeasible=infeasible)

    def record_final_run(self, facts: FinalRunFacts) -> None:
        """Replace the facts about the final run."""
        with self._changing:
            self._final_run = facts
            self._writer.put(Change(attributes={FINAL_RUN: self._stored(facts.encode())}))

    def record_reevaluation(self, facts: Mapping[str, Any]) -> None:
        """Replace the facts about the re-evaluation runs, as `tuner.comparison` encodes them."""
        self._reevaluation = jsonable(facts)
        self._writer.put(Change(attributes={REEVALUATION: self._reevaluation}))

    def record_profiling(self, facts: ProfilingFacts) -> None:
        """Replace the results of profiling."""
        self._profiling = facts
        self._writer.put(Change(attributes={PROFILING: jsonable(facts.encode())}))

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
                f"'{self.name}' are saved in its journal. Restart the database and run the same command again."
            )

    def as_changes(self) -> Iterator[Change]:
        """Yield the whole study as changes that complete it in a database that holds only a part of it, or nothing."""
        facts = {
            SPEC: self._stored(asdict(self._spec)),
            FINAL_RUN: None if self._final_run is None else self._stored(self._final_run.encode()),
            REEVALUATION: self._reevaluation,
            SEARCHED: self._searched_s,
            PROFILING: jsonable(self._profiling.encode()),
            COMMAND: list(self._command),
            ARTIFACTS: self._artifacts,
        }
        yield Change(attributes={name: fact for name, fact in facts.items() if fact})
        for trial_id in self._ids:
            yield Change.whole(self._memory.get_trial(trial_id))

    def _record_of(self, trial: FrozenTrial) -> TrialRecord:
        return trial_record(trial, found(trial.user_attrs, self._folder))

    def _stored(self, facts: Mapping[str, Any]) -> Any:
        """Convert facts to what the database stores."""
        return jsonable(kept(facts, self._folder))

    def _change(
        self,
        number: int,
        *,
        curve: Mapping[int, float] | None = None,
        facts: TrialFacts = NO_FACTS,
        reason: str = "",
        state: TrialState | None = None,
        value: float | None = None,
        infeasible: bool = False,
    ) -> None:
        with self._changing:
            trial_id, memory = self._ids[number], self._memory
            known = dict(memory.get_trial(trial_id).system_attrs)
            if infeasible:
                optuna.Trial(self._study, trial_id).set_constraint(_INFEASIBLE, 1.0)
            for epoch, metric in (curve or {}).items():
                memory.set_trial_intermediate_value(trial_id, epoch, metric)
            attributes = self._stored({**facts.encode(), **({"reason": reason} if reason else {})})
            for key, fact in attributes.items():
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
                    attributes=attributes,
                    system_attributes=noted,
                    state="" if state is None else state.name,
                    values=tuple(frozen.values) if state is not None and frozen.values is not None else None,
                )
            )
