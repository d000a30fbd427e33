"""A search space: parameters, baseline and settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tuner.contract import ParamValue
from tuner.exceptions import SpaceError
from tuner.space._arguments import AUGMENTATION_STRENGTH, UnfitError, shown
from tuner.space._augmentation import augmentation_of
from tuner.space._differences import differences_between
from tuner.space._parameters import FixedParameter, Parameter, SearchedParameter
from tuner.space._settings import SearchSettings
from tuner.space._warnings import warnings_about

if TYPE_CHECKING:
    from optuna.trial import Trial

CANONICAL_VERSION = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """A valid search space; `load_space` and `parse_space` create it.

    A parameter has a *name*, the one of ultralytics (`lr0`), and a *label*, which is unique for each variant
    (`lr0 [optimizer=SGD]`) and appears in the records of a study. "Sampled" mappings are keyed by label and contain
    searched parameters only; "params" are keyed by name and go to the trainer.
    """

    name: str
    file: str = field(default="", compare=False)
    """File that it was read from, for messages."""
    description: str = ""
    data: str | None = None
    model: str | None = None
    log: tuple[str, ...] = ()
    """Trackers that log the study, unless the command line names others."""
    settings: SearchSettings
    parameters: tuple[Parameter, ...]
    """Parameters in the order of suggestion: each after the parameters in its conditions."""
    baseline: Mapping[str, ParamValue]
    """Values of the searched parameters that are active in the baseline, by name."""

    @property
    def searched(self) -> tuple[SearchedParameter, ...]:
        """Parameters that the sampler chooses; variants are separate."""
        return tuple(p for p in self.parameters if isinstance(p, SearchedParameter))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about settings that are allowed but probably unintended, one line each."""
        return tuple(
            f"{self.file}:{problem.line}: {problem.text}" if self.file and problem.line else problem.text
            for problem in warnings_about(self.parameters, self.settings)
        )

    def suggest(self, trial: "Trial") -> dict[str, ParamValue]:
        """Ask the trial for values of the active searched parameters, in a fixed order; return them by label."""
        return self._sampled(lambda parameter: parameter.suggest(trial))

    def resolve(self, sampled: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
        """Return the trainer's arguments: fixed values, variants by plain name, augmentation strength expanded.

        Arguments that the space does not name keep ultralytics' defaults.

        Raises:
            SpaceError: `sampled` lacks an active parameter, or contains an inactive one.
        """
        params: dict[str, ParamValue] = {}
        unused = set(sampled)
        for parameter in self.parameters:
            if not parameter.is_active(params):
                continue
            if isinstance(parameter, FixedParameter):
                params[parameter.name] = parameter.value
            elif parameter.label in sampled:
                params[parameter.name] = sampled[parameter.label]
                unused.remove(parameter.label)
            else:
                raise SpaceError(_of_another_space(f"{parameter.label!r} is missing"))
        if unused:
            raise SpaceError(_of_another_space(f"{', '.join(map(repr, sorted(unused)))} is not active"))
        strength = params.pop(AUGMENTATION_STRENGTH, None)
        return params if strength is None else {**augmentation_of(float(strength)), **params}

    def baseline_sampled(self) -> dict[str, ParamValue]:
        """Return the baseline by label, ready for `study.enqueue_trial`."""
        return self._sampled(lambda parameter: self.baseline[parameter.name])

    def nearest(self, params: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
        """Return the configuration of this space, by label, that is nearest to values from elsewhere, by name.

        Numbers outside a range are clipped to it; missing values come from the baseline.

        Raises:
            UnfitError: A choice is not in this space, or an active parameter has a value in neither.
        """
        known = {**self.baseline, **params}

        def chosen(parameter: SearchedParameter) -> ParamValue:
            if parameter.name not in known:
                raise UnfitError(f"`{parameter.name}` has no value, and the default configuration has none either")
            try:
                return parameter.nearest(known[parameter.name])
            except UnfitError as unfit:
                raise UnfitError(f"`{parameter.name}` {shown(known[parameter.name])} {unfit}") from unfit

        return self._sampled(chosen)

    def _sampled(self, chosen: Callable[[SearchedParameter], ParamValue]) -> dict[str, ParamValue]:
        """Choose values for the active searched parameters one by one in a fixed order; return them by label."""
        params: dict[str, ParamValue] = {}
        sampled: dict[str, ParamValue] = {}
        for parameter in self.parameters:
            if not parameter.is_active(params):
                continue
            if isinstance(parameter, SearchedParameter):
                params[parameter.name] = sampled[parameter.label] = chosen(parameter)
            elif isinstance(parameter, FixedParameter):
                params[parameter.name] = parameter.value
        return sampled

    def with_settings(
        self,
        *,
        epochs: int | None = None,
        grace_epochs: int | None = None,
        rungs: tuple[int, ...] | None = None,
        reduction_factor: int | None = None,
        trials: int | None = None,
        strategy: str | None = None,
        sampler: str | None = None,
        seed: int | None = None,
        metric: str | None = None,
        reevaluation_runs: int | None = None,
        promote_epochs: int | None = None,
        promote_deterministic: bool | None = None,
    ) -> "Space":
        """Return this space with other settings; None keeps a setting.

        New `rungs` replace `grace_epochs`, and vice versa.

        Raises:
            SpaceError: a value breaks a rule, alone or together with the others.
        """
        given = {
            "epochs": epochs,
            "grace_epochs": grace_epochs,
            "rungs": rungs,
            "reduction_factor": reduction_factor,
            "trials": trials,
            "strategy": strategy,
            "sampler": sampler,
            "seed": seed,
            "metric": metric,
            "reevaluation_runs": reevaluation_runs,
            "promote_epochs": promote_epochs,
            "promote_deterministic": promote_deterministic,
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if rungs is not None:
            changes.setdefault("grace_epochs", None)
        if grace_epochs is not None:
            changes.setdefault("rungs", None)
        return replace(self, settings=replace(self.settings, **changes))

    def canonical(self) -> dict[str, object]:
        """Return everything that a study cannot change, for JSON.

        It leaves out what a study may change: description, data and model (the study has its own), `log`, `trials`,
        `strategy`, `sampler`, `promote_epochs` and `promote_deterministic`.
        """
        return {
            "version": CANONICAL_VERSION,
            "settings": self.settings.canonical(),
            "parameters": {parameter.label: parameter.canonical() for parameter in self.parameters},
            "baseline": dict(sorted(self.baseline.items())),
        }

    def with_default_rungs_of(self, other: Mapping[str, Any]) -> "Space":
        """Return this space with the rungs of an older `canonical`, if it leaves them to the default.

        Other releases had other default rungs.
        """
        settings, older = self.settings, other["settings"]
        is_default = settings.has_default_rungs and settings.epochs == older["epochs"]
        return self.with_settings(rungs=tuple(older["rungs"])) if is_default else self

    def differences(self, other: Mapping[str, object]) -> list[str]:
        """List the differences from an older `canonical`, one line each; empty if there are none."""
        return differences_between(other, self.canonical())


def _of_another_space(detail: str) -> str:
    return f"These values belong to another space: {detail}; use the space that the study started with."
