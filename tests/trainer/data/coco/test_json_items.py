"""JSON of any size and form, item by item."""

import json
import tracemalloc
from pathlib import Path

import pytest

from trainer.data.coco import json_items
from trainer.data.coco.json_items import TOP, items
from trainer.exceptions import DataError

VALUE = {
    "info": {"year": 2017, "a": [1, [2]]},
    "images": [{"id": 1, "n": 'Straße 日本 \\ " \u2028 😀'}, {"id": -2.5e3, "x": [None, True, {}]}],
    "empty": [],
    "numbers": [12345, 6.75, -1, 1e20, 2e-7],
    "last": 98765,
}


def put(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def whole(value: dict[str, object]) -> list[tuple[str, object]]:
    """Return the same items from the parser of the standard library."""
    return [
        (key, item)
        for key, of in value.items()
        for item in (of if isinstance(of, list) and of else [of])
    ]  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 16, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_items_are_those_of_the_standard_parser_wherever_the_file_is_cut(
    tmp_path, monkeypatch, chunk, indent, ascii_only
):
    monkeypatch.setattr(json_items, "_CHUNK", chunk)
    file = put(tmp_path / "x.json", json.dumps(VALUE, indent=indent, ensure_ascii=ascii_only))
    assert list(items(file)) == whole(VALUE)


def test_a_file_may_be_one_list_and_begin_with_a_byte_order_mark(tmp_path):
    assert list(items(put(tmp_path / "x.json", "\ufeff [1, {}]\r\n"))) == [(TOP, 1), (TOP, {})]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "x.json:1: The file must be JSON, but got an empty file"),
        (json.dumps(VALUE)[:-1], "a file that ends early; copy or export it again"),
        (json.dumps(VALUE)[:60], "a file that ends early"),
        ('{"images": [{"id": 1, "name": "abc', "a file that ends early"),
        ('{"images"', "a file that ends early"),
        ('{\n"images": [\n{"id": 1}\n{"id": 2}]}', "x.json:4: The file must be JSON, but got '{\"id\": 2}]}'"),
        ('{"a": 1,\n\n"b": oops}', "x.json:3: "),
        ('{"a": 1, "b": [1, 2,]}', "instead of a value"),
        ("{'a': 1}", "but got "),
        ('{"a": 1} {"b": 2}', "'{' after its end; delete the rest of the file"),
        ("train: images", "text that begins with 'train: images'"),
        ("version https://git-lfs.github.com/spec/v1\noid", "`git lfs pull`"),
        (b'{"a": "\xe9"}', "must be UTF-8 text, but got byte 0xe9; save it as UTF-8"),
        ('{"a": ' + "[" * 100_000, "a value that no program reads"),
        ('{"a": ' + "1" * 5000 + "}", "a value that no program reads"),
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused_in_one_line(tmp_path, text, told):
    file = put(tmp_path / "x.json", text)
    with pytest.raises(DataError) as refused:
        list(items(file))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="must be readable, but got 'No such file"):
        list(items(tmp_path / "none.json"))


def test_the_memory_follows_the_largest_item_and_not_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(json_items, "_CHUNK", 1 << 14)
    item = json.dumps({"segmentation": [[0.5] * 100]})
    file = put(tmp_path / "x.json", f'{{"annotations": [{", ".join([item] * 20_000)}]}}')
    assert file.stat().st_size > 10_000_000
    tracemalloc.start()
    assert sum(1 for _ in items(file)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_file_of_blank_lines_is_empty(tmp_path):
    with pytest.raises(DataError, match=r"x\.json:1: The file must be JSON, but got an empty file"):
        list(items(put(tmp_path / "x.json", "\n\n")))
