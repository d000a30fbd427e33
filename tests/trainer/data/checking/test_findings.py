"""What is found is documented, word for word."""

import re
from pathlib import Path

from trainer.data.checking import findings
from trainer.data.checking.images import PictureFlaw
from trainer.data.checking.labels import RowFlaw

PAGE = Path(__file__).parents[4] / "docs/data-check.md"


def test_every_kind_of_finding_is_in_the_docs_as_it_is_told():
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \| (.+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [(about.kind, str(about.level), about.what, about.remedy) for about in findings.KINDS]


def test_every_flaw_of_a_picture_or_row_has_its_kind():
    assert set(findings.PICTURES) == set(PictureFlaw)
    assert set(findings.ROWS) == set(RowFlaw)
    names = [about.kind for about in findings.KINDS]
    assert len(names) == len(set(names))
