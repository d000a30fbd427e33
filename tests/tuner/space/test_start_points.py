"""Read starting points from a shipped list or from a space, and report every mistake with its line."""

import pytest

from tuner.exceptions import SpaceError
from tuner.space import (
    ARGUMENTS,
    SHIPPED_SPACES,
    SearchSettings,
    StartPoint,
    load_space,
    parse_space,
    shipped_start_points,
    start_point_of,
)

SPACE = """\
search:
  start_points: POINTS
parameters:
  optimizer: SGD
  lr0: { float: [0.001, 0.1], log: true }
baseline: { lr0: 0.01 }
"""
LISTS = sorted(path.stem for path in (SHIPPED_SPACES / "start_points").glob("*.yaml"))


def points(written: str) -> tuple[StartPoint, ...]:
    return parse_space(SPACE.replace("POINTS", written), name="s", file="s.yaml").settings.start_points


def test_a_space_has_no_starting_points_unless_it_names_some() -> None:
    assert SearchSettings().start_points == ()
    assert [path.stem for path in SHIPPED_SPACES.glob("*.yaml") if load_space(path).settings.start_points] == []


def test_a_space_can_name_a_shipped_list() -> None:
    assert points("detectors") == shipped_start_points("detectors")


def test_a_space_can_list_its_own() -> None:
    assert points("[{ name: gentle, source: our wiki, values: { lr0: 0.005, close_mosaic: 3, cos_lr: true } }]") == (
        StartPoint(name="gentle", source="our wiki", values={"lr0": 0.005, "close_mosaic": 3, "cos_lr": True}),
    )


def test_values_get_the_type_of_their_argument() -> None:
    assert type(points("[{ name: a, values: { mosaic: 1 } }]")[0].values["mosaic"]) is float


def test_an_origin_names_the_point_and_its_source() -> None:
    named, sourced = StartPoint(name="a-b", values={}), StartPoint(name="a-b", source="https://x.org", values={})
    assert (named.origin, sourced.origin) == ("a-b", "a-b (https://x.org)")
    assert start_point_of(named.origin) == start_point_of(sourced.origin) == "a-b"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("detector", r"takes the name of a list \(detectors\) or a list, but got 'detector'; did you mean detectors\?"),
        ("best", r"`start_points` takes the name of a list .*, but got 'best'; name a list, or write points"),
        ("3", r"`start_points` takes the name of a list .*, but got 3; name a list"),
        ("[]", r"`start_points` takes the name of a list, or a list of points, but got neither; write \[\{name"),
        ("{ lr0: 0.1 }", r"`start_points` takes the name of a list, or a list of points, but got neither"),
        ("[detectors]", r"a starting point must be a mapping, but got something else; write \{name"),
        ("[{ values: { lr0: 0.1 } }]", r"`name` of a starting point takes text, but it is missing; write"),
        ("[{ name: 1, values: { lr0: 0.1 } }]", r"`name` of a starting point takes text, but got something else"),
        ("[{ name: a b, values: { lr0: 0.1 } }]", r"takes letters, digits, dots and hyphens, but got 'a b'; rename it"),
        ("[{ name: a, source: [x], values: { lr0: 0.1 } }]", r"`source` of a starting point takes text, but got some"),
        ("[{ name: a }]", r"`values` of a starting point must map arguments to values; write it as in"),
        ("[{ name: a, values: {} }]", r"`values` of a starting point must map arguments to values"),
        ("[{ name: a, lr0: 0.1, values: { lrf: 1 } }]", r"takes name, source, values, but got 'lr0'; write arguments"),
        ("[{ name: a, value: { lrf: 1 }, values: { lrf: 1 } }]", r"but got 'value'; did you mean values\?"),
        ("[{ name: a, values: { weigth_decay: 0.1 } }]", r"but got 'weigth_decay'; did you mean weight_decay\?"),
        ("[{ name: a, values: { obj: 0.7 } }]", r"`obj` is a hyper-parameter of YOLOv5, which .*; leave it out"),
        ("[{ name: a, values: { lr0: fast } }]", r"`lr0` takes a number, but got 'fast'; write a number such as 0.01"),
        ("[{ name: a, values: { mosaic: 2 } }]", r"`mosaic` must be at least 0 and at most 1, but got 2.0; choose"),
        ("[{ name: a, values: { optimizer: auto } }]", r"`optimizer` must be named, but got 'auto', which ignores"),
        ("[{ name: a, values: { lr0: [0.1, 0.2] } }]", r"`lr0` takes one value, but got a list or mapping; choose one"),
        ("[{ name: a, values: { single_cls: true } }]", r"`single_cls` cannot be in a starting point: it makes the"),
        ("[{ name: a, values: { lr0: 1 } }, { name: a, values: { lr0: 2 } }]", r"different names, but got 'a' again"),
    ],
)
def test_a_mistake_is_reported_in_one_line_with_file_line_rule_value_and_remedy(written: str, message: str) -> None:
    with pytest.raises(SpaceError, match=rf"^s\.yaml:2: .*{message}") as caught:
        points(written)
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_reported_with_their_own_lines() -> None:
    written = "\n    - { name: a, values: { lr0: 0 } }\n    - { name: b, values: { mosaic: 2 } }"
    with pytest.raises(SpaceError) as caught:
        points(written)
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == ["s.yaml:3", "s.yaml:4"]


def test_a_tag_or_an_alias_is_refused_once() -> None:
    with pytest.raises(SpaceError, match=r"^s\.yaml:2: tags are not allowed, but got '!x'; write the bare value$"):
        points("!x [1]")


@pytest.mark.parametrize("name", LISTS)
def test_a_shipped_list_names_a_published_source_for_each_point(name: str) -> None:
    for point in shipped_start_points(name):
        assert point.source.startswith("https://"), point.name


@pytest.mark.parametrize("name", LISTS)
def test_a_shipped_point_gives_the_whole_schedule_that_its_optimizer_needs(name: str) -> None:
    for point in shipped_start_points(name):
        assert {"optimizer", "lr0", "lrf", "momentum", "weight_decay"} <= point.values.keys(), point.name


@pytest.mark.parametrize("name", LISTS)
def test_a_shipped_list_leaves_batch_and_image_size_to_the_machine_and_the_data(name: str) -> None:
    for point in shipped_start_points(name):
        assert not {"batch", "nbs", "imgsz"} & point.values.keys(), point.name
        assert point.values.keys() <= ARGUMENTS.keys()


def test_the_readme_lists_every_shipped_point() -> None:
    readme = (SHIPPED_SPACES / "README.md").read_text(encoding="utf-8")
    named = [point.name for name in LISTS for point in shipped_start_points(name)]
    assert [name for name in named if f"| `{name}` |" not in readme] == []


def test_an_unknown_list_is_refused() -> None:
    with pytest.raises(SpaceError, match="did you mean detectors"):
        shipped_start_points("detektors")
    assert LISTS == ["detectors"]
