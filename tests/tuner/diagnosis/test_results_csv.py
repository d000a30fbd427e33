"""Read ultralytics' results.csv in every state: old and new, growing, resumed, truncated, broken."""

import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.diagnosis._results_csv import table_of_csv
from tuner.exceptions import TunerError, UsageError

HEAD = "epoch,time,train/box_loss,metrics/mAP50(B),metrics/mAP50-95(B),val/box_loss,lr/pg0"
ROWS = ["1,10,3,0.1,0.05,3.1,0.01", "2,18,2.5,0.2,0.1,2.6,0.009", "3,27,2.2,0.3,0.2,2.4,0.008"]


def read(*lines, end="\n"):
    return table_of_csv("\n".join(lines) + end, "results.csv").epochs


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
    assert table_of_csv(text, "results.csv").epochs == read(HEAD, *ROWS)


def test_epochs_that_count_from_zero_are_counted_from_one():
    assert [e.epoch for e in read(HEAD, "0,1,3,0,0,3,0.01", "1,2,3,0,0,3,0.01")] == [1, 2]


def test_a_resume_that_trains_epochs_again_replaces_them_and_restarts_its_clock():
    found = read(HEAD, *ROWS, "2,7,2.4,0.2,0.1,2.6,0.009", "3,15,2.1,0.3,0.2,2.4,0.008")
    assert [(e.epoch, e.train["box"], e.seconds) for e in found] == [(1, 3, 10), (2, 2.4, None), (3, 2.1, 8)]


def test_a_resume_that_continues_restarts_its_clock():
    assert [e.seconds for e in read(HEAD, *ROWS, "4,9,2,0.3,0.2,2.4,0.007", "5,17,2,0.3,0.2,2.4,0.007")] == [
        *(10, 8, 9),
        *(9, 8),
    ]


def test_a_run_that_starts_again_in_the_same_file_counts_alone():
    assert [e.epoch for e in read(HEAD, *ROWS, ROWS[0])] == [1]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("NaN", math.nan),
        ("-nan", math.nan),
        ("-nan(ind)", math.nan),
        ("1.#QNAN", math.nan),
        ("Infinity", math.inf),
        ("+inf", math.inf),
        ("1.#INF", math.inf),
        ("-Infinity", -math.inf),
        ("-1.#INF", -math.inf),
        ("1e999", math.inf),
    ],
)
def test_every_spelling_of_nan_and_infinity_is_read(written, value):
    (found,) = read(HEAD, f"1,10,{written},0.1,0.05,3.1,0.01")
    assert str(found.train["box"]) == str(value)


@pytest.mark.parametrize("written", ["", "  ", "-", "None", "null", "NA", "N/A", '""'])
def test_every_spelling_of_a_missing_value_is_read(written):
    (found,) = read(HEAD, f"1,10,3,{written},0.05,3.1,0.01")
    assert dict(found.metrics) == {"mAP50-95": 0.05}


@pytest.mark.parametrize("ends", [("", ","), (",", ","), (",", ""), (",,", ",,")])
def test_commas_after_the_last_column_do_not_matter(ends):
    assert read(HEAD + ends[0], *(row + ends[1] for row in ROWS)) == read(HEAD, *ROWS)


def test_values_that_are_not_numbers_stay_as_they_are():
    (found,) = read(HEAD, "1,10,nan,0.1,,inf,0.01")
    assert math.isnan(found.train["box"])
    assert found.val["box"] == math.inf
    assert "mAP50-95" not in found.metrics


@pytest.mark.parametrize("cut", ["4,36,2.0,0.3", "4,36,2.0,0.3,0.2,2.4,0.0e", "4"])
def test_a_truncated_last_line_is_left_out_and_reported(cut):
    found = table_of_csv("\n".join([HEAD, *ROWS, cut]), "results.csv")
    assert found.epochs == read(HEAD, *ROWS)
    assert found.notes == ("line 5 of results.csv is cut off and was skipped",)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("2,18,x,0.2,0.1,2.6,0.009", "train/box_loss must be a number, but got 'x'"),
        ("2,18", "A line must have 7 values, one for each column, but got 2"),
        ("1.5,18,2.5,0.2,0.1,2.6,0.009", "1.5"),
        ("-1,18,2.5,0.2,0.1,2.6,0.009", "-1"),
        (",18,2.5,0.2,0.1,2.6,0.009", "nan"),
        ("2,18,2.5,0.2,0.13,27,2.2,0.3,0.2,2.4,0.008", "got 11"),  # killed while it wrote, and resumed
    ],
)
def test_a_bad_line_in_the_middle_is_left_out_and_named(bad, said):
    found = table_of_csv("\n".join([HEAD, ROWS[0], bad, ROWS[2]]), "run/results.csv")
    assert [epoch.epoch for epoch in found.epochs] == [1, 3]
    (note,) = found.notes
    assert note.startswith("line 3 of results.csv was skipped. ")
    assert said in note


def test_a_file_with_mostly_unreadable_lines_is_refused_with_the_first_one():
    with pytest.raises(UsageError, match=r"^run/results.csv:2: .*but got 'x'; remove the lines"):
        table_of_csv("\n".join([HEAD, "1,x,2,0,0,2,0", "2,x,2,0,0,2,0", "x"]), "run/results.csv")


@pytest.mark.parametrize("text", ["", "\n\n", "name,age\nx,1\n", "epoch,lr/pg0\n1,2\n", "\0\0\0", "train/box_loss\n1"])
def test_a_file_that_is_not_a_results_csv_is_reported_with_the_expected_form(text):
    with pytest.raises(UsageError, match=r"^x.csv:1: A results.csv must begin with the columns epoch"):
        table_of_csv(text, "x.csv")


def test_a_header_alone_has_no_epochs():
    assert read(HEAD) == ()


# Columns that change in the middle

TIMELESS = HEAD.replace("time,", "")


def without_time(row):
    return row.replace(row.split(",")[1] + ",", "", 1)


def table(*lines):
    return table_of_csv("\n".join(lines) + "\n", "results.csv")


LATER = ["4,36,2.1,0.32,0.21,2.3,0.007", "5,45,2.0,0.33,0.22,2.2,0.006", "6,54,1.9,0.34,0.23,2.1,0.005"]


@pytest.mark.parametrize(
    ("lines", "change"),
    [
        ([TIMELESS, *map(without_time, ROWS), *LATER], "added time"),
        ([TIMELESS, *map(without_time, ROWS), HEAD, *LATER], "added time"),
        ([HEAD, *ROWS, *map(without_time, LATER)], "removed time"),
        ([HEAD, *ROWS, *(f"{row},{rate}" for row, rate in zip(LATER, ("0.01",) * 3, strict=True))], "added lr/pg1"),
    ],
)
def test_columns_that_change_in_the_middle_are_read_in_two_parts(lines, change):
    found = table(*lines)
    whole = table(HEAD, *ROWS, *LATER)
    assert [(e.epoch, e.train, e.val, e.metrics) for e in found.epochs] == [
        (e.epoch, e.train, e.val, e.metrics) for e in whole.epochs
    ]
    (note,) = found.notes
    assert change in note
    assert "The two parts are epochs 1 to 3 and 4 to 6" in note
    assert found.unknown == whole.unknown


def test_the_first_epoch_after_an_upgrade_is_enough_to_know_its_columns():
    assert [e.train["box"] for e in table(TIMELESS, *map(without_time, ROWS), LATER[0]).epochs] == [3, 2.5, 2.2, 2.1]


def test_a_last_line_truncated_between_two_columns_is_not_a_part_of_its_own():
    found = table(f"{HEAD},lr/pg1", *(f"{row},0.01" for row in ROWS), LATER[0])
    assert found.notes == ("line 5 of results.csv is cut off and was skipped",)


def test_a_value_that_falls_is_not_mistaken_for_the_time():
    low = [f"{epoch},{loss},0.3,0.2,0.8,0.01" for epoch, loss in ((1, 0.9), (2, 0.8), (3, 0.7))]
    more = [f"{epoch},{loss},0.3,0.2,0.8,0.01,0.01" for epoch, loss in ((4, 0.6), (5, 0.5), (6, 0.4))]
    found = table(TIMELESS, *low, *more)
    assert [e.train["box"] for e in found.epochs] == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert "added lr/pg1" in found.notes[0]


def test_losses_of_another_kind_are_not_compared_with_earlier_ones():
    other = HEAD.replace("train/box_loss", "train/giou_loss").replace("val/box_loss", "val/giou_loss")
    found = table(HEAD, *ROWS, other, *LATER)
    assert [dict(e.train) for e in found.epochs] == [{}] * 3 + [{"giou": 2.1}, {"giou": 2.0}, {"giou": 1.9}]
    assert [e.metrics["mAP50"] for e in found.epochs] == [0.1, 0.2, 0.3, 0.32, 0.33, 0.34]


def test_rows_without_a_matching_header_are_left_out_and_reported_as_unknown():
    strange = [f"{epoch},1,2,3,4,5,6,7,8,9,10,11,12" for epoch in (4, 5, 6)]
    found = table(HEAD, *ROWS, *strange)
    assert found.epochs[-1].epoch == 3
    assert (
        "the meaning of the 13 values in lines 5 to 7 of results.csv: the header above them has 7 columns"
        in found.unknown
    )


def test_epochs_that_begin_again_are_reported():
    assert table(HEAD, *ROWS, HEAD, ROWS[0]).notes == (
        "line 6 of results.csv restarts at epoch 1: 3 earlier rows were replaced",
    )
    assert table(HEAD, *ROWS, ROWS[2]).notes == (
        "line 5 of results.csv restarts at epoch 3: an earlier row was replaced",
    )


def test_a_header_of_another_version_than_all_rows_is_reported():
    found = table(TIMELESS, *ROWS)
    assert [e.seconds for e in found.epochs] == [10, 8, 9]
    assert found.notes == (
        "the header of results.csv does not match its rows; the columns were identified by their values",
    )


@settings(max_examples=50)
@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text):
    for given_text in (text, f"{HEAD}\n{text}", f"{HEAD}\n{ROWS[0]}\n{text}\n{ROWS[1]}"):
        with suppress(TunerError):
            table_of_csv(given_text, "results.csv")


cell = st.one_of(st.floats().map(str), st.integers().map(str), st.sampled_from(["", "nan", "-", "1e999", "１"]))


@given(st.lists(st.lists(cell, min_size=7, max_size=7).map(",".join), max_size=6))
def test_any_cells_are_read_or_refused(rows):
    try:
        epochs = read(HEAD, *rows)
    except TunerError:
        return
    assert [e.epoch for e in epochs] == sorted({e.epoch for e in epochs})
