"""Build the requests of all runs in one place."""

from dataclasses import replace
from pathlib import Path

from tuner.contract import PreparedRecord
from tuner.search.search import Search
from tuner.trials.requests import Inputs, every_epoch, train_request

INPUTS = Inputs(data="/d.yaml", model="/m.yaml")


def requested(**more):
    return train_request(
        INPUTS,
        {"lr0": 0.01},
        study="s",
        trial=3,
        epochs=9,
        validation_epochs=every_epoch(9),
        seed=0,
        gpus=2,
        threads=4,
        directory=Path("/s/trials/0003"),
        **more,
    )


def test_a_request_trains_to_its_last_epoch_on_the_first_devices_in_its_folder():
    request = requested()
    assert (request.epochs, request.stop_epoch, request.validation_epochs) == (9, 9, (1, 2, 3, 4, 5, 6, 7, 8, 9))
    assert (request.devices, request.directory) == ((0, 1), "/s/trials/0003")
    assert (request.full, request.stages, request.backup) == (False, (), "")


def test_a_request_may_stop_before_the_end_of_its_schedule():
    request = requested(stop_epoch=1)
    assert (request.epochs, request.stop_epoch) == (9, 1)


def test_the_parameters_of_a_request_are_its_own():
    params = {"lr0": 0.01}
    request = train_request(
        INPUTS,
        params,
        study="",
        trial=0,
        epochs=1,
        validation_epochs=(1,),
        seed=0,
        gpus=0,
        threads=1,
        directory=Path("/r"),
    )
    params["lr0"] = 0.5
    assert request.params == {"lr0": 0.01}
    assert request.devices == ()


def test_runs_of_a_study_have_its_data_and_model(spec):
    inputs = Inputs.of_study(spec)
    assert (inputs.data, inputs.model) == (spec.data_source, spec.model_source)
    assert (inputs.data_sha256, inputs.model_sha256) == (spec.data_sha256, spec.model_sha256)


def test_the_trials_of_a_search_share_as_many_decoded_images_as_its_terms_say(study, space, paths, terms):
    sharing = replace(terms, image_cache_bytes=2**30)
    assert Search(study, space, paths, sharing).suggest().image_cache_bytes == 2**30
    assert Search(study, space, paths, terms).suggest().image_cache_bytes == 0
    assert requested().image_cache_bytes == 0


def test_other_runs_have_the_prepared_data_and_model():
    prepared = PreparedRecord(
        data="/d.yaml",
        data_sha256="1" * 64,
        num_classes=6,
        num_images={"train": 80, "val": 20},
        model="/m.yaml",
        portable_model="/m.pt",
        num_parameters=10,
        checkpoint_bytes=10,
        versions={},
        model_sha256="2" * 64,
    )
    assert Inputs.prepared(prepared) == Inputs(
        data="/d.yaml", model="/m.yaml", data_sha256="1" * 64, model_sha256="2" * 64
    )
