"""Write docs/arguments.md from the table: `python -m tests.support.arguments_page > docs/arguments.md`."""

import sys

from tuner.space import TABLE, Fate, Row

HEAD = """\
# Arguments of ultralytics

`tune train --params` takes files of training arguments: `args.yaml` of ultralytics 8.0 to 8.4, the
`best_hyperparameters.yaml` of `yolo tune`, and what `tune export` and `tune diagnose --write` write. This page says
how each argument is handled. It is generated from the table in the code (`tuner/space/_table.py`).

Null, and a value that was the default in any version, have no effect. An argument that changes training is either used
or refused with exit code 3. The others are ignored, and one line reports them. An option or `--set NAME=VALUE` replaces
an argument of the file, even a refused one. Unknown names are refused. Hyper-parameters of YOLOv5 and YOLOv7, Darknet
configurations, and YAML files of data sets, models and search spaces are recognised as such.

The values that a *search space* can name are in [search_spaces/README.md](../search_spaces/README.md).
"""


def page() -> str:
    return HEAD + "".join(_section(fate) for fate in Fate)


def _section(fate: Fate) -> str:
    rows = [row for row in TABLE.values() if row.fate is fate]
    title = {Fate.TAKEN: "Taken", Fate.PASSED_OVER: "Passed over", Fate.REFUSED: "Refused"}[fate]
    column = {Fate.TAKEN: "how", Fate.PASSED_OVER: "why", Fate.REFUSED: "what is said"}[fate]
    lines = [f"| argument | of ultralytics | defaults that ask for nothing | {column} |", "|---|---|---|---|"]
    return "\n".join([f"\n## {title}\n", *lines, *map(_line, rows)]) + "\n"


def _line(row: Row) -> str:
    untouched = ", ".join(f"`{_shown(value)}`" for value in row.untouched)
    nothing = {
        Fate.TAKEN: "as it is",
        Fate.PASSED_OVER: "without a word: it says where that run was, or how it was begun",
    }
    says = row.says or nothing[row.fate]
    return f"| `{row.name}` | {row.versions} | {untouched} | {says} |"


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value) if value == "" else str(value)


if __name__ == "__main__":
    sys.stdout.write(page())
