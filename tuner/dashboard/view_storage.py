"""Serve the views of studies as an Optuna storage that cannot be changed, and their files as an artifact store."""

import copy
from collections.abc import Container, Sequence
from typing import Any, BinaryIO, NoReturn

from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from tuner.dashboard.artifacts import key_prefix
from tuner.dashboard.catalogue import Catalogue
from tuner.exceptions import UsageError

READ_ONLY = "tune's dashboard shows studies and changes none; `tune` and Optuna's own tools change them."


class ViewStorage(BaseStorage):
    """Optuna storage of all studies of a catalogue. Every method that would change one raises UsageError."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def get_all_studies(self) -> list[FrozenStudy]:
        return [view.study for view in self._catalogue.views()]

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._catalogue.study_number(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._catalogue.view(study_id).study.study_name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._catalogue.view(study_id).study.directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._catalogue.view(study_id).study.user_attrs

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._catalogue.view(study_id).study.system_attrs

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._catalogue.view_of_trial(trial_id).trial(trial_id)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = self._catalogue.view(study_id).trials
        chosen = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(chosen) if deepcopy else chosen

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> NoReturn:
        raise UsageError(READ_ONLY)

    def delete_study(self, study_id: int) -> NoReturn:
        raise UsageError(READ_ONLY)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> NoReturn:
        raise UsageError(READ_ONLY)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> NoReturn:
        raise UsageError(READ_ONLY)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> NoReturn:
        raise UsageError(READ_ONLY)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> NoReturn:
        raise UsageError(READ_ONLY)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> NoReturn:
        raise UsageError(READ_ONLY)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> NoReturn:
        raise UsageError(READ_ONLY)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> NoReturn:
        raise UsageError(READ_ONLY)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> NoReturn:
        raise UsageError(READ_ONLY)


class ViewArtifacts:
    """Optuna artifact store of the files that the views of a catalogue list; nothing can be written or removed."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def open_reader(self, artifact_id: str) -> BinaryIO:
        for view in self._catalogue.views():
            if artifact_id.startswith(key_prefix(view.study.study_name)) and artifact_id in view.artifacts:
                try:
                    return view.artifacts[artifact_id].open()
                except OSError as error:
                    raise ArtifactNotFound(artifact_id) from error
        raise ArtifactNotFound(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> NoReturn:
        raise UsageError(READ_ONLY)

    def remove(self, artifact_id: str) -> NoReturn:
        raise UsageError(READ_ONLY)
