"""Provide the script that draws the charts of a page, from a cache: bundling it takes seconds."""

import contextlib
from importlib.metadata import version

from tuner.system.atomic_files import write_whole
from tuner.system.paths import cache_folder

VEGA_LITE = "6.4"
"""Version of Vega-Lite that draws the charts; it must be able to draw what Altair's schema describes."""

_GLOBALS = "window.vegaEmbed = vegaEmbed;"
"""Script that makes the bundled library visible to the page."""


def vega_script() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script for a page; `vegaEmbed` is global in it."""
    cached = cache_folder() / f"vega-{VEGA_LITE}-of-vl-convert-{version('vl-convert-python')}.js"
    with contextlib.suppress(OSError, ValueError):
        return cached.read_text(encoding="utf-8")
    import vl_convert

    script = str(vl_convert.javascript_bundle(_GLOBALS, vl_version=VEGA_LITE)).replace("</script", "<\\/script")
    with contextlib.suppress(OSError):  # without a cache it takes as long again
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_whole(cached, script.encode())
    return script
