"""Answer the first request of the dashboard, for the list of studies: `benchmarks.scale` measures this process."""

import io
import sys
from pathlib import Path
from wsgiref.util import setup_testing_defaults

from tuner.dashboard.catalogue import Catalogue
from tuner.dashboard.server import application


def first_page(home: Path, url: str | None, only: str | None) -> None:
    """Start the dashboard of a home and request its list of studies, without a server.

    Args:
        home: Folder of the studies.
        url: URL of a database with further studies; None for none.
        only: Name of the only study to show; None for all.
    """
    app = application(Catalogue(home, url, only), None, is_read_only=True)
    environ: dict[str, object] = {"PATH_INFO": "/api/studies", "wsgi.input": io.BytesIO()}
    setup_testing_defaults(environ)
    answered: list[str] = []
    body = b"".join(app(environ, lambda status, headers, info=None: answered.append(status)))  # type: ignore[arg-type]
    assert answered[0].startswith("200"), body[:500]


if __name__ == "__main__":
    first_page(Path(sys.argv[1]), sys.argv[2] or None, sys.argv[3] or None)
