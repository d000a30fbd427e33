"""Search spaces: from a YAML file to checked parameters, Optuna's suggestions and the trainer's arguments."""

from tuner.space._arguments import (
    ADAM_FAMILY,
    ARGUMENTS,
    AUGMENTATION_STRENGTH,
    DETERMINISTIC,
    REFUSED,
    Argument,
    Kind,
    UnfitError,
    meant_argument,
)
from tuner.space._augmentation import augmentation_of
from tuner.space._canonical import space_of
from tuner.space._differences import described
from tuner.space._encoding import UnitCube
from tuner.space._files import find_space, load_space
from tuner.space._foreign import YOLOV5_NAMES, foreign_names, foreign_text, implausible
from tuner.space._normalised import normalised
from tuner.space._overrides import sentence, setting_of, with_fixed
from tuner.space._parameter_reader import unknown_argument
from tuner.space._parameters import (
    ChoiceParameter,
    Condition,
    FixedParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    SearchedParameter,
    name_of,
)
from tuner.space._reader import parse_space
from tuner.space._settings import (
    SAMPLERS,
    STRATEGIES,
    TRACKERS,
    WARM_UP_EPOCHS,
    SearchSettings,
    default_rungs,
    tracker_problem,
)
from tuner.space._shipped import SHIPPED_SPACES
from tuner.space._space import Space
from tuner.space._start_points import StartPoint, shipped_start_points, start_point_of
from tuner.space._table import TABLE, Fate, Row
from tuner.space._yaml_nodes import Mapping as YamlMapping
from tuner.space._yaml_nodes import Scalar, Sequence, read_tree

__all__ = [
    "ADAM_FAMILY",
    "ARGUMENTS",
    "AUGMENTATION_STRENGTH",
    "DETERMINISTIC",
    "REFUSED",
    "SAMPLERS",
    "SHIPPED_SPACES",
    "STRATEGIES",
    "TABLE",
    "TRACKERS",
    "WARM_UP_EPOCHS",
    "YOLOV5_NAMES",
    "Argument",
    "ChoiceParameter",
    "Condition",
    "Fate",
    "FixedParameter",
    "FloatParameter",
    "IntParameter",
    "Kind",
    "Parameter",
    "Row",
    "Scalar",
    "SearchSettings",
    "SearchedParameter",
    "Sequence",
    "Space",
    "StartPoint",
    "UnfitError",
    "UnitCube",
    "YamlMapping",
    "augmentation_of",
    "default_rungs",
    "described",
    "find_space",
    "foreign_names",
    "foreign_text",
    "implausible",
    "load_space",
    "meant_argument",
    "name_of",
    "normalised",
    "parse_space",
    "read_tree",
    "sentence",
    "setting_of",
    "shipped_start_points",
    "space_of",
    "start_point_of",
    "tracker_problem",
    "unknown_argument",
    "with_fixed",
]
