"""Implement `tune import-results`."""

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli import completion
from tuner.exceptions import UsageError


def import_results(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="tune_results.ndjson, tune_results.csv or best_hyperparameters.yaml of ultralytics' tuner.",
        ),
    ],
    space: Annotated[
        str,
        typer.Option(help="Space file or name of a shipped space, to fit into.", autocompletion=completion.spaces),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("warm_start.yaml"),
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Value that all configurations had, such as optimizer=AdamW; overrides the files; may be repeated.",
        ),
    ] = None,
) -> None:
    """Turn the results of ultralytics' tuner into configurations that a search tries first.

    They are no results of the search: fitness from elsewhere was measured on other lengths, data or seeds.

    Examples:

        tune import-results runs/detect/tune/tune_results.ndjson --space strong_aug --set optimizer=AdamW

        tune run --space strong_aug --data my/dataset.yaml --warm-start warm_start.yaml
    """
    from rich.console import Console

    from tuner.report.imported import import_summary, import_text
    from tuner.search.warm_start import warm_start
    from tuner.space import find_space, load_space
    from tuner.training.arguments_file import Parameters, overridden
    from tuner.training.warm_start_file import read_configurations, warm_start_text, write_warm_start

    loaded = load_space(find_space(space, Path.cwd()))
    fixed = overridden(Parameters(), settings or []).params
    found = [read_configurations(file, fixed) for file in dict.fromkeys(files)]
    starts = warm_start(loaded, [results.source for results in found])
    if not starts:
        raise UsageError(
            f"Configurations to import must differ from the default configuration of the space '{loaded.name}', which "
            "a search tries anyway, but none does."
        )
    Console().print(*import_text(loaded, [import_summary(loaded, each) for each in found], starts), sep="\n")
    write_warm_start(warm_start_text(starts, loaded.name), output)
    typer.echo(output)
