"""The script that draws the charts, and its cache."""

import pytest
import vl_convert

from tuner.report.page.vega import vega_script


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_script_is_bundled_once_and_the_same_from_the_cache(cache, monkeypatch):
    first = vega_script()
    assert "</script" not in first
    assert "window.vegaEmbed" in first
    monkeypatch.setattr(vl_convert, "javascript_bundle", None)
    assert vega_script() == first


def test_without_a_cache_the_script_is_bundled(cache):
    (cache / "mamba-yolo-tuner").write_text("a file in the place of the folder")
    assert "window.vegaEmbed" in vega_script()
