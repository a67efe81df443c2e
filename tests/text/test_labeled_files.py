from __future__ import annotations

import json
from collections import Counter

import pytest

from dlpipe.errors import DataError, InputError
from dlpipe_text.labeled_files import labeled

CSV = 'text,label\n"good, really",pos\nbad,neg\nfine,pos\n"two\nlines",neg\n' + "more,pos\nless,neg\n" * 4


def texts_of(path, part="train", **options):
    return labeled(path=path, **options).texts(part)


def every_text(path, **options):
    data = labeled(path=path, **options)
    return {text for split in data.splits for text, _ in data.texts(split)}


def test_tables_in_three_formats_are_read_alike(write):
    rows = [("good 😀", "1"), ("it's bad", "0")] * 10
    csv = write("review,score\n" + "".join(f"{text},{label}\n" for text, label in rows), "a.csv")
    tsv = write("score\treview\n" + "".join(f"{label}\t{text}\n" for text, label in rows), "a.tsv")
    lines = [json.dumps({"score": int(label), "review": text}) for text, label in rows]
    jsonl = write("\n\n".join(lines), "a.jsonl")

    read = [texts_of(path, text="review", label="score") for path in (csv, tsv, jsonl)]

    assert read[0] == read[1] == read[2]
    assert Counter(read[0]) == {rows[0]: 8, rows[1]: 8}


def test_a_quoted_field_may_contain_commas_and_line_feeds(write):
    assert {"good, really", "two\nlines"} <= every_text(write(CSV, "a.csv"))


def test_a_quotation_mark_in_a_tsv_file_is_ordinary(write):
    path = write('text\tlabel\n"open\ta\nb\tb\n' + "c\ta\nd\tb\n" * 4, "a.tsv")

    assert '"open' in every_text(path)


@pytest.mark.parametrize("names", [("rt.pos", "rt.neg"), ("pos.txt", "neg.txt")])
def test_one_file_per_class(write, names):
    for name, word in zip(names, ("good", "bad"), strict=True):
        path = write(f"{word} one\n" * 10, name)
    write("about this data", "README")

    texts = texts_of(path.parent)

    assert Counter(texts) == {("good one", "pos"): 8, ("bad one", "neg"): 8}


def test_one_folder_per_class_with_splits(write):
    for split in ("training", "Test"):
        for label in ("pos", "neg"):
            for number in range(3):
                path = write(f"{split}\n{label} {number}", f"data/{split}/{label}/{number}.txt")

    data = labeled(path=path.parents[2])

    assert Counter(label for _, label in data.texts("train")) == {"pos": 2, "neg": 2}
    assert Counter(label for _, label in data.texts("dev")) == {"pos": 1, "neg": 1}
    assert ("Test\nneg 2", "neg") in data.texts("test")


def test_a_file_for_each_split(write):
    for split in ("train", "valid", "test"):
        path = write(f"text,label\n{split} a,a\n{split} b,b\n", f"data/set.{split}.csv")

    data = labeled(path=path.parent)

    assert {split: data.texts(split)[0] for split in data.splits} == {
        "train": ("train a", "a"),
        "dev": ("valid a", "a"),
        "test": ("test a", "a"),
    }


def test_a_column_may_name_the_split(write):
    rows = "".join(
        f"{label}{number},{label},{split}\n"
        for number, split in enumerate(("train", "val", "Testing"))
        for label in "ab"
    )
    path = write("text,label,part\n" + rows, "a.csv")

    data = labeled(path=path, split="part")

    assert [data.texts(split) for split in data.splits] == [[(f"{x}{n}", x) for x in "ab"] for n in range(3)]


def test_folds_are_disjoint_cover_everything_and_are_stratified(write):
    path = write("text,label\n" + "".join(f"t{n},{'a' if n < 23 else 'b'}\n" for n in range(60)), "a.csv")

    parts = [texts_of(path, "test", fold=fold, folds=4) for fold in (1, 2, 3, 4)]

    assert len({text for part in parts for text, _ in part}) == sum(map(len, parts)) == 60
    assert {len(part) for part in parts} == {15}
    assert all(5 <= Counter(label for _, label in part)["a"] <= 6 for part in parts)
    assert texts_of(path, "test", fold=1, folds=4, seed=1) != parts[0]


def test_windows_files_with_a_byte_order_mark(write):
    path = write(b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode(), "a.csv")

    assert "fine" in every_text(path)


def test_other_encodings_are_read_where_asked(write):
    content = "text\tlabel\n" + "太棒了\ta\n糟透了\tb\n" * 5

    for encoding in ("big5", "utf-16"):
        assert every_text(write(content.encode(encoding), "a.tsv"), encoding=encoding) == {"太棒了", "糟透了"}


def test_control_characters_do_not_end_a_line(write):
    write("a\x97b\x85c\u2028d\x1ce\n" * 5, "x.pos")
    path = write("plain\r\n" * 5, "x.neg")

    assert every_text(path.parent) == {"a\x97b\x85c\u2028d\x1ce", "plain"}


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_control_characters_do_not_end_a_row_of_a_table(write, name):
    text = "a\x97b\x85c\u2028d\x1ce"
    rows = [f"{text},x", "plain,y"] * 5
    if name == "a.tsv":
        content = "\r\n".join(["text,label", *rows]).replace(",", "\t")
    elif name == "a.csv":
        content = "\r\n".join(["text,label", *rows])
    else:
        lines = [dict(zip(("text", "label"), row.split(","), strict=True)) for row in rows]
        content = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)

    assert every_text(write(content, name)) == {text, "plain"}


def test_copies_of_training_texts_are_left_out_where_asked(write):
    table = "text,label,split\n" + "good,a,train\nbad,b,train\ngood,a,test\nfine,a,test\nbad,b,dev\ngood!,a,dev\n"
    data = labeled(path=write(table, "a.csv"), split="split", drop_copies=True)

    with pytest.warns(UserWarning, match="left out of test: 1 of 2 texts, which are in train"):
        assert data.texts("test") == [("fine", "a")]
    assert data.texts("dev") == [("good!", "a")]
    assert data.texts("train") == [("good", "a"), ("bad", "b")]
    assert not data.copies("test", "train")[0].any()


def test_a_split_of_nothing_but_copies_is_refused(write):
    path = write("text,label,split\ngood,a,train\nbad,b,train\ngood,a,test\nfine,a,dev\n", "a.csv")

    with pytest.raises(
        DataError, match=r"a\.csv: all 1 texts of test also occur in train, so drop_copies = true leaves none"
    ):
        labeled(path=path, split="split", drop_copies=True).texts("test")


def test_empty_texts_are_counted_and_left_out(write):
    path = write(CSV + ",pos\n  ,neg\n", "a.csv")

    with pytest.warns(UserWarning, match=r"empty texts are left out: 2, the first one at .*a\.csv:15$"):
        assert "" not in every_text(path)


def test_an_empty_file_in_the_folder_of_a_class_is_an_empty_text(write):
    for label in ("pos", "neg"):
        for number in range(5):
            path = write(f"{label} {number}", f"data/{label}/{number}.txt")
    write("", "data/pos/none.txt")

    with pytest.warns(UserWarning, match=r"empty texts are left out: 1, the first one at .*pos/none\.txt$"):
        assert len(every_text(path.parents[1])) == 10


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            b"text,label\ngood,a\nb\xe9d,b\n",
            r"a\.csv:3: byte 19 is 0xe9, not utf-8 .*set encoding to that of the",
        ),
        (
            "a.csv",
            b"text,label\ngood,a\nb\0d,b\n",
            r"a\.csv:3: a NUL; expected text. If this is UTF-16, set encoding =",
        ),
        (
            "a.csv",
            "texts,label\na,b\n",
            r'a\.csv:1: no column "text"; there are "texts", "label"\. Did you mean "texts"\? Set',
        ),
        ("a.jsonl", '{"text": "a"}\n', r'a\.jsonl:1: no key "label"; there are "text"\. Set text, label and split'),
        ("a.jsonl", '{"text": "a"\n', r'a\.jsonl:1: "{\\"text\\": \\"a\\"" is not JSON'),
        ("a.jsonl", '{"text": "a \\ud83d", "label": 1}\n', r"a\.jsonl:1: .* is not JSON \(.* surrogates not allowed\)"),
        ("a.jsonl", "[1]\n", r'a\.jsonl:1: "\[1\]"; expected an object'),
        ("a.jsonl", '{"text": 3, "label": 1}\n', r'a\.jsonl:1: "text" is 3; expected a text in quotation marks'),
        ("a.jsonl", '{"text": null, "label": 1}\n', r'a\.jsonl:1: "text" is null; expected a text in quotation marks'),
        ("a.csv", "text;label\na;x\n", r'a\.csv:1: no column "text"; .* separated by ";"\? Then .* by commas'),
        ("a.csv", "text;label\na,b;x\n", r'a\.csv:2: 2 columns; expected 1 .* separated by ";"\? Then .* by commas'),
        ("a.tsv", "text,label\na,x\n", r'a\.tsv:1: no column "text"; .* separated by ","\? Then .* by tabs'),
        ("a.csv", "text,label\na\n", r'a\.csv:2: 1 columns; expected 2 as in the header, "text", "label"'),
        ("a.csv", "text,text\na,b\n", r"a\.csv:1: two columns of one name"),
        (
            "a.csv",
            'text,label\n"a,b\nc,d\n',
            r"a\.csv:2: the row that starts here cannot be read \(unexpected end of data",
        ),
        (
            "a.csv",
            f"text,label\nok,a\n{'x' * 140_000},b\n",
            r"a\.csv:3: the row that starts here cannot .*131,072 char",
        ),
        ("a.csv", "text,label\na,\n", r"a\.csv:2: the label is empty"),
        ("a.jsonl", '{"text": "a", "label": null}\n', r"a\.jsonl:1: the label is empty"),
        (
            "a.jsonl",
            '{"text": "a", "label": ["b"]}\n',
            r'a\.jsonl:1: "label" is \["b"\]; expected a text or a number',
        ),
        ("a.csv", "text,label\n", r"a\.csv: no texts for training, only for no split"),
        ("a.csv", "text,label\na,x\nb,y\n", r"a\.csv: no texts for the test split; add texts"),
        ("a.csv", "text,label\n" + "a,x\n" * 20, r'all 16 training texts have the label "x"; expected at least two'),
        (
            "a.xlsx",
            "text,label\n",
            r"a\.xlsx: a file of another kind; expected a table \(.csv, .tsv, .jsonl\), one file",
        ),
        ("a.csv", b"", r"a\.csv: the file is empty"),
    ],
)
def test_a_file_with_a_mistake_is_refused(write, name, content, message):
    data = labeled(path=write(content, name))

    with pytest.raises(DataError, match=message):
        _ = data.facts


def test_a_line_of_five_megabytes_is_refused_or_cut(write):
    path = write("text\tlabel\n" + "good 棒\ta\nbad 糟\tb\n" * 5 + "very " * 1_000_000 + "\ta\n", "a.tsv")

    whole = labeled(path=path)

    with pytest.raises(DataError, match="has 1,000,000 units .*expected at most 10,000, .*Set max_length"):
        list(map(whole.split, whole.splits))
    data = labeled(path=path, max_length=40)
    assert max(int(data.split(split).lengths.max()) for split in data.splits) == 40


def test_a_folder_in_the_folder_of_a_class_is_refused(write):
    write("good", "data/pos/a.txt")
    path = write("bad", "data/neg/more/b.txt")

    with pytest.raises(DataError, match=r"neg/more: a folder; expected a file with text. Move its files, or remove it"):
        texts_of(path.parents[2])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("a.txt", "b.md"), r"the folder contains a\.txt, b\.md; expected a table"),
        (("train.csv", "train.tsv"), r"2 candidates for train: train\.csv, train\.tsv; expected one"),
        (("test.csv",), r"no train split among test\.csv; expected"),
        ((".hidden",), "an empty folder; expected"),
        (
            ("bus/1.txt", "plane/1.txt", "train/1.txt"),
            r"data: bus, plane would be left out, since train is named after a spl",
        ),
        (
            ("train.csv", "test.csv", "old.csv"),
            r"data: old\.csv would be left out, since test\.csv, train\.csv is named",
        ),
    ],
)
def test_a_folder_of_something_else_is_refused(write, tmp_path, files, message):
    for name in files:
        write("text,label\n", f"data/{name}")

    with pytest.raises(DataError, match=message):
        texts_of(tmp_path / "data")


def test_options_without_effect_and_wrong_values_are_refused(write):
    for split in ("train", "dev", "test"):
        path = write(CSV, f"data/{split}.csv")

    for option, message in (
        ({"dev_size": 0.2}, r"dev_size = 0.2 has no effect: .*data has a dev split of its own; remove dev_size"),
        ({"test_size": 0.2}, r"test_size = 0.2 has no effect: .*has a test split of its own"),
        ({"fold": 2}, r"fold = 2 has no effect"),
        ({"fold": 3, "folds": 2}, r"fold = 3: there are 2 folds; expected a whole number from 1 to 2"),
        ({"encoding": "latin0"}, r'encoding = "latin0": there is no such encoding'),
    ):
        with pytest.raises(InputError, match=message):
            texts_of(path.parent, **option)


@pytest.mark.parametrize("option", ["text", "label", "split"])
@pytest.mark.parametrize("names", [("pos.txt", "neg.txt"), ("train/pos/1.txt", "train/neg/1.txt")])
def test_a_column_without_a_table_is_refused(write, tmp_path, names, option):
    for name in names:
        write("good\n" * 5, f"data/{name}")

    with pytest.raises(DataError, match=rf'{option} = "part" has no effect: .*data has no table; remove {option}'):
        texts_of(tmp_path / "data", **{option: "part"})


def test_a_split_column_with_another_word_is_refused(write):
    path = write("text,label,split\na,b,left\n", "a.csv")

    with pytest.raises(DataError, match=r'a\.csv:2: "split" is "left"; expected train, dev or test'):
        texts_of(path, split="split")


def test_a_path_that_does_not_exist_is_refused_with_the_nearest_name(write):
    path = write(CSV, "reviews.csv")

    with pytest.raises(DataError, match=r'no such file or folder. Did you mean "reviews.csv"'):
        texts_of(path.with_name("review.csv"))


def test_nothing_is_read_before_it_is_needed(tmp_path):
    data = labeled(path=tmp_path / "moved.csv")
    data.restore({"units": ["<pad>", "<other>", "good"], "ngrams": [], "labels": ["neg", "pos"]})

    assert data.encode("good")["tokens"].tolist() == [2]


def test_a_missing_path_is_refused():
    with pytest.raises(DataError, match="path is not given; give a table of texts, or a folder: --set data.path=PATH"):
        labeled()
