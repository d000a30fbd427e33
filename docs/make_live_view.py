"""Record a real search in a terminal, and draw the live view at one moment of it as docs/images/live-view.svg.

Part of `make images`; alone: `python docs/make_live_view.py [OPTIONS OF tune run]`. On two CPU cores, this takes about
five minutes; the options may choose another trainer.
"""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
IMAGE = ROOT / "docs" / "images" / "live-view.svg"
COMMAND = ("tune", "run", "--space", "search_spaces/quick.yaml")
COLUMNS, LINES = 118, 40

MOMENT = re.compile(r"trial +slot.+in epoch.+best +trial .+ [4-6]/8 trials: 2 running.+ left in total", re.DOTALL)
"""Text of the live view to draw: half of the trials have ended, and two are training."""

_ERASED = re.compile(rb"\r?\x1b\[2K(?:\x1b\[1A\x1b\[2K)*")
"""What rich writes before it draws the live view again: erase this line, and each line above."""


def main(options: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for lines in screens([sys.executable, "-m", "tuner", *COMMAND[1:], "--home", folder, *options]):
            shown = [line.replace(f"{folder}/", "studies/") for line in lines]
            if MOMENT.search("\n".join(Text.from_ansi(line).plain for line in shown)):
                draw(shown)
                return
    sys.exit(f"The run ended before its live view showed '{MOMENT.pattern}'.")


def screens(command: list[str]) -> Iterator[list[str]]:
    """Run a command in a terminal, and yield all lines, with their colours, each time that the live view is drawn."""
    driver, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, cwd=ROOT, env=environment)
    os.close(terminal)
    written = b""
    try:
        while chunk := _read(driver):
            parts = _ERASED.split(written + chunk)
            for erasure in _ERASED.finditer(written + chunk):
                before = parts.pop(0)
                yield _lines(before)
                above = erasure[0].count(b"\x1b[1A")
                parts[0] = b"\n".join(before.split(b"\n")[: -above - 1]) + (b"\n" if above else b"") + parts[0]
            written = parts[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        os.close(driver)


def draw(lines: list[str]) -> None:
    """Draw lines as an image that needs no font from the network."""
    with Path(os.devnull).open("w") as nothing:
        console = Console(record=True, width=COLUMNS, file=nothing, force_terminal=True, color_system="truecolor")
        console.print(Text("$ ", "bold green") + Text(" ".join(COMMAND)))
        for line in lines[not lines[0] :]:
            console.print(Text.from_ansi(line), overflow="fold")
        svg = console.export_svg(title=" ".join(COMMAND[:2]))
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace")
    IMAGE.write_text(re.sub(r"\s*<!-- Generated with Rich .*?-->", "", svg), encoding="utf-8")


def _lines(written: bytes) -> list[str]:
    text = written.decode(errors="replace").replace("\r", "")
    return re.sub(r"\x1b\[\?25[lh]", "", text).split("\n")


def _read(driver: int) -> bytes:
    try:
        return os.read(driver, 65536)
    except OSError:  # the other side has closed
        return b""


if __name__ == "__main__":
    main(sys.argv[1:])
