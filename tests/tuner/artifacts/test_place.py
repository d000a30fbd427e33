"""Places of stores: paths become absolute, and URLs hold no credentials."""

from pathlib import Path

import pytest

from tuner.artifacts.place import checked_place
from tuner.contract.locations import without_credentials
from tuner.exceptions import UsageError


def test_a_path_is_absolute_and_a_url_stays():
    assert checked_place("store") == str(Path.cwd() / "store")
    assert checked_place("s3://bucket/team/") == "s3://bucket/team"
    assert checked_place("file:///mnt/store") == "file:///mnt/store"


@pytest.mark.parametrize("url", ["sftp://me:s3cret@host/x", "s3://s3cret@bucket/x", "https://host/x?sig=s3cret"])
def test_credentials_are_refused_and_not_repeated(url):
    with pytest.raises(UsageError, match="must contain no user, password or query") as told:
        checked_place(url)
    assert "s3cret" not in str(told.value)


def test_a_url_without_a_place_is_refused():
    with pytest.raises(UsageError, match="must name a folder"):
        checked_place("s3://")


def test_credentials_in_messages_of_libraries_are_left_out():
    text = "cannot open sftp://me:s3cret@host/x, nor https://host/y?sig=s3cret now"
    assert without_credentials(text) == "cannot open sftp://host/x, nor https://host/y now"
