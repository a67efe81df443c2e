"""How ``dlpipe predict`` writes its answers."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from dlpipe.commands.answers import (
    AsJsonLines,
    AsTable,
    AsText,
    answers_file,
    as_table,
    cells_of,
    on_standard_output,
    require_answers_file,
)
from dlpipe.errors import DlpipeError, InputError
from dlpipe.items import FailedItem
from dlpipe.messages import Weighted

BROKEN = FailedItem("item 2", "b.png", InputError("b.png is no image"))


def table(*answers):
    """Return the cells of a table of answers."""
    text = io.StringIO()
    form = AsTable(text.write)
    for answer in answers:
        form.write(answer)
    form.close()
    return list(csv.reader(io.StringIO(text.getvalue(), newline="")))


def test_numbers_by_name_are_written_as_words():
    assert as_table({"label": "8", "factors": {"3": 0.12, "2": 0.1}}) == "label: 8\nfactors: 3 0.12, 2 0.1"


def test_the_most_probable_classes_are_written_with_their_probabilities():
    top = [{"label": "cat", "probability": 0.5}, {"label": "dog", "probability": 0.25}]

    answer = {"item": "a.png", "top": top, "prepared": ["grey", "resized"]}
    assert as_table(answer) == "item: a.png\ntop: cat 0.5, dog 0.25\nprepared: grey, resized"


def test_weighted_pieces_stand_below_the_rest_of_an_answer_and_an_empty_line_between_answers(capsys):
    form = AsText()

    form.write({"words": [Weighted("good ", 1.0), Weighted("film", 0.0)], "label": "pos"})
    form.write(BROKEN)
    form.write({"words": [Weighted("bad", -2.0)], "label": "neg"})

    assert capsys.readouterr().out == "label: pos\nwords: good film\n\nlabel: neg\nwords: bad\n"


def test_a_number_that_is_not_finite_is_null_in_a_line_of_json(capsys):
    on_standard_output("json").write({"item": "row 2", "prediction": math.nan})

    assert capsys.readouterr().out == '{"item": "row 2", "prediction": null}\n'


def test_an_empty_table_is_left_out():
    assert as_table({"label": "8", "next": {}, "prepared": []}) == "label: 8"


def test_an_answer_that_is_an_empty_text_is_shown():
    assert as_table({"item": "a", "text": "", "unknown": []}) == "item: a\ntext: "


def test_lists_of_one_length_become_columns_below_the_item():
    answer = {"item": "to taipei", "words": ["to", "taipei"], "tags": ["O", "B-city"], "sum": 2}

    assert as_table(answer) == "item: to taipei\nto      O\ntaipei  B-city\nsum: 2"


def test_columns_of_chinese_words_are_aligned():
    assert as_table({"words": ["去", "臺北", "in"], "tags": ["O", "B-city", "O"]}) == "去    O\n臺北  B-city\nin    O"


def test_a_table_has_the_item_first_and_the_reason_of_failures_last():
    rows = table({"item": "a.png", "label": "cat"}, BROKEN, {"item": 'c "x",\n去.png', "label": "owl"})

    assert rows == [
        ["item", "label", "error"],
        ["a.png", "cat", ""],
        ["b.png", "", "b.png is no image"],
        ['c "x",\n去.png', "owl", ""],
    ]


def test_failures_before_the_first_answer_wait_for_its_columns():
    assert table(BROKEN, {"item": "a", "label": "cat"})[0] == ["item", "label", "error"]
    assert table(BROKEN, {"item": "a", "label": "cat"})[1] == ["b.png", "", "b.png is no image"]
    assert table(BROKEN) == [["item", "error"], ["b.png", "b.png is no image"]]


def test_tables_and_lists_become_cells():
    answer = {
        "item": "a",
        "top": [{"label": "cat", "probability": 0.5}, {"label": "dog", "probability": 0.25}],
        "factors": {"hair": "long"},
        "tokens": ["to", "taipei"],
        "odd": ["a|b", "c"],
        "bracket": ["[", "x"],
        "nested": [[1, 2], [3]],
        "none": [],
    }

    assert cells_of(answer) == {
        "item": "a",
        "top_1_label": "cat",
        "top_1_probability": 0.5,
        "top_2_label": "dog",
        "top_2_probability": 0.25,
        "factors_hair": "long",
        "tokens": "to|taipei",
        "odd": '["a|b", "c"]',
        "bracket": '["[", "x"]',
        "nested": "[[1, 2], [3]]",
        "none": "",
    }


def test_no_cell_is_a_formula():
    assert table({"item": "=HYPERLINK(1)", "score": -2.5})[1] == ["'=HYPERLINK(1)", "-2.5", ""]


def test_an_answer_with_another_column_is_refused_rather_than_cut():
    with pytest.raises(DlpipeError, match='the answer for b has "color", which the first answer lacks; .*--json'):
        table({"item": "a", "label": "cat"}, {"item": "b", "label": "dog", "color": "red"})


def test_each_item_has_a_line_of_json():
    written: list[str] = []
    form = AsJsonLines(written.append)

    form.write({"item": "去", "label": "x"})
    form.write(BROKEN)

    assert written == ['{"item": "去", "label": "x"}\n', '{"item": "b.png", "error": "b.png is no image"}\n']


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_file_appears_when_it_is_complete(tmp_path, name):
    with answers_file(tmp_path / name) as form:
        form.write({"item": "去", "label": "x"})
        assert not (tmp_path / name).exists()

    assert "去" in (tmp_path / name).read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_interrupted_file_has_the_answers_so_far(tmp_path, capsys):
    def interrupted():
        with answers_file(tmp_path / "a.jsonl") as form:
            form.write({"item": "a"})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert json.loads((tmp_path / "a.jsonl").read_text()) == {"item": "a"}
    assert "a.jsonl has the answers so far" in capsys.readouterr().err


def test_a_file_that_has_appeared_meanwhile_is_not_replaced(tmp_path):
    with (
        pytest.raises(DlpipeError, match="a.csv cannot be written: File exists"),
        answers_file(tmp_path / "a.csv"),
    ):
        (tmp_path / "a.csv").write_text("precious")

    assert (tmp_path / "a.csv").read_text() == "precious"


def test_a_file_that_cannot_take_the_answers_is_refused_before_anything_is_computed(tmp_path):
    (tmp_path / "a.csv").touch()

    with pytest.raises(InputError, match="a.csv exists; remove it, or choose another name with --output FILE"):
        require_answers_file(tmp_path / "a.csv")
    with pytest.raises(InputError, match="a.txt: expected a name that ends in .csv or .jsonl"):
        require_answers_file(tmp_path / "a.txt")
    with pytest.raises(InputError, match="the folder .*nowhere does not exist; create it first"):
        require_answers_file(tmp_path / "nowhere" / "a.csv")
