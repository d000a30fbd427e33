"""Read and write files of configurations that a search tries first."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tuner.contract import ParamValue
from tuner.exceptions import MachineError, SpaceError, UsageError
from tuner.search.warm_start import Candidate, Source, Start
from tuner.space import Scalar, UnfitError, YamlMapping, name_of, normalised, read_tree
from tuner.space import Sequence as YamlSequence
from tuner.system.atomic_files import write_whole
from tuner.system.printable import printable
from tuner.training.arguments_file import parameters_of
from tuner.training.tuning_results import TuningResults, nothing_learnt, read_text, read_tuning_results

_RESULTS = (".csv", ".ndjson")
_YAML = (".yaml", ".yml")
_KEY = "configurations"
_FITNESS = re.compile(r"^# Best fitness=(\d+(?:\.\d+)?(?:e[+-]?\d+)?) ", re.MULTILINE)
"""Comment at the start of best_hyperparameters.yaml."""


def is_file_name(name: str) -> bool:
    """Check whether a name is that of a file of configurations, by its extension; other names are those of studies."""
    return Path(name).suffix.lower() in (*_RESULTS, *_YAML)


def read_configurations(path: Path, fixed: Mapping[str, ParamValue] | None = None) -> TuningResults:
    """Read the results of ultralytics' tuner, a file of arguments, or a file that `warm_start_text` wrote.

    Args:
        path: File, whose extension tells its format.
        fixed: Values that all its configurations had, by name; they replace those in the file.

    Raises:
        UsageError: The file cannot be read, or has no configuration.
        SpaceError: The file has a broken rule.
    """
    suffix = path.suffix.lower()
    if suffix in _RESULTS:
        return _with_values(read_tuning_results(path), fixed or {})
    if suffix in _YAML or path.is_dir():
        return _with_values(_of_yaml(read_text(path), path), fixed or {})
    raise UsageError(
        f"A file of configurations must end in {', '.join((*_RESULTS, *_YAML))}, but got '{path}'; give the "
        "tune_results.csv, tune_results.ndjson or best_hyperparameters.yaml of ultralytics."
    )


def warm_start_text(starts: Sequence[Start], space: str) -> str:
    """Return the text of a file with configurations to try first, best first, for `tune run --warm-start`."""
    lines = [
        f"# Configurations that `tune run --warm-start` tries first, best first; fitted into the space {space}.",
        "# Values that were measured elsewhere are comments: a search trains these configurations like any other.",
        f"{_KEY}:",
    ]
    for start in starts:
        lines.append(f"  # {start.candidate.origin}")
        lines += [f"  # clipped: {c.name} {c.given} to {c.taken}" for c in start.clipped]
        values = [f"{name_of(label)}: {json.dumps(value)}" for label, value in start.configuration.items()]
        lines += [f"  {'-' if index == 0 else ' '} {value}" for index, value in enumerate(values)]
    return "".join(f"{printable(line)}\n" for line in lines)


def write_warm_start(text: str, target: Path) -> None:
    """Write the file atomically.

    Raises:
        MachineError: The target cannot be written.
    """
    try:
        write_whole(target, text.encode())
    except OSError as error:
        raise MachineError(
            f"The output file must be writable, but '{target}' is not ({error.strerror}); choose another with -o."
        ) from error


def _with_values(results: TuningResults, fixed: Mapping[str, ParamValue]) -> TuningResults:
    ranked = tuple(replace(each, values={**each.values, **fixed}) for each in results.source.ranked)
    return replace(results, source=replace(results.source, ranked=ranked))


def _of_yaml(text: str, path: Path) -> TuningResults:
    root, _ = read_tree(text)
    if isinstance(root, YamlMapping) and _KEY in root.entries:
        ranked = _listed(root, path)
        return TuningResults(source=Source(name=str(path), ranked=ranked), iterations=len(ranked))
    parameters = parameters_of(text, str(path))
    fitness = _FITNESS.search(text)
    if fitness is not None and (reason := nothing_learnt(float(fitness[1]))):
        raise UsageError(f"A configuration to try first must have trained, but '{path}' has {reason}; leave it out.")
    origin = path.name if fitness is None else f"fitness {float(fitness[1]):.4f}, {path.name}"
    candidate = Candidate(values=parameters.params, origin=origin)
    return TuningResults(source=Source(name=str(path), ranked=(candidate,)), iterations=1, notes=parameters.notes)


def _listed(root: YamlMapping, path: Path) -> tuple[Candidate, ...]:
    node = root.entries[_KEY]
    if not isinstance(node, YamlSequence) or not node.items:
        raise SpaceError(f"{path}:{node.line}: `{_KEY}` must list configurations, each with values such as lr0: 0.01.")
    found = []
    for item in node.items:
        entries = item.entries if isinstance(item, YamlMapping) else {}
        values = {name: entry.value for name, entry in entries.items() if isinstance(entry, Scalar)}
        if not values or len(values) < len(entries):
            raise SpaceError(f"{path}:{item.line}: a configuration must list values such as lr0: 0.01.")
        try:
            plain = {name: normalised(name, value) for name, value in values.items() if value is not None}
        except UnfitError as unfit:
            raise SpaceError(f"{path}:{item.line}: {unfit}.") from unfit
        found.append(Candidate(values=plain, origin=f"{path.name}:{item.line}"))
    return tuple(found)
