"""Point links that leave docs/ at nothing: on a forge they lead to a file, on the site they are just its name."""

import re
from typing import Any

_LEAVES_DOCS = re.compile(r"\[([^\]]+)\]\((?:\.\./)+[^)]*\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Keep the text of a link to a file that the site does not have."""
    depth = page.file.src_uri.count("/")
    return _LEAVES_DOCS.sub(lambda link: link.group(1) if link.group(0).count("../") > depth else link.group(0), markdown)
