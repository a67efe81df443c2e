import json
import math

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch.testing import assert_close

from dlpipe.errors import DataError, InputError
from dlpipe.tabular.cells import categories_of
from dlpipe.tabular.features import Features, Preparation
from dlpipe.tabular.reading import RawTable


def table(**columns):
    frame = pl.DataFrame(columns, strict=False)
    return RawTable("rows.csv", frame, pl.Series(range(2, 2 + frame.height)), True, "")


def learned(train, *, missing="error", indicator=False, scale="standard", categorical=()):
    return Features.learn(train, train.frame.columns, Preparation(missing, indicator, scale, categorical))


@pytest.mark.parametrize(("scale", "scaler"), [("standard", StandardScaler()), ("min_max", MinMaxScaler())])
def test_numbers_are_scaled_as_scikit_learn_scales_them_by_train_alone(scale, scaler):
    train, test = table(a=[1.0, 2.0, 6.0], b=[-5.0, 0.0, 2.5]), table(a=[30.0], b=[7.0])

    encoded = learned(train, scale=scale).encode(test, "test")

    scaler.fit(train.frame.to_numpy())
    assert_close(encoded["numbers"], torch.from_numpy(scaler.transform(test.frame.to_numpy())).float())


def test_numbers_can_stay_as_they_are():
    assert learned(table(a=["1.5", "2"]), scale="none").encode(table(a=["7"]), "test")["numbers"].tolist() == [[7.0]]


def test_a_constant_column_becomes_zero_and_is_named():
    train = table(a=[0.1] * 7, b=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])

    with pytest.warns(
        UserWarning,
        match=r'"a": the same value in all rows of train, .*; add "a" to exclude, or remove it from columns',
    ):
        features = learned(train)

    assert features.encode(train, "train")["numbers"][:, 0].abs().max() < 1e-12


@pytest.mark.parametrize(("missing", "fill"), [("mean", 3.0), ("median", 2.0), ("most_frequent", 1.0)])
def test_a_missing_number_is_filled_with_one_of_train_and_that_is_said(missing, fill):
    features = learned(table(a=[1.0, 1.0, 2.0, 3.0, 8.0]), missing=missing, scale="none")

    with pytest.warns(UserWarning, match=rf'test: missing values were filled: "a" 1 of 2 \(with {fill:g}\)'):
        numbers = features.encode(table(a=[None, 9.0]), "test")["numbers"]

    assert numbers.tolist() == [[fill], [9.0]]


@pytest.mark.filterwarnings("ignore:.*missing values were filled")
def test_an_indicator_says_where_a_number_is_missing_if_train_has_such_rows():
    train = table(a=[1.0, None, 3.0], b=[4.0, 5.0, 7.0])
    features = learned(train, missing="mean", indicator=True, scale="none")

    assert features.encode(train, "train")["numbers"].tolist() == [[1, 0, 4], [2, 1, 5], [3, 0, 7]]
    assert features.facts()["num_features"] == 3


def test_missing_values_are_refused_by_default_with_place_and_number():
    message = 'rows.csv:3: column "a" has no value, as in 2 of 3 rows of {}; fill them with missing = "mean"'

    with pytest.raises(DataError, match=message.format("train")):
        learned(table(a=["1", None, None]))
    with pytest.raises(DataError, match=message.format("train")):
        learned(table(a=["x", None, None]))
    with pytest.raises(DataError, match=message.format("test")):
        learned(table(a=["1", "2", "3"])).encode(table(a=["1", None, None]), "test")
    with pytest.raises(DataError, match=message.format("test")):
        learned(table(a=["x", "y", "z"])).encode(table(a=["x", None, None]), "test")


def test_texts_and_truth_values_are_categories_numbered_from_1():
    train = table(city=["Rome", "Oslo", "Rome"], smokes=[True, False, False], age=["30", "40", "50"])
    features = learned(train)

    assert features.encode(train, "train")["categories"].tolist() == [[2, 2], [1, 1], [2, 1]]
    assert features.facts() == {
        "num_features": 1,
        "cardinalities": [3, 3],
        "feature_names": ["age", "city", "smokes"],
    }


def test_a_category_that_train_does_not_have_is_number_0_and_that_is_said():
    features = learned(table(city=["Rome", "Oslo"]))

    with pytest.warns(
        UserWarning, match=r'test: 2 rows have categories of "city" that train does not have, such as "Bonn"'
    ):
        encoded = features.encode(table(city=["Bonn", "Oslo", "Kyiv"]), "test")

    assert encoded["categories"].tolist() == [[0], [1], [0]]


@pytest.mark.filterwarnings("ignore:.*missing values were filled")
def test_a_missing_category_is_a_category_of_its_own_or_the_most_frequent_one():
    train = table(city=["Rome", None, "Oslo", "Rome"])

    assert learned(train, missing="mean").encode(train, "train")["categories"].tolist() == [[2], [3], [1], [2]]
    assert learned(train, missing="most_frequent").encode(train, "train")["categories"].tolist() == [[2], [2], [1], [2]]


@pytest.mark.parametrize(
    ("cells", "missing", "words"),
    [
        (["Rome", None], "mean", "a category of its own"),
        (["Rome", "Oslo"], "mean", "the unknown category, as train has no missing one"),
        (["Rome", "Oslo"], "most_frequent", 'with "Oslo"'),
    ],
)
def test_it_is_said_what_a_missing_category_becomes(cells, missing, words):
    features = learned(table(city=cells), missing=missing)

    with pytest.warns(UserWarning, match=rf'test: missing values were filled: "city" 1 of 2 \({words}\)$'):
        features.encode(table(city=[None, "Rome"]), "test")


def test_of_the_most_frequent_categories_the_first_one_counts():
    train = table(city=["Rome", "Oslo", None, "Rome", "Oslo", "Bonn"])

    assert learned(train, missing="most_frequent").categories[0].fill == "Oslo"


@pytest.mark.parametrize(
    ("train", "cell", "number"),
    [
        (["False", "True"], True, 2),
        (["FALSE", "TRUE"], "true", 2),
        ([False, True], "True", 2),
        (["False", "True", "true"], True, 3),
        (["False", "True", "TRUE"], True, 0),
        (["1.0", "2.0"], 2, 2),
        (["1.0", "2.0"], 2.0, 2),
        ([1.0, 2.0], 2, 2),
        (["1", "1.0"], 1, 1),
        (["1.0", "1.00"], 1, 0),
        (["1.0", "2.0"], "2", 0),
        (["12345678901234567.0", "x"], 12345678901234568, 0),
        ([" a", "b"], " a", 1),
        (["nan", "x"], "NaN", 0),
    ],
)
@pytest.mark.filterwarnings("ignore:.*train does not")
def test_a_value_is_the_same_category_in_a_csv_file_a_parquet_file_and_an_item(train, cell, number):
    features = learned(table(a=train), categorical=["a"])

    assert features.encode_item({"a": cell})["categories"].tolist() == [number]
    assert features.encode(table(a=[cell]), "test")["categories"].tolist() == [[number]]
    assert features.encode(table(a=train), "train")["categories"].flatten().tolist() == [
        features.categories[0].values.index(value) + 1 for value in categories_of(pl.Series(train))
    ]


def test_numbers_can_be_categories():
    features = learned(table(sex=[1.0, 2.0, 1.0]), categorical=["sex"])

    assert features.encode(table(sex=["2", "1"]), "test")["categories"].tolist() == [[2], [1]]
    assert learned(table(ticked=["1,2", "1,3"]), categorical=["ticked"]).facts()["cardinalities"] == [3]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            ["1", "x", "3"],
            r'rows.csv:3: column "a" has "x"; expected a finite number. Correct it, add it to missing_values',
        ),
        (["1", "x", "?"], r'rows.csv:3: column "a" has "x"; expected a finite number; so are 1 others'),
        (["1", "2", "inf"], r'rows.csv:4: column "a" has "inf"; expected a finite number'),
        ([1.0, -math.inf, 2.0], r'rows.csv:3: column "a" has "-inf"; expected a finite number'),
        (["1", "2,5", "3"], r'rows.csv:3: column "a" has "2,5"; expected a finite number. Write decimals with a point'),
        (
            ["1", "110,37", "-1.234,5"],
            r'rows.csv: column "a" has numbers with a decimal comma, such as "110,37"; set decimal = ",", or name the '
            "column in categorical if these are no numbers",
        ),
        (
            ["950", "4,103", "-12,000"],
            r'rows.csv: column "a" has numbers with a comma, such as "4,103"; remove the commas if they separate '
            r'thousands, set decimal = "," if they are decimal commas, or name the column in categorical if',
        ),
        (
            ["4,103", "0,125"],
            r'rows.csv: column "a" has numbers with a decimal comma, such as "4,103"; set decimal = ","',
        ),
        (
            ["1", "2,500", "3"],
            r'"2,500"; expected a finite number. Remove the comma if it separates thousands; if it is a decimal comma, set',
        ),
        ([None, None], r'rows.csv: column "a" has no value in any row; leave it out with exclude = \["a"\]'),
    ],
)
def test_a_cell_that_is_no_number_is_refused_with_its_place(cells, message):
    with pytest.raises(DataError, match=message):
        learned(table(a=cells), missing="mean")


def test_numbers_beyond_float32_are_refused():
    with pytest.raises(
        DataError, match=r"rows.csv: there are numbers beyond 3e38; expected numbers that fit into float32"
    ):
        learned(table(a=[1e39, 1.0]), scale="none").encode(table(a=[1e39]), "train")


def test_a_column_of_another_type_is_refused():
    dates = pl.Series([0, 1]).cast(pl.Date)

    with pytest.raises(
        DataError, match=r'rows.csv: column "day" is of the type Date; expected numbers, texts or truth'
    ):
        learned(table(day=dates))


def test_a_text_that_is_different_in_most_rows_is_named():
    with pytest.warns(UserWarning, match=r'"name" has 24 different values in 24 rows of train, so most tell nothing'):
        learned(table(name=[f"person {number}" for number in range(24)]))


def test_an_item_is_encoded_as_the_row_of_a_table():
    train = table(age=["30", "40", "71"], city=["Rome", "Oslo", "Rome"], id=["x", "y", "z"])
    how = Preparation("mean", False, "standard", ())
    features = Features.learn(train, ["age", "city"], how)

    for item in ({"age": 40, "city": "Oslo"}, {"age": " 40 ", "city": "Oslo ", "id": 9}):
        encoded = features.encode_item(item)
        assert_close(encoded["numbers"], features.encode(train, "train")["numbers"][1])
        assert encoded["categories"].equal(features.encode(train, "train")["categories"][1])
    assert_close(features.encode_item({"age": None, "city": "Bonn"})["numbers"], torch.zeros(1))
    assert features.unknown({"age": 1, "city": "Bonn"}) == ["city"]


@pytest.mark.filterwarnings("ignore:.*missing values were filled")
def test_an_item_has_the_indicators_and_the_category_of_missing_values():
    train = table(age=["30", None, "50"], city=["Rome", None, "Oslo"])
    features = learned(train, missing="median", indicator=True)

    encoded = features.encode_item({"age": None, "city": None})

    assert encoded["numbers"].equal(features.encode(train, "train")["numbers"][1])
    assert encoded["categories"].tolist() == [3]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"agee": 4, "city": "x"}, r'no column "agee" in training; there were "age", "city". Did you mean "age"\?'),
        ({"age": 4}, r'no value for "city". Expected "age", "city"; a value that is missing is null'),
        ({"age": "old", "city": "x"}, r'"age" is "old"; expected a number'),
        ({"age": True, "city": "x"}, r'"age" is true; expected a number'),
        ({"age": math.inf, "city": "x"}, r'"age" is inf; expected a number'),
        ({"age": "1_0", "city": "x"}, r'"age" is "1_0"; expected a number'),
        ({"age": -1e41, "city": "x"}, r'"age" is -1e\+41; expected a number that fits into float32'),
        ({"age": None, "city": "x"}, r'"age" is missing; expected a number, as in all rows of training'),
        ({"age": 4, "city": None}, r'"city" is missing; expected one of "Oslo", "Rome"'),
        ({"age": 4, "city": ["x"]}, r'"city" is \["x"\]; expected a text or a number'),
    ],
)
def test_an_item_that_does_not_fit_is_refused(item, message):
    features = learned(table(age=["30", "40", "71"], city=["Rome", "Oslo", "Rome"]))

    with pytest.raises(InputError, match=message):
        features.encode_item(item)


@pytest.mark.filterwarnings("ignore:.*missing values were filled")
def test_what_was_learned_survives_saving_as_json():
    train = table(age=["30", None, "50"], city=["Rome", None, "Oslo"], id=["1", "2", "5"])
    features = Features.learn(train, ["age", "city"], Preparation("mean", True, "standard", ()))

    restored = Features.of_state(json.loads(json.dumps(features.state())))

    assert restored.facts() == features.facts()
    for name, column in features.encode(train, "train").items():
        assert np.array_equal(restored.encode(train, "train")[name], column)
    assert restored.ignored == ["id"]
