import json
import re
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from dlpipe.data.split_report import split_report
from dlpipe.errors import DataError, InputError
from dlpipe.tabular.table import Table

ROWS = [
    f"{20 + number},{'Oslo' if number % 3 else 'Rome'},{number}.5,{'yes' if number % 2 else 'no'}"
    for number in range(40)
]
HEADER = "age,city,weight,ill"


@pytest.fixture
def people(write):
    return write(HEADER, *ROWS, name="people.csv")


def test_the_default_is_a_data_set_of_scikit_learn():
    data = Table()

    assert data.facts["labels"] == ["setosa", "versicolor", "virginica"]
    assert data.split("train").columns["numbers"].shape[1] == data.facts["num_features"] == 4
    assert sum(len(data.split(name)) for name in data.splits) == 150


def test_a_misspelled_table_of_scikit_learn_is_refused_with_the_nearest_one():
    with pytest.raises(
        DataError, match=r'sklearn:irsi: scikit-learn contains no such table. Did you mean "sklearn:iris"'
    ):
        _ = Table(path=Path("sklearn:irsi")).facts


def test_a_table_has_numbers_categories_and_classes(people):
    data = Table(path=people, target="ill")
    train = data.split("train")

    assert {name: tuple(column.shape) for name, column in train.columns.items()} == {
        "numbers": (28, 2),
        "categories": (28, 1),
        "targets": (28,),
    }
    assert_close(train.columns["numbers"].mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    assert data.facts["feature_names"] == ["age", "weight", "city"]


def test_a_number_as_target_is_standardized_unless_it_should_not_be(people):
    scaled, plain = Table(path=people, target="weight"), Table(path=people, target="weight", scale_target=False)

    own = (
        scaled.split("test").columns["targets"].double() * scaled.facts["target_scale"][0]
        + scaled.facts["target_mean"][0]
    )

    assert_close(own.float(), plain.split("test").columns["targets"])


def test_the_columns_to_predict_from_can_be_chosen_or_excluded(people):
    assert Table(path=people, target="ill", columns=["city", "age"]).facts["feature_names"] == ["age", "city"]
    assert Table(path=people, target="ill", exclude=["city", "age"]).facts["feature_names"] == ["weight"]


def test_the_splits_can_come_from_files(write, people):
    dev, test = write(HEADER, ROWS[3], name="dev.csv"), write(HEADER, *ROWS[5:7], name="test.csv")
    data = Table(path=people, dev=dev, test=test, target="ill")

    assert [len(data.split(name)) for name in data.splits] == [40, 1, 2]
    assert [name.rpartition("/")[2] for name in data.names("test")] == ["test.csv:2", "test.csv:3"]


def test_the_splits_can_come_from_a_column_which_is_no_feature(write):
    rows = [f"{row},{('train', 'train', 'dev', 'test')[number % 4]}" for number, row in enumerate(ROWS)]
    data = Table(path=write(f"{HEADER},part", *rows), target="ill", split="part")

    assert [len(data.split(name)) for name in data.splits] == [20, 10, 10]
    assert "part" not in data.facts["feature_names"]


def test_an_item_is_a_json_object_and_its_answer_a_class_with_its_probability(people):
    data = Table(path=people, target="ill")

    encoded = data.encode('{"age": 20, "city": "Bonn", "weight": 0.5, "ill": "no"}')
    answer = data.present(
        '{"age": 20, "city": "Bonn", "weight": 0.5}', torch.tensor(1), torch.tensor([0.25, 0.75]), top=1
    )

    assert encoded["categories"].tolist() == [0]
    top = [{"label": "yes", "probability": 0.75}]
    assert answer == {"label": "yes", "probability": 0.75, "top": top, "unknown": ["city"]}


def test_the_answer_of_regression_is_in_the_units_of_the_target(people):
    data = Table(path=people, target="weight")
    mean = data.facts["target_mean"][0]

    item = '{"age": 20, "city": "Rome", "ill": "no"}'

    assert data.present(item, torch.tensor(0.0), None) == {"weight": float(f"{mean:.6g}"), "unknown": []}


def test_items_are_read_from_tables_and_not_from_other_files(write, people):
    data = Table(path=people, target="ill", missing="mean")

    rows = list(data.read_items(write("age,city,weight", "20,Rome,0.5", ",Tromsø,1", name="new.csv")))

    assert [place.rpartition("/")[2] for place, _ in rows] == ["new.csv:2", "new.csv:3"]
    assert rows[1][1] == '{"age": null, "city": "Tromsø", "weight": "1"}'
    assert data.encode(rows[0][1])["numbers"].shape == (2,)
    assert data.read_items(write("{}", name="new.jsonl")) is None


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "age;city;weight",
            r'new.csv: no column "age"; there are "age;.*". Is the table separated by ";"\? Then set sep',
        ),
        ("age,town,weight", r'new.csv: no column "city"; there are "age", "town", "weight". Correct the header of the'),
        ("age,city,weight,hight", r'new.csv: no column "hight" in training; there were .* Did you mean "weight"\?'),
    ],
)
def test_a_header_that_is_not_that_of_training_is_refused_before_any_row(write, people, header, message):
    data = Table(path=people, target="ill")

    with pytest.raises(InputError, match=message):
        data.read_items(write(header, re.sub("[a-z]+", "1", header), name="new.csv"))


def test_what_was_learned_is_restored_without_the_file(people):
    data = Table(path=people, target="ill")
    item = '{"age": 20, "city": "Rome", "weight": 0.5}'
    state, encoded = json.loads(json.dumps(data.state())), data.encode(item)
    people.unlink()

    other = Table(path=people, target="ill")
    other.restore(state)

    assert other.facts == data.facts
    assert_close(other.encode(item), encoded)


def test_rows_are_copies_if_their_features_are_and_not_if_train_has_none_of_their_categories(write, people):
    dev = write(HEADER, "1,Bonn,2.5,no", "2,,7,yes", name="dev.csv")
    test = write(HEADER, "1,Kyiv,2.5,no", "2.0, ,7.0,yes", name="test.csv")

    data = Table(path=people, dev=dev, test=test, target="ill", missing="mean")

    assert [part.tolist() for part in data.copies("test", "dev")] == [[False, True]] * 2
    with pytest.warns(UserWarning, match=r"categories of .* that train does not have|missing values were filled"):
        warned = split_report(data)[1]
    assert warned == ["1 of 2 examples of test also occur in dev (exact copies)"]


def test_the_fingerprint_follows_the_content(write, people):
    before = Table(path=people, target="ill").fingerprint()

    assert Table(path=people, target="ill").fingerprint() == before
    assert Table(path=write(HEADER, *ROWS[1:], name="people.csv"), target="ill").fingerprint() != before


def test_a_table_with_another_separator_is_named_as_such(write):
    path = write(*(line.replace(",", ";") for line in (HEADER, *ROWS)), name="people.csv")

    with pytest.raises(InputError, match=r'"age;city;.*". Is the table separated by ";"\? Then set separator to that'):
        _ = Table(path=path, target="ill").facts


def test_a_table_with_decimal_commas_is_read_like_one_with_points(write, people):
    commas = [line.replace(",", ";").replace(".", ",") for line in (HEADER, *ROWS)]
    options = {"path": write(*commas), "target": "weight", "separator": ";"}

    data = Table(**options, decimal=",")

    assert data.state() == Table(path=people, target="weight").state()
    with pytest.raises(DataError, match=r'"weight" has numbers with a decimal comma, such as "0,5"; set decimal = ","'):
        _ = Table(**options).facts


def test_with_decimal_commas_categories_and_classes_stay_as_they_are_written(write):
    lines = [f"{number},5;{number % 2 + 1}.234;{number % 2 + 1},0" for number in range(40)]
    path, new = write("a;kind;y", *lines), write("a;kind", "1.039,5;2.234", name="new.csv")
    options = {"target": "y", "task": "classification", "categorical": ["kind"], "separator": ";", "decimal": ","}

    data = Table(path=path, test=write("a;kind;y", "1.039,5;2.234;1,0", name="test.csv"), **options)

    assert data.facts["labels"] == ["1,0", "2,0"]
    test = {name: column[0] for name, column in data.split("test").columns.items()}
    for item in ['{"a": 1039.5, "kind": "2.234"}', *(row for _, row in data.read_items(new))]:
        encoded = data.encode(item)
        assert_close(encoded["numbers"], test["numbers"])
        assert encoded["categories"].tolist() == test["categories"].tolist() == [2]


def test_a_class_of_one_row_stays_in_train(write):
    data = Table(path=write(HEADER, *ROWS, "33,Rome,7.5,maybe"), target="ill")

    assert data.facts["labels"] == ["maybe", "no", "yes"]
    assert 0 in data.split("train").columns["targets"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r'target is not given; name the column of .*people.csv to predict: "age", "city", "weight", "ill"'),
        ({"target": "il"}, r'people.csv: no column "il"; there are .* Did you mean "ill"\? Correct target'),
        (
            {"target": "ill", "columns": ["agee"]},
            r'no column "agee"; there are .* Did you mean "age"\? Correct columns',
        ),
        ({"target": "ill", "exclude": ["town"]}, r'no column "town"; there are "age", .* Correct exclude'),
        ({"target": "ill", "categorical": ["agee"]}, r'no column "agee"; .* Correct categorical'),
        ({"target": "ill", "split": "part"}, r'no column "part"; .* Correct split'),
        ({"target": "ill", "columns": ["age", "ill"]}, r'columns has "ill", which is the target, names the split'),
        ({"target": "ill", "exclude": ["age", "city", "weight"]}, r'no column is left to predict "ill" from; expected'),
        (
            {"target": "ill", "exclude": ["age"], "categorical": ["age"]},
            r'categorical has "age", which is not among the',
        ),
        (
            {"target": "ill", "scale_target": False},
            r"scale_target = false has no effect: the target is a class; remove it",
        ),
        (
            {"target": "age"},
            r'the target "age" has 40 different whole numbers, which may be classes or quantities; set',
        ),
    ],
)
def test_parameters_that_do_not_fit_the_table_are_refused(people, options, message):
    with pytest.raises(InputError, match=message):
        _ = Table(path=people, **options).facts


def test_a_test_file_without_a_column_or_with_the_rows_of_train_is_refused(write, people):
    without = write("age,weight,ill", "20,1.5,no", name="test.csv")

    with pytest.raises(DataError, match=r'test.csv: no column "city"; there are "age", "weight", "ill"'):
        Table(path=people, test=without, target="ill").split("test")
    with pytest.raises(DataError, match=r"copy.csv: the same rows as train; expected others"):
        _ = Table(path=people, dev=write(HEADER, *ROWS, name="copy.csv"), target="ill").facts


def test_a_split_that_is_in_a_column_and_in_a_file_is_refused(write):
    rows = [f"{row},{('train', 'test')[number % 2]}" for number, row in enumerate(ROWS)]
    path, test = write(f"{HEADER},part", *rows), write(f"{HEADER},part", rows[0], name="test.csv")

    with pytest.raises(DataError, match=r'test.csv has the rows of test, but so has .*rows.csv by its column "part"'):
        _ = Table(path=path, test=test, split="part", target="ill").facts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 6}, r"fold = 6: there are 5 folds; expected a whole number from 1 to 5"),
        (
            {"encoding": "cp1252"},
            r'encoding = "cp1252" has no effect: no file is read; remove it, or set path to a file',
        ),
        ({"separator": ";"}, r'separator = ";" has no effect: no file is read'),
        ({"missing_values": ["?"]}, r'missing_values = \["\?"\] has no effect: no file is read'),
        ({"decimal": ","}, r'decimal = "," has no effect: no file is read'),
        ({"separator": ";;"}, r'separator = ";;": expected one character, such as ";"'),
    ],
)
def test_a_value_that_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        Table(**options)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("41", r'"41": expected an object with a value for each column, such as \{"age": 41\}'),
        ("age 41", r'"age 41" is not JSON \(.*\); expected a row such as'),
        pytest.param("[" * 100_000, r"is not JSON \(maximum recursion depth .*\); expected a row such as", id="nested"),
    ],
)
def test_an_item_that_is_no_object_is_refused(item, message):
    with pytest.raises(InputError, match=message):
        Table().encode(item)


def test_a_column_weighs_the_rows_of_train_and_is_no_feature(people):
    plain, weighted = Table(path=people, target="ill"), Table(path=people, target="ill", sample_weights="age")

    train = weighted.split("train").columns

    age = plain.facts["feature_names"].index("age")
    expected = plain.split("train").columns["numbers"][:, age]
    weights = train["sample_weights"]
    assert_close(((weights - weights.mean()) / weights.std(correction=0)).float(), expected)
    assert weighted.facts["feature_names"] == ["weight", "city"]
    assert "sample_weights" not in weighted.split("dev").columns


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_weights": "aeg"}, r'no column "aeg".*Did you mean "age"'),
        ({"sample_weights": "city"}, 'column "city" has "Oslo"'),
        (
            {"sample_weights": "age", "columns": ["age"]},
            'columns has "age", which is the target, names the split or wei',
        ),
    ],
)
def test_a_column_that_cannot_weigh_rows_is_refused(people, options, message):
    with pytest.raises((DataError, InputError), match=message):
        Table(path=people, target="ill", **options).split("train")
