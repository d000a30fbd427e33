"""Put the winner's card into words."""

from tuner.contract import Latency
from tuner.training.card import WinnersCard

LATENCY_HEADER = ("runtime", "device", "p50", "p95", "runs", "warm-up runs", "file")


def card_rows(card: WinnersCard) -> list[tuple[str, str]]:
    """Return the facts of a card, except latencies, with their names."""
    measured = card.measured
    rows = [(name, f"{value:.4f}") for name, value in card.metrics.items()]
    rows.append(("parameters", f"{measured.num_parameters:,}"))
    if measured.gflops is not None:
        rows.append(("GFLOPs", f"{measured.gflops:.4g} for an image of {image_size(card)}"))
    return rows


def latency_rows(card: WinnersCard) -> list[tuple[str, ...]]:
    """Return the latency of each runtime, in the columns of `LATENCY_HEADER`."""
    return [
        (
            latency.runtime,
            _device(latency, card),
            f"{latency.p50_ms:.3g} ms",
            f"{latency.p95_ms:.3g} ms",
            str(latency.runs),
            str(latency.warm_up_runs),
            _size(latency),
        )
        for latency in card.measured.latencies
    ]


def card_notes(card: WinnersCard) -> tuple[str, ...]:
    """Return the notes of a card, one line each: what was not measured, and why."""
    return card.measured.notes


def card_lines(card: WinnersCard) -> list[str]:
    """Return the card for a terminal."""
    rows = [*card_rows(card), *((latency.runtime, _latency(latency, card)) for latency in card.measured.latencies)]
    width = max(len(name) for name, _ in rows)
    title = f"trial {card.trial}, trained for {card.epochs} epochs: {card.weights}"
    return [title, *(f"    {name:<{width}}  {value}" for name, value in rows), *card_notes(card)]


def latency_lines(card: WinnersCard | None) -> list[str]:
    """Return the latencies on one line, for the end of a run; nothing without a card."""
    if card is None or not card.measured.latencies:
        return []
    said = ", ".join(f"{latency.runtime.split()[0]} {latency.p50_ms:.3g} ms" for latency in card.measured.latencies)
    on = _device(card.measured.latencies[0], card)
    return [f"latency     {said} for an image of {image_size(card)} on {on}", *card_notes(card)]


def image_size(card: WinnersCard) -> str:
    """Return the size of the measured image, in words."""
    return f"{card.measured.imgsz} x {card.measured.imgsz} pixels"


def _latency(latency: Latency, card: WinnersCard) -> str:
    return (
        f"p50 {latency.p50_ms:.3g} ms, p95 {latency.p95_ms:.3g} ms for one image on {_device(latency, card)}; "
        f"{latency.runs} runs after {latency.warm_up_runs} to warm up; {_size(latency)} file"
    )


def _device(latency: Latency, card: WinnersCard) -> str:
    """Return the device, for a CPU with the number of threads."""
    if not latency.device.startswith("CPU"):
        return latency.device
    threads = card.measured.threads
    return f"{latency.device}, {threads} {'thread' if threads == 1 else 'threads'}"


def _size(latency: Latency) -> str:
    return f"{latency.file_bytes / 1e6:.1f} MB"
