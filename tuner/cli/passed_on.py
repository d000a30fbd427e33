"""Parse and check arguments of `tune run` that are carried out later, on another machine."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from tuner.cli.run import chosen_space, run

if TYPE_CHECKING:
    from tuner.space import Space

_WITH = typer.Typer(add_completion=False)
_WITH.command("run")(run)


def parsed_run(arguments: Sequence[str], name: str) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Parse arguments of `tune run` without carrying them out.

    Args:
        arguments: Arguments after the verb.
        name: Command that an error names.

    Returns:
        The values by the names of the parameters of `run`, and where each comes from: COMMANDLINE, ENVIRONMENT or
        DEFAULT.
    """
    with typer.main.get_command(_WITH).make_context(name, list(arguments)) as context:
        sources = {parameter: context.get_parameter_source(parameter) for parameter in context.params}
        return dict(context.params), {parameter: source.name for parameter, source in sources.items() if source}


def checked_search(given: Mapping[str, Any]) -> "Space":
    """Check the space, and what else `tune run` checks before it looks at data and machines; return the space.

    Raises:
        TunerError: As `tune run` would.
    """
    from tuner.decisions.stopping import Budget
    from tuner.study import checked_study_name
    from tuner.trackers.choice import chosen_trackers

    space, _ = chosen_space(given)
    chosen_trackers(given["log"] or (), space.log)
    Budget(hours=given["max_hours"], gpu_hours=given["gpu_hours"], no_improvement=given["no_improvement"])
    if given["study"] is not None:
        checked_study_name(given["study"])
    return space


def variables_of(sources: Mapping[str, str]) -> tuple[str, ...]:
    """Return the environment variables that values come from (see `parsed_run`)."""
    options = typer.main.get_command(_WITH).params
    return tuple(sorted(str(option.envvar) for option in options if sources.get(option.name or "") == "ENVIRONMENT"))
