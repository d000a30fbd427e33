"""Table of what the configurations of each tool reach, and of where the wall time of the searches went."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.decisions.layout import as_markdown
from benchmarks.decisions.statistics import Pairs, bootstrap
from benchmarks.end_to_end.results import Results
from benchmarks.end_to_end.retraining import DEFAULT, Retraining
from benchmarks.end_to_end.running import Search
from benchmarks.end_to_end.setup import Task

Values = dict[int | None, dict[int, float]]
"""mAP50-95 by repetition and seed; the repetition of a default configuration is None."""


def report(results: Results) -> str:
    """Return the tables in Markdown, for each task by itself."""
    tasks = dict.fromkeys(search.task for search in results.searches)
    return "\n\n".join(part for task in tasks for part in _of_task(results, task))


def values(retrainings: Sequence[Retraining], task: Task, tool: str) -> Values:
    """Return what the configurations of a tool reach."""
    found: Values = {}
    for run in retrainings:
        if (run.task, run.tool) == (task, tool):
            found.setdefault(run.repetition, {})[run.seed] = run.value
    return found


def differences(one: Values, other: Values) -> Pairs:
    """Return the differences by repetition for each common seed; a default counts in each repetition."""
    pairs = {}
    for repetition, by_seed in one.items():
        against = other.get(repetition, other.get(None, {}))
        common = sorted(by_seed.keys() & against.keys())
        if common:
            pairs[str(repetition)] = [by_seed[seed] - against[seed] for seed in common]
    return pairs


def _of_task(results: Results, task: Task) -> list[str]:
    searches = [search for search in results.searches if search.task == task]
    tools = list(dict.fromkeys(search.tool for search in searches))
    names = [*tools, *dict.fromkeys(r.tool for r in results.retrainings if r.task == task and r.tool not in tools)]
    reached = {name: values(results.retrainings, task, name) for name in names}
    title = (
        f"Budget {task.budget_s:.0f} s; full runs of {task.epochs} epochs on {task.train_images} images of "
        f"{task.imgsz} pixels, batch {task.batch}."
    )
    quality = ["configuration of", "by repetition", "mAP50-95", "minus `yolo train`", f"{tools[0]} minus it"]
    times = ["tool", "repetition", "wall s", "start", "training", "idle", "end", "trainers", "trials", "epochs", "said"]
    return [
        title,
        as_markdown(quality, [_quality(name, reached, tools[0]) for name in names if reached[name]]),
        as_markdown(times, [_times(search) for search in sorted(searches, key=lambda s: tools.index(s.tool))]),
        "\n".join(
            f"- {s.tool}, repetition {s.repetition}: {s.hand_over.comment}" for s in searches if s.hand_over.comment
        ),
    ]


def _quality(name: str, reached: Mapping[str, Values], ours: str) -> list[str]:
    own = reached[name]
    means = (np.mean(list(by_seed.values())) for by_seed in own.values())
    return [
        name,
        " / ".join(f"{mean:.3f}" for mean in means),
        _interval({str(repetition): list(by_seed.values()) for repetition, by_seed in own.items()}, ".3f"),
        "" if name == DEFAULT else _interval(differences(own, reached.get(DEFAULT, {}))),
        "" if name == ours else _interval(differences(reached[ours], own)),
    ]


def _interval(pairs: Pairs, form: str = "+.3f") -> str:
    if not pairs:
        return ""
    found = bootstrap(pairs)
    return f"{found.mean:{form}} [{found.low:{form}}, {found.high:{form}}]"


def _times(search: Search) -> list[str]:
    phases = search.phases
    parts = (search.wall_s, phases.start_s, phases.training_s, phases.idle_s, phases.end_s)
    reevaluation = f" + {search.reevaluation_epochs}" if search.reevaluation_epochs else ""
    return [
        search.tool,
        str(search.repetition),
        *(f"{seconds:.0f}" for seconds in parts),
        f"{phases.trainer_s / search.wall_s:.2f}",
        str(search.trials),
        f"{search.epochs}{reevaluation}",
        "" if search.hand_over.said is None else f"{search.hand_over.said:.3f}",
    ]
