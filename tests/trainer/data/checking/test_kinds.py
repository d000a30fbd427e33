"""Every finding is documented, word for word."""

import re
from pathlib import Path

from trainer.data.checking import kinds
from trainer.data.checking.images import ImageFlaw
from trainer.data.checking.labels import RowFlaw

PAGE = Path(__file__).parents[4] / "docs/data-check.md"


def test_every_kind_of_finding_is_in_the_docs_as_it_is_reported():
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \| (.+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [(kind.name, str(kind.level), kind.what, kind.remedy) for kind in kinds.KINDS]


def test_every_flaw_of_an_image_or_row_has_its_kind():
    assert set(kinds.IMAGES) == set(ImageFlaw)
    assert set(kinds.ROWS) == set(RowFlaw)
    names = [kind.name for kind in kinds.KINDS]
    assert len(names) == len(set(names))
