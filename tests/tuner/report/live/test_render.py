"""Render the live view as text at each width and height, without wrapping or scrolling."""

from io import StringIO

import pytest
from rich.console import Console

from tuner.report.live.render import rendered
from tuner.report.live.snapshot import PhaseBar, RunRow, Snapshot, changed_parameters, parameters_text

SNAPSHOT = Snapshot(
    phases=(
        PhaseBar(name="search", share=0.385, text="4/24 trials: 2 running, 1 complete, 1 pruned"),
        PhaseBar(name="re-evaluation", share=0.0, text="at most 8 runs"),
        PhaseBar(name="final run", share=0.0, text="100 epochs"),
    ),
    metric="mAP50-95",
    runs=(
        RunRow(
            label="7", epoch=2, epochs=9, slot=0, within=0.5, metric=0.1234, loss=3.456, epoch_s=12.3,
            memory_gib=4.56, device="H100 80G", changes="lr0 0.01234, mosaic 0.5, hsv_h 0.011, hsv_s 0.7",
        ),
        RunRow(label="12", epoch=0, epochs=9, slot=1, changes="lr0 0.2"),
    ),
    best="trial 3: 0.3000, +0.0500 over the default (0.2500) on one seed",
    events=("trial 1 pauses after epoch 3", "trial 2 pruned: early stop"),
    elapsed_s=3723.0,
    left_s=7384.0,
)  # fmt: skip


def shown(snapshot, width, height=40, *, color=None, ascii_only=False):
    console = Console(file=StringIO(), width=width, height=height, force_terminal=color is not None, color_system=color)
    console.print(rendered(snapshot, width=width, height=height, ascii_only=ascii_only))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_terminal_of_80_columns_shows_every_section():
    assert shown(SNAPSHOT, 80) == [
        "trial 1 pauses after epoch 3",
        "trial 2 pruned: early stop",
        "trial  slot  epoch  in epoch    mAP50-95  s/epoch  differs from the default in",
        "    7     0    3/9  ━━━━━─────    0.1234     12.3  lr0 0.01234, mosaic 0.5, hsv…",
        "   12     1    1/9                                 lr0 0.2",
        "best   trial 3: 0.3000, +0.0500 over the default (0.2500) on one seed",
        "search         ━━━━━───────  38 %  4/24 trials: 2 running, 1 complete, 1 pruned",
        "re-evaluation  ────────────   0 %  at most 8 runs",
        "final run      ────────────   0 %  100 epochs",
        "1:02:03 so far, about 2:03:04 left in total",
    ]


def test_a_wide_terminal_shows_loss_memory_and_device_too():
    header, row, last = shown(SNAPSHOT, 110)[2:5]
    assert header == (
        "trial  slot  epoch  in epoch    mAP50-95  loss  s/epoch  GiB  device    differs from the default in"
    )
    assert row == (
        "    7     0    3/9  ━━━━━─────    0.1234  3.46     12.3  4.6  H100 80G  lr0 0.01234, mosaic 0.5, hsv_h 0.011,…"
    )
    assert last.split() == ["12", "1", "1/9", "lr0", "0.2"]


@pytest.mark.parametrize("width", [20, 40, 80, 120, 250])
@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 6, 8, 10, 12, 50])
def test_no_line_is_wrapped_and_one_line_of_the_terminal_stays_free(width, height):
    lines = shown(SNAPSHOT, width, height)
    assert len(lines) <= max(height - 1, 1)
    assert all(len(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("height", "first_words"),
    [
        (11, ["trial", "trial", "trial", "7", "12", "best", "search", "re-evaluation", "final", "1:02:03"]),
        (9, ["trial", "7", "12", "best", "search", "re-evaluation", "final", "1:02:03"]),
        (8, ["trial", "7", "best", "search", "re-evaluation", "final", "1:02:03"]),
        (7, ["trial", "7", "search", "re-evaluation", "final", "1:02:03"]),
        (6, ["trial", "7", "best", "search", "1:02:03"]),
        (5, ["trial", "7", "search", "1:02:03"]),
        (4, ["best", "search", "1:02:03"]),
        (3, ["search", "1:02:03"]),
        (2, ["1:02:03"]),
    ],
)
def test_a_low_terminal_drops_what_matters_least(height, first_words):
    assert [line.split()[0] for line in shown(SNAPSHOT, 120, height)] == first_words


def test_runs_that_do_not_fit_are_counted():
    runs = tuple(RunRow(label=str(number), epoch=1, epochs=9) for number in range(64))
    lines = shown(Snapshot(phases=SNAPSHOT.phases, runs=runs, elapsed_s=1.0), 80, 12)
    assert [line.split()[0] for line in lines[:6]] == ["trial", "0", "1", "2", "3", "4"]
    assert lines[6] == "and 59 more"
    assert len(lines) == 11


def test_the_last_events_that_fit_are_shown_even_of_thousands():
    events = tuple(f"event {number}" for number in range(5000))
    assert shown(Snapshot(events=events, elapsed_s=0.0), 80, 6) == [
        *("event 4996", "event 4997", "event 4998", "event 4999"),
        "0:00:00 so far",
    ]


def test_a_phase_that_has_not_ended_never_shows_100_percent():
    phases = (PhaseBar(name="search", share=0.9999), PhaseBar(name="final run", share=1.0))
    assert [line.split()[-2] for line in shown(Snapshot(phases=phases), 80)] == ["99", "100"]


def test_a_bar_is_readable_without_colours(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    line = shown(SNAPSHOT, 80, color="standard")[6]
    assert "\x1b[3" not in line
    assert ("━" * 5 + "─" * 7) in line.replace("\x1b[0m", "").replace("\x1b[2m", "")


def test_a_terminal_without_line_characters_gets_ascii():
    assert "search         #####-------  38 %" in shown(SNAPSHOT, 80, ascii_only=True)[6]


def test_only_the_preparation_is_shown_before_the_first_phase():
    assert shown(Snapshot(notice="starting Ray ... 3 s", elapsed_s=4.0), 80) == [
        "starting Ray ... 3 s",
        "0:00:04 so far",
    ]


def test_hostile_text_is_shown_harmlessly():
    run = RunRow(label="1", epoch=0, epochs=1, device="\x1b[2Jx", changes="[red]name[/red] \x1b[1m\n")
    text = "\n".join(shown(Snapshot(runs=(run,), best="\x1b[2J", events=("a\nb",), notice="\x07"), 120))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]name[/red]" in text


def test_the_parameters_that_differ_from_the_default_are_those_that_a_trial_changes():
    changed = changed_parameters({"lr0": 0.0123456, "batch": 16, "nbs": 32}, {"lr0": 0.01, "batch": 16})
    assert changed == {"lr0": 0.0123456, "nbs": 32}
    assert parameters_text(changed) == "lr0 0.01235, nbs 32"
