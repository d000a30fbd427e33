"""ultralytics' results.csv as it is met: old and new, growing, resumed, cut off, broken."""

import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.diagnosis._results_csv import epochs_of_csv
from tuner.exceptions import TunerError, UsageError

HEAD = "epoch,time,train/box_loss,metrics/mAP50(B),metrics/mAP50-95(B),val/box_loss,lr/pg0"
ROWS = ["1,10,3,0.1,0.05,3.1,0.01", "2,18,2.5,0.2,0.1,2.6,0.009", "3,27,2.2,0.3,0.2,2.4,0.008"]


def read(*lines, end="\n"):
    return epochs_of_csv("\n".join(lines) + end, "results.csv")[0]


def test_a_row_is_an_epoch():
    first, second, _ = read(HEAD, *ROWS)
    assert (second.epoch, dict(second.train), dict(second.val)) == (2, {"box": 2.5}, {"box": 2.6})
    assert dict(second.metrics) == {"mAP50": 0.2, "mAP50-95": 0.1}
    assert (first.seconds, second.seconds, second.learning_rate) == (10, 8, 0.009)


@pytest.mark.parametrize(
    "text",
    [
        "\n".join([HEAD, *ROWS]),
        "\r\n".join([HEAD, *ROWS]) + "\r\n",
        "\n\n".join([HEAD, *ROWS]) + "\n\n",
        "\n".join(line.replace(",", ",          ") for line in [f"   {HEAD}", *ROWS]),  # the first YOLOv8
    ],
)
def test_line_ends_blank_lines_and_spaces_do_not_matter(text):
    assert epochs_of_csv(text, "results.csv")[0] == read(HEAD, *ROWS)


def test_epochs_that_count_from_zero_are_counted_from_one():
    assert [e.epoch for e in read(HEAD, "0,1,3,0,0,3,0.01", "1,2,3,0,0,3,0.01")] == [1, 2]


def test_a_resume_that_trains_epochs_again_replaces_them_and_its_clock_begins_anew():
    found = read(HEAD, *ROWS, "2,7,2.4,0.2,0.1,2.6,0.009", "3,15,2.1,0.3,0.2,2.4,0.008")
    assert [(e.epoch, e.train["box"], e.seconds) for e in found] == [(1, 3, 10), (2, 2.4, None), (3, 2.1, 8)]


def test_a_resume_that_goes_on_begins_its_clock_anew():
    assert [e.seconds for e in read(HEAD, *ROWS, "4,9,2,0.3,0.2,2.4,0.007", "5,17,2,0.3,0.2,2.4,0.007")] == [
        *(10, 8, 9),
        *(9, 8),
    ]


def test_a_run_begun_anew_in_the_same_file_counts_alone():
    assert [e.epoch for e in read(HEAD, *ROWS, ROWS[0])] == [1]


def test_figures_that_are_no_numbers_stay_what_they_are():
    (found,) = read(HEAD, "1,10,nan,0.1,,inf,0.01")
    assert math.isnan(found.train["box"])
    assert found.val["box"] == math.inf
    assert "mAP50-95" not in found.metrics


@pytest.mark.parametrize("cut", ["4,36,2.0,0.3", "4,36,2.0,0.3,0.2,2.4,0.0e", "4"])
def test_a_last_line_that_is_cut_off_is_left_out_and_told(cut):
    epochs, notes = epochs_of_csv("\n".join([HEAD, *ROWS, cut]), "results.csv")
    assert epochs == read(HEAD, *ROWS)
    assert notes == ("line 5 of results.csv is cut off and left out",)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("2,18,x,0.2,0.1,2.6,0.009", "train/box_loss must be a number, but got 'x'"),
        ("2,18", "7 values"),
        ("1.5,18,2.5,0.2,0.1,2.6,0.009", "1.5"),
        ("-1,18,2.5,0.2,0.1,2.6,0.009", "-1"),
        (",18,2.5,0.2,0.1,2.6,0.009", "nan"),
    ],
)
def test_a_bad_line_in_the_middle_is_named(bad, said):
    with pytest.raises(UsageError, match=r"^run/results.csv:3: ") as raised:
        epochs_of_csv("\n".join([HEAD, ROWS[0], bad, ROWS[2]]), "run/results.csv")
    assert said in str(raised.value)


@pytest.mark.parametrize("text", ["", "\n\n", "name,age\nx,1\n", "epoch,lr/pg0\n1,2\n", "\0\0\0", "train/box_loss\n1"])
def test_what_is_no_results_csv_is_told_with_what_one_is(text):
    with pytest.raises(UsageError, match=r"^x.csv:1: A results.csv must begin with the columns epoch"):
        epochs_of_csv(text, "x.csv")


def test_a_header_alone_has_no_epochs():
    assert read(HEAD) == ()


@settings(max_examples=50)
@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text):
    for given_text in (text, f"{HEAD}\n{text}", f"{HEAD}\n{ROWS[0]}\n{text}\n{ROWS[1]}"):
        with suppress(TunerError):
            epochs_of_csv(given_text, "results.csv")


cell = st.one_of(st.floats().map(str), st.integers().map(str), st.sampled_from(["", "nan", "-", "1e999", "１"]))


@given(st.lists(st.lists(cell, min_size=7, max_size=7).map(",".join), max_size=6))
def test_any_cells_are_read_or_refused(rows):
    try:
        epochs = read(HEAD, *rows)
    except TunerError:
        return
    assert [e.epoch for e in epochs] == sorted({e.epoch for e in epochs})
