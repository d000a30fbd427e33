"""Put a cost estimate into words: the training of a run, its duration and its disk space."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from tuner.cost.estimate import CostEstimate, Range
from tuner.study import gpu_seconds

_MUCH_IDLE = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Facts about the run that turn epochs into hours."""

    slots: int
    gpus_per_trial: int
    """GPUs per trial; 0 on the CPU."""
    epochs: int
    """Length of a trial."""
    promote_epochs: int
    """Length of the final run; 0 if there is none."""
    epoch_s: float | None
    """Time of an epoch in seconds; None if it is not known yet."""
    source: str
    """Source of `epoch_s`, in words."""
    disk_bytes: int
    gpu_share: float = 1.0
    """Share of its GPU that a trial has; a final run has whole GPUs."""


def cost_lines(estimate: CostEstimate, terms: Terms) -> list[str]:
    """Return one line for each part of the run, then the basis of the values."""
    lines = list(_parts(estimate, terms))
    if terms.epoch_s is None:
        lines.append("epoch time unknown: measure it with `tune run --dry-run` and the same options")
    else:
        lines.append(f"an epoch takes {terms.epoch_s:.1f} s ({terms.source})")
    lines.append("ranges are the 10th to 90th percentile of simulated searches")
    lines.append(f"disk: at most {terms.disk_bytes / 2**20:,.0f} MiB")
    if estimate.idle_share.low > _MUCH_IDLE:
        idle = estimate.idle_share.shown(".0%")
        lines.append(f"the slots are idle for {idle} of the search; use more trials or fewer slots")
    return lines


def _parts(estimate: CostEstimate, terms: Terms) -> Iterator[str]:
    reached = ", ".join(f"{number.shown()} reach epoch {epoch}" for epoch, number in estimate.arrivals.items())
    yield (
        f"search: {reached}; {_work(estimate.trained, terms)}; {_wall(estimate.wall, terms)} with {terms.slots} "
        f"slot(s), idle {estimate.idle_share.shown('.0%')}"
    )
    if estimate.comparison_runs.high:
        runs = estimate.comparison_runs
        yield (
            f"re-evaluation against the default configuration on fresh seeds: {runs.shown()} runs; "
            f"{_work(runs.times(terms.epochs), terms)}"
        )
    if terms.promote_epochs:
        # On a GPU of its own, an epoch takes no longer than on a share of one, so this is a maximum.
        most = "at most " if terms.gpu_share < 1 else ""
        whole = replace(terms, gpu_share=1.0)
        yield f"final run: {_work(Range(terms.promote_epochs, terms.promote_epochs), whole, most)}"


def _work(epochs: Range, terms: Terms, most: str = "") -> str:
    text = f"{epochs.shown()} epochs"
    if terms.epoch_s is None:
        return text
    unit = "GPU-hours" if terms.gpus_per_trial else "slot-hours"
    hours = epochs.times(gpu_seconds(terms.epoch_s, terms.gpu_share) * max(terms.gpus_per_trial, 1) / 3600)
    return f"{text}, {most}{hours.shown(',.2f' if hours.high < 10 else ',.0f')} {unit}"


def _wall(epochs: Range, terms: Terms) -> str:
    if terms.epoch_s is None:
        return f"wall time of {epochs.shown()} epochs"
    low, high = (timedelta(seconds=round(end * terms.epoch_s)) for end in (epochs.low, epochs.high))
    return f"{low}" if low == high else f"{low} to {high}"
