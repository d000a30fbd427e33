"""Put the winner's card into words."""

from tuner.contract import Latency, MeasuredRecord
from tuner.training.card import WinnersCard


def card_rows(card: WinnersCard) -> list[tuple[str, str]]:
    """Return the facts of a card with their names."""
    measured = card.measured
    rows = [(name, f"{value:.4f}") for name, value in card.metrics.items()]
    rows.append(("parameters", f"{measured.num_parameters:,}"))
    if measured.gflops is not None:
        rows.append(("GFLOPs", f"{measured.gflops:.4g} for an image of {_size(measured)}"))
    rows += [(_engine(latency), _latency(latency, measured.threads)) for latency in measured.latencies]
    rows += [(f"{_engine(latency)} file", _bytes(latency.file_bytes)) for latency in measured.latencies]
    return rows


def card_notes(card: WinnersCard) -> tuple[str, ...]:
    """Return the notes of a card, one line each: what was not measured, and why."""
    return card.measured.notes


def card_lines(card: WinnersCard) -> list[str]:
    """Return the card for a terminal."""
    rows = card_rows(card)
    width = max(len(name) for name, _ in rows)
    title = f"trial {card.trial}, trained for {card.epochs} epochs: {card.weights}"
    return [title, *(f"    {name:<{width}}  {value}" for name, value in rows), *card_notes(card)]


def latency_lines(card: WinnersCard | None) -> list[str]:
    """Return the latencies on one line, for the end of a run; nothing without a card."""
    if card is None:
        return []
    measured = card.measured
    said = ", ".join(f"{_engine(latency)} {latency.p50_ms:.3g} ms" for latency in measured.latencies)
    return [f"latency     {said} for an image of {_size(measured)} ({measured.latencies[0].device})", *card_notes(card)]


def _engine(latency: Latency) -> str:
    return latency.runtime.split()[0]


def _latency(latency: Latency, threads: int) -> str:
    on = latency.device + (f", {threads} {'thread' if threads == 1 else 'threads'}" if "CPU" in latency.device else "")
    return (
        f"p50 {latency.p50_ms:.3g} ms, p95 {latency.p95_ms:.3g} ms on {on}; {latency.runs} runs of one image "
        f"after {latency.warm_up_runs} to warm up; {latency.runtime}"
    )


def _size(measured: MeasuredRecord) -> str:
    return f"{measured.imgsz} x {measured.imgsz}"


def _bytes(number: int) -> str:
    return f"{number / 1e6:.1f} MB"
