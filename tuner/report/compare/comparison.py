"""Compare the facts of several studies: what differs, and which values must not be compared."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tuner.contract import ParamValue
from tuner.report.compare.study import ComparedStudy, Settings

COMPARE_VERSION = 1
"""Version of the data that `comparison_facts` returns; a change of meaning raises it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One setting or parameter of all studies, in their order; None for a study that lacks it."""

    name: str
    values: tuple[ParamValue | None, ...]

    @property
    def differs(self) -> bool:
        """True if not all studies have the same value; 1 and 1.0 are the same, 1 and true are not."""
        return len({(isinstance(value, bool), value) for value in self.values}) > 1


@dataclass(frozen=True, kw_only=True, slots=True)
class EqualCost:
    """Best values of all searches after the same training time, which is that of the cheapest search."""

    hours: float
    unit: str
    best: tuple[float | None, ...]
    """Best value of each study, in their order; None if it had none by then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Several studies side by side."""

    studies: tuple[ComparedStudy, ...]
    obstacles: tuple[str, ...]
    """Reasons why values of different studies must not be compared, one sentence each; empty if there are none."""
    cautions: tuple[str, ...]
    """Limits of the comparison, one sentence each."""
    settings: tuple[Row, ...]
    """Settings that differ."""
    params: tuple[Row, ...]
    """Parameters of the winners, those that differ first."""
    equal_cost: EqualCost | None
    """None if values or training times must not be compared, if trials have different lengths, or if a study has no
    value."""

    @property
    def comparable(self) -> bool:
        return not self.obstacles


def comparison_of(studies: Sequence[ComparedStudy]) -> Comparison:
    """Compare two or more studies."""
    obstacles = tuple(_obstacles(studies))
    return Comparison(
        studies=tuple(studies),
        obstacles=obstacles,
        cautions=tuple(_cautions(studies)),
        settings=tuple(row for row in _rows([study.settings for study in studies]) if row.differs),
        params=tuple(sorted(_rows([study.params for study in studies]), key=lambda row: (not row.differs, row.name))),
        equal_cost=None if obstacles else _equal_cost(studies),
    )


def comparison_facts(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as JSON values; metrics are 0..1, and training times are in hours of their unit."""
    return {
        "version": COMPARE_VERSION,
        "comparable": comparison.comparable,
        "obstacles": list(comparison.obstacles),
        "cautions": list(comparison.cautions),
        "equal_cost": None if comparison.equal_cost is None else asdict(comparison.equal_cost),
        "studies": [_study_facts(study) for study in comparison.studies],
        "differing_settings": _row_facts(comparison, comparison.settings),
        "params": _row_facts(comparison, comparison.params),
    }


def _rows(mappings: Sequence[Settings]) -> list[Row]:
    """Return one row for each name, in the order of the first mapping that has it."""
    names = dict.fromkeys(name for mapping in mappings for name in mapping)
    return [Row(name=name, values=tuple(mapping.get(name) for mapping in mappings)) for name in names]


def _obstacles(studies: Sequence[ComparedStudy]) -> list[str]:
    found = []
    if _vary(studies, lambda study: study.data_sha256):
        are_named = _vary(studies, lambda study: study.data)
        named = (
            f" ({_listed(studies, lambda study: study.data)})" if are_named else ", although their names are the same"
        )
        found.append(
            f"The data sets have different contents{named}, so values of one study must not be compared with "
            "those of another."
        )
    if _vary(studies, lambda study: study.metric):
        named = _listed(studies, lambda study: study.metric)
        found.append(f"The metrics differ ({named}), so values of the search and its gains must not be compared.")
    return found


def _cautions(studies: Sequence[ComparedStudy]) -> list[str]:
    found = []
    if _vary(studies, lambda study: study.epochs):
        named = _listed(studies, lambda study: str(study.epochs))
        found.append(f"Trials have different lengths ({named} epochs), which alone changes the values of a search.")
    final = [study for study in studies if study.final_run is not None]
    if _vary(final, lambda study: None if study.final_run is None else study.final_run.epochs):
        found.append("The final runs have different lengths, which alone changes their values.")
    if _vary(studies, lambda study: study.cost.unit):
        named = _listed(studies, lambda study: study.cost.unit)
        found.append(f"Training times have different units ({named}), so costs must not be compared.")
    elif _vary([study for study in studies if study.devices], lambda study: study.devices):
        found.append("The studies trained on different devices, so the same cost is not the same amount of training.")
    unfinished = [study.label for study in studies if study.state != "finished"]
    if unfinished:
        found.append(f"Not finished: {', '.join(unfinished)}; what is shown of it can change.")
    found.append(
        "Each interval is about the gain over the study's own default configuration. A difference between two studies "
        "has no interval: it can be chance, as can a difference between two searches with other seeds."
    )
    return found


def _equal_cost(studies: Sequence[ComparedStudy]) -> EqualCost | None:
    curves = [study.best_over_cost for study in studies if study.best_over_cost is not None]
    if len(curves) < len(studies) or _vary(studies, lambda study: (study.cost.unit, study.epochs)):
        return None
    hours = min(curve.hours for curve in curves)
    best = (max((p.best for p in curve.points if p.hours <= hours), default=None) for curve in curves)
    return EqualCost(hours=hours, unit=curves[0].unit, best=tuple(best))


def _vary(studies: Sequence[ComparedStudy], fact: Callable[[ComparedStudy], object]) -> bool:
    return len({fact(study) for study in studies}) > 1


def _listed(studies: Sequence[ComparedStudy], fact: Callable[[ComparedStudy], str]) -> str:
    return ", ".join(dict.fromkeys(map(fact, studies)))


def _study_facts(study: ComparedStudy) -> dict[str, Any]:
    steps = () if study.best_over_cost is None else study.best_over_cost.points
    facts = asdict(study)
    del facts["params"], facts["best_over_cost"]
    return {
        **facts,
        "best_over_cost": [{"trial": p.trial, "hours": p.hours, "value": p.value, "best": p.best} for p in steps],
    }


def _row_facts(comparison: Comparison, rows: Sequence[Row]) -> list[dict[str, Any]]:
    labels = [study.label for study in comparison.studies]
    return [
        {"name": row.name, "differs": row.differs, "values": dict(zip(labels, row.values, strict=True))} for row in rows
    ]
