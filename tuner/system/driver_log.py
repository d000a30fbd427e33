"""Keep a log of a driver's events in the study's folder, so that they can be read after the terminal is closed."""

import contextlib
import logging
import os
import platform
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path

from tuner.exceptions import TunerError
from tuner.system.printable import printable
from tuner.system.signals import Interrupted

_MAX_BYTES = 2 << 20
_BACKUPS = 3

logger = logging.getLogger("tuner")


@contextlib.contextmanager
def driver_log(file: Path) -> Iterator[None]:
    """Append everything from level INFO that `tuner` logs within the block, and how the block ends, to a file.

    Only the holder of the study's lock may use it. The file is rotated at 2 MiB, and three older ones stay. A log that
    cannot be written, on a full disk for example, never disturbs the run.
    """
    handler = _QuietHandler(file, maxBytes=_MAX_BYTES, backupCount=_BACKUPS, encoding="utf-8", delay=True)
    handler.setLevel(logging.INFO)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        logger.info("driver started: process %d on %s", os.getpid(), platform.node())
        yield
    except (TunerError, Interrupted) as error:
        logger.info("driver ended with exit code %d: %s", error.exit_code, printable(str(error)))
        raise
    except Exception:
        logger.exception("driver ended with an internal error")
        raise
    else:
        logger.info("driver ended: done")
    finally:
        logger.removeHandler(handler)
        handler.close()


class _QuietHandler(RotatingFileHandler):
    """File handler that drops what it cannot write."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name is the standard library's
        """Ignore the error: a run does not depend on its log."""
