"""Statements of README and docs are true of the code: numbers, names, commands, options, links."""

import re
import shlex
import tomllib
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import typer

from trainer.data.checking.advice import STRONG_BELOW, WEAK_ABOVE, advice
from trainer.models import MODEL_NAMES, model_yaml
from tuner.cli.main import EXIT_CODES, app
from tuner.comparison import reevaluation
from tuner.comparison.contest import MIN_SEEDS, ComparisonPlan, Conclusion, plan
from tuner.comparison.verdict import verdict
from tuner.contract import FULL_RUN_DEFAULTS
from tuner.contract.data_report import SizeFacts, SplitFacts
from tuner.decisions.proposers import ModelProposer
from tuner.execution.watchdog import LEAST_S, START_S
from tuner.search import warm_start
from tuner.space import SAMPLERS, SHIPPED_SPACES, STRATEGIES, SearchSettings, default_rungs, load_space
from tuner.training.arguments_file import default_parameters
from tuner.trials.retry_policy import MAX_IDENTICAL, MAX_RETRIES, Failure

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path.relative_to(ROOT)
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("search_spaces/*.md"))
)
TEXTS = {str(page): (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
FLOWING = {page: " ".join(text.split()) for page, text in TEXTS.items()}
README = FLOWING["README.md"]
TUNE = typer.main.get_command(app)


def rows(page, heading):
    """Return the cells of the table below a heading or a line."""
    table = TEXTS[page].partition(heading)[2].partition("\n|")[2].partition("\n\n")[0]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()]
    return [[cell.strip() for cell in line] for line in lines[2:]]


# Commands


def commands(text):
    """Return the arguments of `tune` in code blocks and between backquotes, without comments."""
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, re.DOTALL)
    lines = chain.from_iterable(block.replace("\\\n", " ").splitlines() for block in blocks)
    typed = [line.partition(" #")[0] for line in lines] + re.findall(r"`([^`\n]+)`", text)
    return [found.strip() for line in typed for found in re.findall(r"(?:^|[&;(] ?)tune ((?:[^|&;)])+)", line)]


COMMANDS = sorted({(page, command) for page, text in TEXTS.items() for command in commands(text)})


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}: {command}" for page, command in COMMANDS])
def test_every_command_that_is_shown_has_its_verb_and_options(page, command):
    words = shlex.split(command.replace("...", "").replace("'", ""))
    if "--" in words[1:]:  # the rest are arguments of `tune run`
        words, passed_on = words[: words.index("--")], words[words.index("--") + 1 :]
        check_options(page, command, TUNE.commands["run"], passed_on)
    verb = TUNE.commands[words[0]]
    if hasattr(verb, "commands") and len(words) > 1 and not words[1].startswith("-"):
        verb = verb.commands[words[1]]
    check_options(page, command, verb, words[1:])


def check_options(page, command, verb, words):
    parameters = [*verb.params, *(TUNE.commands["run"].params if verb.name == "submit" else [])]  # passed on
    known = {name for p in parameters for name in (*p.opts, *p.secondary_opts)} | {"--help", "--debug"}
    given = {word.partition("=")[0].rstrip(",.:") for word in words if re.match(r"--?[a-z]", word)}
    assert given <= known, f"{page}: tune {command}"


def test_commands_are_found_at_all():
    shown = {command for page, command in COMMANDS if page == "README.md"}
    assert "train --params params.yaml --gpus 8" in shown
    assert len(COMMANDS) > 60


OPTIONS = {o for verb in TUNE.commands.values() for p in verb.params for o in (*p.opts, *p.secondary_opts)}
GROUPS = [verb for name in ("data", "db") for verb in TUNE.commands[name].commands.values()]
OPTIONS |= {option for verb in GROUPS for parameter in verb.params for option in parameter.opts}


def test_every_option_that_readme_names_by_itself_exists():
    named = set(re.findall(r"`(--[a-z][a-z-]+)[ =`]", README))
    others = {"--force-reinstall", "--debug"}
    assert named
    assert named - others <= OPTIONS


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_target_of_make_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]+)", TEXTS[page], re.MULTILINE))
    assert named
    assert named <= targets


# Links


def anchor(heading):
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


LINKS = sorted(
    {(page, link) for page, text in TEXTS.items() for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
)


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_every_link_within_the_project_leads_somewhere(page, link):
    file, _, place = link.partition("#")
    target = ((ROOT / page).parent / file).resolve() if file else (ROOT / page)
    assert target.exists()
    if place:
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert place in map(anchor, headings)


# Models and versions


def test_readme_has_every_model_with_the_parameters_that_its_file_states():
    stated = {name.strip("`"): number for name, number, _ in rows("README.md", "## Models")}
    assert list(stated) == list(MODEL_NAMES)
    for name, number in stated.items():
        assert f"{number} parameters at 80 classes" in model_yaml(name).read_text()


def test_the_versions_that_are_stated_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (pinned,) = [line.partition("==")[2] for line in project["dependencies"] if line.startswith("ultralytics==")]
    assert f"the trainer is tested with, {pinned}." in README
    assert f"A trainer for ultralytics {pinned} " in FLOWING["CHANGELOG.md"]
    assert f"Python {project['requires-python'].removeprefix('>=')} or newer" in README


# Spaces


def spaces(page, heading):
    return {name.strip("`"): (searches, use) for name, searches, use in rows(page, heading)}


def test_both_tables_of_spaces_list_the_shipped_ones_and_agree():
    of_readme = spaces("README.md", "## Search spaces")
    assert set(of_readme) == {path.stem for path in SHIPPED_SPACES.glob("*.yaml")}
    assert of_readme == spaces("search_spaces/README.md", "# Search spaces")
    assert f"{'six' if len(of_readme) == 6 else len(of_readme)} are shipped" in FLOWING["CHANGELOG.md"]


def test_the_sizes_that_spaces_are_for_are_those_of_the_advice():
    uses = {name: use for name, (_, use) in spaces("README.md", "## Search spaces").items()}
    assert uses["weak_aug"] == f"more than {WEAK_ABOVE:,} images"
    assert uses["medium_aug"] == f"{STRONG_BELOW:,} to {WEAK_ABOVE:,} images"
    assert uses["strong_aug"] == f"fewer than {STRONG_BELOW:,} images"


SIZES = SizeFacts(
    imgsz=640, image_sizes=(), small=0.5, medium=0.5, large=0.0, median_side=40.0, tiny=0.0, boxes_per_image=1.0
)


@pytest.mark.parametrize("row", rows("docs/data-check.md", "## Recommended settings"), ids=lambda row: row[0])
def test_the_table_of_advice_is_what_the_check_advises(row):
    images, _, model, space = row
    numbers = [int(number.replace(",", "")) for number in re.findall(r"[\d,]+", images)] or [100_000]
    low, high = (0, numbers[0]) if images.startswith("fewer") else (numbers[0], [*numbers, 10**6][1])
    split = SplitFacts(images=0, usable=(low + high) // 2, background=0, unlabelled=0, boxes=0)
    advised = {each.about: each.choice for each in advice({"train": split}, SIZES)}
    assert (model.strip("`"), space.strip("`")) == (advised["model"], advised["space"])


def test_the_stated_defaults_of_a_space_are_those_of_the_code():
    stated = {name.strip("`"): default for name, default, *_ in rows("search_spaces/README.md", "## `search`")}
    settings = SearchSettings()
    for name in ("epochs", "reduction_factor", "trials", "strategy", "sampler", "seed", "metric", "promote_epochs"):
        assert stated[name].strip("`") == str(getattr(settings, name)), name
    assert set(stated) == {"rungs", "grace_epochs", "reevaluation_runs"} | {
        name for name in stated if hasattr(settings, name)
    }
    for name in STRATEGIES:
        assert f"`{name}`" in FLOWING["search_spaces/README.md"]


@pytest.mark.parametrize("page", ["docs/glossary.md", "search_spaces/README.md"])
def test_the_stated_default_rungs_are_those_of_the_code(page):
    assert "1/27, 1/9 and 1/3 of a trial" in FLOWING[page] or "1/27, 1/9 and 1/3 of `epochs`" in FLOWING[page]
    assert default_rungs(1800) == (1800 // 27 + 1, 1800 // 9, 1800 // 3)
    assert default_rungs(54) == (6, 18), "without those in the first two epochs"


def test_the_named_strategies_and_samplers_are_those_of_the_code():
    changelog = FLOWING["CHANGELOG.md"]
    assert all(f"`{name}`" in changelog for name in STRATEGIES)
    assert all(f"`{name}`" in changelog for name in SAMPLERS if name not in ("auto", "model"))


# Exit codes


def test_readme_and_the_help_have_the_same_exit_codes_with_the_same_meaning():
    listed = " ".join(EXIT_CODES.split()).partition(": ")[2].partition(". After")[0].split(" · ")
    told = dict(re.fullmatch(r"([\d, ]+) (.+)", item).groups() for item in listed)
    stated = dict(rows("README.md", "## Exit codes"))
    assert set(stated) == set(told)
    for code, meaning in told.items():
        assert stated[code].split(" ")[:2] == meaning.split(" ")[:2], code


# Defaults and limits that are numbers


def test_the_full_run_is_as_long_as_readme_says():
    assert SearchSettings().promote_epochs == default_parameters().epochs == 300
    assert "(300 epochs by default)" in README
    for path in SHIPPED_SPACES.glob("*.yaml"):
        assert path.stem == "quick" or load_space(path).settings.promote_epochs == 300


def test_the_comparison_is_as_large_as_readme_and_the_verdicts_page_say():
    most = f"{reevaluation.LEAST_RUNS} to {reevaluation.MOST_RUNS}"
    assert reevaluation.SHARE == 0.25
    assert f"a quarter of what the search has trained, but {most} runs" in README
    assert f"a quarter of what the search has trained, but {most} (`--reevaluation-runs`" in FLOWING["docs/verdicts.md"]
    planned = plan(range(1, 10), baseline=0, search_seed=0, max_runs=reevaluation.MOST_RUNS)
    assert (len(planned.candidates), planned.min_seeds) == (3, MIN_SEEDS) == (3, 3)
    assert "the best three and the default configuration are trained again on at least three seeds" in README


def test_the_stated_rate_of_wrong_verdicts_is_the_measured_one():
    (ours,) = re.findall(r"\| \*\*ours\*\* \| \*\*([\d.]+) \[", TEXTS["docs/verdicts.md"])
    assert round(100 / float(ours)) == 32
    assert "[one verdict in thirty-two](docs/verdicts.md)" in README


CHOICE = "the candidate if its lead is above zero, else the default"


@pytest.mark.parametrize("page", ["README.md", "docs/verdicts.md"])
def test_what_is_trained_in_full_is_stated_in_the_same_words(page):
    assert CHOICE in FLOWING[page]


@pytest.mark.parametrize("seed", range(8))
def test_what_is_trained_in_full_is_chosen_by_that_rule_whether_a_gain_was_shown_or_not(seed):
    planned = ComparisonPlan(baseline=0, candidates=(1,), seeds=tuple(range(1, 13)), max_runs=24)
    rng = np.random.default_rng(seed)
    gain = (-0.02, 0.0, 0.005, 0.2)[seed % 4]
    evidence = {(t, s): 0.3 + gain * t + 0.02 * rng.standard_normal() for t in (0, 1) for s in planned.seeds}
    found = verdict(planned, evidence)
    assert found.decided
    assert found.winner == (found.leader if found.gain > 0 else 0)
    assert seed % 4 != 3 or found.conclusion == Conclusion.BETTER


def test_as_many_configurations_of_an_earlier_study_come_first_as_readme_says():
    assert f"tries the best {('four', 'five', 'six')[warm_start.MOST - 4]} configurations" in README


def test_the_speeds_of_readme_are_those_of_the_performance_page():
    step = {name.strip("*` "): cells for name, *cells in rows("docs/performance.md", "## A whole model")}
    t, pscan, yolo = (
        float(step[name][-1].split(" ms")[0].replace(",", ""))
        for name in ("with `native", "with mambapy's `pscan", "stock yolov8s")
    )
    assert f"takes {t / yolo:.1f} times as long as one of YOLOv8s" in README
    assert f"in its place it takes {pscan / yolo:.0f} times as long" in README


def test_the_share_of_the_budget_in_readme_is_the_measured_one():
    for page in ("docs/decisions-benchmark.md",):
        assert "after 25, 35 and 45 % of the budget" in FLOWING[page]
    assert "in 25 to 45 % of the budget" in README


def test_the_stated_interval_of_reading_the_loss_is_that_of_the_code():
    """`trainer/training/test_training.py` shows that it is so on every device."""
    assert "the loss is read after every batch." in README
    training = (ROOT / "trainer/ultralytics_bridge/training.py").read_text()
    assert '"on_train_batch_end", SearchTrainer._check_loss' in training


def test_the_decision_records_count_retries_and_trials_of_the_model_as_the_code_does():
    retries = FLOWING["docs/decisions/0013-trainer-classifies-tuner-decides.md"]
    failing = FLOWING["docs/decisions/0009-end-a-search-that-keeps-failing.md"]
    surrogate = FLOWING["docs/decisions/0017-small-surrogate.md"]
    assert (MAX_RETRIES[Failure.INFRASTRUCTURE], MAX_RETRIES[Failure.HUNG], MAX_IDENTICAL) == (2, 1, 3)
    assert "a lost process or machine twice, a hang once" in retries
    assert "Three trials that fail with the same cause" in failing
    assert f"over at most {ModelProposer().most_known} trials" in surrogate


def test_the_stated_patience_of_the_watchdog_is_that_of_the_code():
    assert f"`--hang-after` ({LEAST_S:.0f} s)" in FLOWING["docs/reliability.md"]
    assert f"`--start-within` ({START_S:.0f} s)" in FLOWING["docs/reliability.md"]


def test_the_stated_defaults_of_a_full_run_are_those_of_the_code():
    options = {p.name: p for p in TUNE.commands["train"].params}
    assert options["save_period"].default == FULL_RUN_DEFAULTS["save_period"] == 10
    assert "keeps a checkpoint every ten epochs" in FLOWING["docs/guide.md"]
    assert f"Default: {FULL_RUN_DEFAULTS['patience']}." in options["patience"].help
    assert f"or {default_parameters().epochs}." in options["epochs"].help


# Limits


def test_the_limits_of_the_changelog_are_those_of_readme_and_none_is_outdated():
    limits = FLOWING["CHANGELOG.md"].partition("### Known limits")[2]
    assert "Nothing has been run on a GPU yet" in limits
    assert "Nothing has been run on a GPU yet" in README
    assert ("Linux only" in limits) == ("runs on Linux only" in README)
    assert "seed" not in limits, "winners are compared on several seeds before one is trained in full"


def test_no_page_names_a_verb_that_was_removed():
    named = set(re.findall(r"`tune ([a-z][a-z-]*)", " ".join(TEXTS.values())))
    assert named <= set(TUNE.commands)
    assert all(verb in FLOWING["CHANGELOG.md"] for verb in TUNE.commands), "every verb is named there"
