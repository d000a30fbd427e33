"""Mask secrets in text for messages and logs."""

import re
from collections.abc import Mapping

URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://\S+")

_WEB = ("http", "https")
_SECRET_VARIABLE = re.compile(r"KEY|TOKEN|PASSWORD|SECRET|CREDENTIAL", re.IGNORECASE)
_SHORTEST_SECRET = 4
"""Characters of the shortest value that is masked; shorter ones are in any text."""


def masked_url(url: str) -> str:
    """Return a URL without its secrets, safe for messages and logs."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"
    if scheme.lower() not in _WEB:
        return f"{scheme}://***"
    host = re.split(r"[/?#]", rest)[0].rpartition("@")[2]
    return f"{scheme}://{host}/***"


def without_urls(text: str) -> str:
    """Return a text with every URL in it masked."""
    return URL.sub(lambda found: masked_url(found[0]), text)


def without_secrets(text: str, environment: Mapping[str, str]) -> str:
    """Return a text with every URL masked, and every value of a variable that is named like a secret."""
    values = {value for name, value in environment.items() if _SECRET_VARIABLE.search(name)}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    return without_urls(text)
