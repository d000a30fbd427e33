"""Read files of training arguments from every minor version of ultralytics, by the table."""

import importlib.util
import json
from pathlib import Path

import pytest
from hypothesis import given as tried_on
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.support.arguments_page import page
from tests.support.ultralytics_files import DEFAULTS, TUNED, tuned_yaml, yaml_of
from tuner.contract import ParamValue
from tuner.exceptions import SpaceError
from tuner.space import ARGUMENTS, AUGMENTATION_STRENGTH, REFUSED, TABLE, Fate
from tuner.training.arguments_file import Parameters, overridden, parameters_of, require_optimizer

DOCS = Path(__file__).parents[3] / "docs"
NEWEST = DEFAULTS["8.4.190"]


def read(text: str, *, given: tuple[str, ...] = ()) -> Parameters:
    return parameters_of(text, "args.yaml", overridden=given)


def of_args(**changes: ParamValue | list[object] | None) -> Parameters:
    return read(yaml_of(NEWEST, **{"optimizer": "SGD", **changes}))


def refusal(**changes: ParamValue | list[object] | None) -> str:
    with pytest.raises(SpaceError) as refused:
        of_args(**changes)
    return str(refused.value)


# The table


def test_the_page_is_generated_from_the_table() -> None:
    assert (DOCS / "arguments.md").read_text("utf-8") == page(), "python -m tests.support.arguments_page"


def test_every_argument_of_the_installed_ultralytics_has_a_row() -> None:
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or spec.origin is None:
        pytest.skip("ultralytics is not installed")
    text = (Path(spec.origin).parent / "cfg" / "default.yaml").read_text("utf-8")
    defaults = YAML(typ="safe", pure=True).load(text)
    assert set(defaults) <= set(TABLE)
    assert set(defaults) == set(NEWEST) - {"save_dir"}, "the newest file of these tests"
    touched = [
        name
        for name, value in defaults.items()
        if TABLE[name].fate is not Fate.TAKEN and TABLE[name].says and not TABLE[name].is_untouched(value)
    ]
    assert touched == [], "defaults that the table does not know as such"


@pytest.mark.parametrize("version", DEFAULTS)
def test_every_argument_of_every_minor_version_has_a_row(version: str) -> None:
    assert set(DEFAULTS[version]) <= set(TABLE)


def test_every_argument_that_a_space_may_name_is_accepted() -> None:
    taken = {name for name, row in TABLE.items() if row.fate is Fate.TAKEN}
    assert set(ARGUMENTS) - {AUGMENTATION_STRENGTH} <= taken


def test_every_argument_that_a_space_refuses_has_a_row() -> None:
    assert set(REFUSED) <= set(TABLE)


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_every_row_has_its_documented_effect(row) -> None:
    for value in row.untouched:
        assert of_args(**{row.name: value}).notes == (), value
    assert of_args(**{row.name: None}).notes == () or row.name == "optimizer"
    if row.fate is Fate.PASSED_OVER:
        notes = of_args(**{row.name: "odd"}).notes
        assert [row.name in note and row.says in note for note in notes] == ([True] if row.says else [])
    elif row.fate is Fate.REFUSED:
        assert f"`{row.name}`" in refusal(**{row.name: "odd"})


# Whole files


@pytest.mark.parametrize("version", DEFAULTS)
def test_untouched_defaults_need_no_note(version: str) -> None:
    given = read(yaml_of(DEFAULTS[version], optimizer="SGD"))
    assert given.notes == ()
    assert (given.model, given.data, given.epochs, given.seed) == ("yolov8n.yaml", "sample:16", 100, 0)
    assert set(given.params) <= {*ARGUMENTS, "patience", "dis"}
    for name, value in given.params.items():
        if name in ARGUMENTS and name != "optimizer":
            assert value == ARGUMENTS[name].default, name


@pytest.mark.parametrize("version", DEFAULTS)
def test_the_optimizer_of_untouched_defaults_is_named_on_the_command_line(version: str) -> None:
    text = yaml_of(DEFAULTS[version])
    if DEFAULTS[version]["optimizer"] == "auto":
        with pytest.raises(SpaceError, match="use --set optimizer=SGD"):
            read(text)
    given = overridden(read(text, given=("optimizer",)), ["optimizer=AdamW"])
    require_optimizer(given)
    assert given.params["optimizer"] == "AdamW"


@pytest.mark.parametrize("version", TUNED)
def test_the_result_of_yolo_tune_is_accepted_with_an_optimizer(version: str) -> None:
    given = read(tuned_yaml(version))
    assert set(given.params) == set(TUNED[version])
    with pytest.raises(SpaceError, match=r"`optimizer` must be named, but is missing.*--set optimizer=SGD"):
        require_optimizer(given)
    require_optimizer(overridden(given, ["optimizer=SGD"]))


# Values in ultralytics' spelling


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("close_mosaic", 9.0, 9),
        ("close_mosaic", 8.74, 9),
        ("batch", 32.0, 32),
        ("nbs", 64.0, 64),
        ("patience", 30.0, 30),
        ("freeze", 10.0, 10),
        ("freeze", [0, 1, 2], 3),
        ("freeze", [], 0),
        ("imgsz", [640, 480], 640),
        ("imgsz", [416], 416),
        ("imgsz", 650, 672),
        ("optimizer", "adamw", "AdamW"),
        ("optimizer", "RMSProp", "RMSprop"),
        ("multi_scale", True, 0.5),
        ("multi_scale", False, 0.0),
        ("multi_scale", 0.3, 0.3),
        ("agnostic_nms", True, True),
        ("single_cls", True, True),
        ("rect", True, True),
        ("fraction", 0.3, 0.3),
        ("amp", "bf16", "bf16"),
        ("lr0", 1, 1.0),
    ],
)
def test_a_value_as_ultralytics_wrote_it_is_accepted(name: str, given: ParamValue, taken: ParamValue) -> None:
    value = of_args(**{name: given}).params[name]
    assert (value, type(value)) == (taken, type(taken))


@pytest.mark.parametrize(("name", "given"), [("epochs", 50.0), ("seed", 3.0)])
def test_a_whole_number_of_the_run_is_accepted(name: str, given: float) -> None:
    assert getattr(of_args(**{name: given}), name) == int(given)


@pytest.mark.parametrize("name", ["imgsz", "freeze", "multi_scale"])
def test_a_value_that_is_read_as_another_is_reported(name: str) -> None:
    given = {"imgsz": [640, 480], "freeze": [0, 1], "multi_scale": True}[name]
    (note,) = of_args(**{name: given}).notes
    assert note.startswith(f"{name} ")
    assert " is read as " in note


def test_skipped_arguments_are_reported_in_one_line() -> None:
    (note,) = of_args(device=[0, 1], workers=2, half=True, line_width=3, erasing=0.1).notes
    assert note.startswith("ignored in args.yaml: device, workers (`--gpus` and the machine decide); ")
    for name in ("half", "line_width", "erasing"):
        assert name in note


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": 1}, "`classes` trains on some classes"),
        ({"classes": [0, 2]}, "`classes` trains on some classes"),
        ({"time": 3.5}, "`time` limits training to a number of hours"),
        ({"freeze": [0, 5]}, "`freeze` must be one value, but got [0, 5]; write N for the first N layers"),
        ({"freeze": ["23.cv2"]}, "`freeze` must be one value"),
        ({"scale": [0.5, 1.5]}, "`scale` must be one value"),
        ({"fraction": 200}, "`fraction` must be above 0 and at most 1"),
        ({"fraction": [0.5, 1, 1]}, "`fraction` must be one value"),
        ({"batch": -1}, "`batch` must be a number of images, but got -1; give a number, or use --batch auto"),
        ({"batch": 0.7}, "use --batch auto"),
        ({"label_smoothing": 0.1}, "`label_smoothing` was removed from ultralytics"),
        ({"image_weights": True}, "`image_weights` was removed"),
        ({"v5loader": True}, "`v5loader`"),
        ({"fl_gamma": 1.5}, "`fl_gamma`"),
        ({"cls_remap": False}, "`cls_remap`"),
        ({"quantize": 8}, "`quantize`"),
        ({"augmentations": ["Blur"]}, "`augmentations`"),
        ({"task": "segment"}, "`task` names another task"),
        ({"resume": "runs/detect/train/weights/last.pt"}, "`resume` resumes another run"),
        ({"resume": True}, "--warm-restart RUN"),
        ({"pretrained": "coco.pt"}, "pass them as the model: --model coco.pt"),
        ({"pretrained": False, "model": "yolov8n.pt"}, "`pretrained: false` starts yolov8n.pt from random weights"),
        ({"optimizer": "Lion"}, "`optimizer` must be one of"),
    ],
)
def test_an_argument_that_would_train_differently_is_refused_with_a_remedy(changes, said: str) -> None:
    text = refusal(**changes)
    assert said in text
    assert len(text.splitlines()) == 1
    assert text.startswith("args.yaml:")


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({"optimizer": "auto"}, "optimizer"),
        ({"batch": -1}, "batch"),
        ({"resume": True}, "model"),
        ({"pretrained": "coco.pt"}, "model"),
        ({"pretrained": False, "model": "yolov8n.pt"}, "model"),
        ({"epochs": 0}, "epochs"),
        ({"freeze": [0, 5]}, "freeze"),
    ],
)
def test_a_value_that_the_command_line_replaces_may_be_wrong_in_the_file(changes, given: str) -> None:
    read(yaml_of(NEWEST, **{"optimizer": "SGD", **changes}), given=(given,))


def test_the_first_files_had_pretrained_false_by_default() -> None:
    assert read(yaml_of(DEFAULTS["8.0.50"], model="yolov8n.pt")).model == "yolov8n.pt"


def test_the_random_weights_of_an_export_are_not_pretrained() -> None:
    assert of_args(pretrained=False, model="/studies/s/mamba-yolo-n-untrained.pt").notes == ()


def test_null_means_what_older_files_called_none() -> None:
    assert of_args(freeze="None", workspace="None").notes == ()


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "auto", "None", "x.pt", "1e-3"])


@tried_on(
    st.dictionaries(
        st.sampled_from(sorted(TABLE)), VALUES | st.lists(VALUES, max_size=3) | st.just({"a": 1}), max_size=8
    )
)
def test_any_values_are_parameters_or_reported_in_one_line_each(values) -> None:
    text = json.dumps(values or {"lr0": 0.01}).replace("NaN", ".nan").replace("Infinity", ".inf")
    said, taken = "", {}
    try:
        taken = dict(read(text).params)
    except SpaceError as refused:
        said = str(refused)
    assert all(line.startswith("args.yaml:1: ") for line in said.splitlines())
    assert all(isinstance(value, bool | int | float | str) for value in taken.values())


# Other files

YOLOV5 = "lr0: 0.01\nmomentum: 0.937\nbox: 0.05\ncls: 0.3\ncls_pw: 1.0\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (YOLOV5 + "obj: 0.7\nobj_pw: 1.0\niou_t: 0.2\nanchor_t: 4.0\nfl_gamma: 0.0\n", "YOLOv5 or YOLOv7"),
        (YOLOV5 + "anchors: 3\n", "YOLOv5 or YOLOv7: `anchors` do not exist"),
        ("lr0: 0.01\nbox: 7.5\ndfl: 1.5\nobj_pw: 1.0\n", "YOLOv5 or YOLOv7"),
        (YOLOV5 + "loss_ota: 1\npaste_in: 0.15\n", "`loss_ota`, `paste_in`"),
        ("weights: yolov5s.pt\nhyp: {lr0: 0.01}\nepochs: 3\n", "its opt.yaml"),
        (YOLOV5, "YOLOv5: `box` is 0.05 and `cls_pw` is 1.0"),
        ("[net]\nbatch=64\nsubdivisions=16\n", "a Darknet configuration"),
        ("path: /d\ntrain: images/train\nval: images/val\nnames: [a]\n", "describes a data set; pass it with --data"),
        ("nc: 80\nbackbone: []\nhead: []\n", "describes a model; pass it with --model"),
        ("parameters:\n  lr0: {float: [0.1, 0.2]}\nbaseline: {lr0: 0.1}\n", "a search space; pass it to `tune run"),
    ],
)
def test_a_file_of_something_else_is_recognised(text: str, said: str) -> None:
    with pytest.raises(SpaceError) as refused:
        read(text)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert "did you mean" not in str(refused.value)


def test_a_box_loss_of_another_scale_is_reported() -> None:
    (note,) = of_args(box=0.1).notes
    assert "`box` 0.1 is 75 times smaller" in note


@pytest.mark.parametrize("name", ["iou_t", "anchor_t", "obj", "obj_pw", "fl_gamma"])
def test_a_hyper_parameter_of_yolov5_is_not_mistaken_for_another(name: str) -> None:
    with pytest.raises(SpaceError) as refused:
        overridden(Parameters(), [f"{name}=0.2"])
    assert "did you mean" not in str(refused.value)
    assert "YOLOv5" in str(refused.value)
