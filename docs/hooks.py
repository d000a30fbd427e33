"""Complete the site with pages made from other files: the command line, the notebook, space files, contributing."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "spaces.md": "search_spaces/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
}
"""Pages of the site, and the files of the repository that hold their text."""

_LINK = re.compile(r"\[([^\]]+)\]\(([^):\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not below docs/."""
    for page, source in ELSEWHERE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_on_the_site(text, Path(source).parent, Path())))
    files.append(File.generated(config, "cli.md", content=_command_line()))
    files.append(File.generated(config, "notebook.md", content=_notebook(ROOT / "docs" / "notebook.ipynb")))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Point links at pages of the site; a link to any other file becomes its text."""
    if page.file.generated_by is not None:
        return markdown
    folder = Path(page.file.src_uri).parent
    return _on_the_site(markdown, Path("docs") / folder, folder)


def _on_the_site(text: str, folder: Path, page_folder: Path) -> str:
    """Rewrite the links of a file in that folder of the repository for a page in that folder of the site."""
    pages = {source: page for page, source in ELSEWHERE.items()}

    def rewritten(link: re.Match[str]) -> str:
        shown, (target, _, anchor) = link.group(1), link.group(2).partition("#")
        if not target:
            return link.group(0)
        file = (ROOT / folder / target).resolve().relative_to(ROOT).as_posix()
        page = pages.get(file, file.removeprefix("docs/") if file.startswith("docs/") else "")
        if not page:
            return shown
        up = "../" * len(page_folder.parts)
        return f"[{shown}]({up}{page}{'#' if anchor else ''}{anchor})"

    return _LINK.sub(rewritten, text)


def _command_line() -> str:
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "cli.md"
        command = ["-m", "typer", "tuner.cli.main", "utils", "docs", "--name", "tune", "--title", "Command line"]
        subprocess.run([sys.executable, *command, "--output", page], cwd=ROOT, check=True, capture_output=True)
        return page.read_text(encoding="utf-8")


def _notebook(file: Path) -> str:
    """Return a notebook as Markdown: its text, its code, and what each cell printed and returned."""
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in _cell(cell)) + "\n"


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield text
        return
    yield f"```python\n{text}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {"text/plain": output.get("text", [])})
        if "text/html" in data:
            # Without the style of pandas, which is for the notebook's own page. Markdown ends HTML at an empty line.
            html = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
            yield "\n".join(line for line in html.splitlines() if line.strip())
        else:
            yield f"```text\n{''.join(data['text/plain']).rstrip()}\n```"
