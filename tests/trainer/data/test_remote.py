"""Data sets by URL: downloaded once, whole, into the cache of the machine."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest

from tests.support.s3 import in_environment, s3_server
from trainer.data import remote
from trainer.data.opening import opened
from trainer.data.sample import sample
from trainer.exceptions import DataError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Make a data set as users have it: images, labels and a YAML."""
    return sample.compose(tmp_path_factory.mktemp("data") / "tiny", train_images=8, val_images=2, image_size=64).parent


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mamba-yolo-tuner" / "data"


@pytest.fixture
def server(data):
    with s3_server() as server, in_environment(server.environment):
        fsspec.filesystem("s3", skip_instance_cache=True).put(f"{data}/", f"{server.bucket}/sets/tiny/", recursive=True)
        yield server


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_data_set_in_a_store_is_read_from_a_local_copy(server, data, cache):
    yaml = next(data.glob("*.yaml")).name
    found = opened(f"{server.url}/sets/tiny/{yaml}")
    assert found.source.is_relative_to(cache)
    assert {name: split.num_images for name, split in found.splits.items()} == {"train": 8, "val": 2}
    assert contents(found.source.parent) == contents(data)
    server.stop()
    with pytest.raises(DataError, match=r"must be readable, but 's3://.*check the URL") as told:
        opened(f"{server.url}/sets/tiny/{yaml}")
    assert "s3cretkey" not in str(told.value)
    server.start()


def test_an_interrupted_download_resumes_and_does_not_count_before_its_end(data, cache, monkeypatch):
    url = f"file://{data}"
    download, done = remote._download, []

    def interrupted(system, file, target):
        if len(done) == 5:
            raise OSError("the cable was pulled")
        done.append(target.name)
        download(system, file, target)

    monkeypatch.setattr(remote, "_download", interrupted)
    with pytest.raises(DataError, match="the cable was pulled"):
        remote.fetched(url)
    monkeypatch.setattr(remote, "_download", lambda *args: (done.append(args[2].name), download(*args)))
    copy = remote.fetched(url)
    assert len(done) == len(contents(data)), "each file once"
    assert contents(copy) == contents(data)
    assert not list(cache.rglob("*.part"))


def test_two_trainers_download_once(data, cache):
    code = "import sys; from trainer.data import remote; print(remote.fetched(sys.argv[1]))"

    def fetch(number):
        command = [sys.executable, "-c", code, f"file://{data}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor() as pool:
        copies = set(pool.map(fetch, range(3)))
    assert len(copies) == 1


def test_a_data_set_that_has_changed_is_another_copy(data, cache, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "dataset.yaml").write_text("a")
    first = remote.fetched(f"file://{folder}/dataset.yaml")
    (folder / "dataset.yaml").write_text("bb")
    second = remote.fetched(f"file://{folder}/dataset.yaml")
    assert (first.read_text(), second.read_text()) == ("a", "bb")


def test_an_empty_place_is_reported(cache, tmp_path):
    with pytest.raises(DataError, match=r"must have files, but there are none at 'file://.*/none'"):
        remote.fetched(f"file://{tmp_path}/none")
