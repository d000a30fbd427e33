"""Search spaces: a YAML file -> checked parameters -> Optuna's suggestions -> what the trainer gets."""

from tuner.space._arguments import (
    ADAM_FAMILY,
    ARGUMENTS,
    AUGMENTATION_STRENGTH,
    REFUSED,
    Argument,
    Kind,
    Unfit,
    meant_argument,
)
from tuner.space._augmentation import augmentation_of
from tuner.space._canonical import space_of
from tuner.space._cube import UnitCube
from tuner.space._files import SHIPPED_SPACES, find_space, load_space
from tuner.space._overrides import setting_of, with_fixed
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
from tuner.space._settings import SAMPLERS, STRATEGIES, WARM_UP_EPOCHS, SearchSettings, default_rungs
from tuner.space._space import Space
from tuner.space._yaml_tree import Mapping as YamlMapping
from tuner.space._yaml_tree import Scalar, Sequence, read_tree

__all__ = [
    "ADAM_FAMILY",
    "ARGUMENTS",
    "AUGMENTATION_STRENGTH",
    "REFUSED",
    "SAMPLERS",
    "SHIPPED_SPACES",
    "STRATEGIES",
    "WARM_UP_EPOCHS",
    "Argument",
    "ChoiceParameter",
    "Condition",
    "FixedParameter",
    "FloatParameter",
    "IntParameter",
    "Kind",
    "Parameter",
    "Scalar",
    "SearchSettings",
    "SearchedParameter",
    "Sequence",
    "Space",
    "Unfit",
    "UnitCube",
    "YamlMapping",
    "augmentation_of",
    "default_rungs",
    "find_space",
    "load_space",
    "meant_argument",
    "name_of",
    "parse_space",
    "read_tree",
    "setting_of",
    "space_of",
    "with_fixed",
]
