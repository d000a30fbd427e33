"""Start new trials: the baseline, a warm start, starting points, the user's, then proposals of a model or sampler."""

from collections.abc import Collection, Mapping

from tuner.contract import ParamValue
from tuner.decisions.decider import Decider
from tuner.memory.limits import MemoryLimits, memory_limits
from tuner.search.queue import TrialQueue
from tuner.search.samplers import MODEL, chosen_sampler, make_sampler, require_packages
from tuner.space import Space, UnitCube
from tuner.study import StudySession


class Proposals:
    """Source of the new trials of one search."""

    def __init__(
        self,
        study: StudySession,
        space: Space,
        cube: UnitCube,
        decider: Decider,
        queue: TrialQueue,
        *,
        gpu_share: float = 1.0,
    ) -> None:
        self._study = study
        self._space = space
        self._cube = cube
        self._decider = decider
        self._queue = queue
        self._measured = study.profiling.memory
        self._gpu_share = gpu_share

    def begin(self, devices: Collection[str]) -> int | None:
        """Start a new trial and return its number; None if even the smallest sizes of the space run out of memory.

        Args:
            devices: Devices that trials of this driver may land on, as far as they are known, as trainers name them.
                They can differ from those of an earlier driver.
        """
        limits = memory_limits(self._study.trials(), devices, self._measured, gpu_share=self._gpu_share)
        if devices and limits.exclude_all_of(self._space):
            return None
        sampler = chosen_sampler(self._space)
        require_packages(sampler)  # fail early: the baseline needs no sampler, but the next trial does
        given = self._given(limits)
        modelled = self._modelled(limits) if sampler == MODEL and given is None else None
        values = modelled if given is None else given
        if values is None:
            number = self._sampled(sampler, limits)
        else:
            number = self._study.begin(values, self._space, self._origin(values)).number
        point = self._cube.point(self._study.trial(number).sampled)
        self._decider.begin(point, is_proposed=modelled is not None and not limits.too_large)
        return number

    def _given(self, limits: MemoryLimits) -> Mapping[str, ParamValue] | None:
        """Return the next configuration to try before proposals; None if there is none, or the user's trial is next."""
        trials = self._study.trials()
        if not trials:
            return self._space.baseline_sampled()
        tried = [trial.sampled for trial in trials]
        spec = self._study.spec
        left = (values for values in (*spec.warm_start, *spec.start_points.values()) if values not in tried)
        fitting = (values for values in left if not limits.exclude(self._space.resolve(values)))
        return None if self._queue.has_user_trial else next(fitting, None)

    def _origin(self, given: Mapping[str, ParamValue]) -> str | None:
        """Return the origin of a given configuration; None unless it is a starting point."""
        points = self._study.spec.start_points.items()
        return next((origin for origin, values in points if values == given), None)

    def _modelled(self, limits: MemoryLimits) -> Mapping[str, ParamValue] | None:
        """Return the proposal of the model of all trials; None if it has none, or if the user's trial is next."""
        if self._queue.has_user_trial:
            return None
        point = self._decider.proposed(lambda point: not limits.exclude(self._space.resolve(self._cube.sampled(point))))
        return None if point is None else self._cube.sampled(point)

    def _sampled(self, name: str, limits: MemoryLimits) -> int:
        """Start a trial from a sampler, or the user's trial, whose open parameters the sampler chooses."""
        sampler = make_sampler(
            "random" if name == MODEL else name,
            seed=self._study.spec.seed,
            number=len(self._study.trials()),
            space=self._space,
            limits=limits,
        )
        return self._study.propose(sampler, self._space).number
