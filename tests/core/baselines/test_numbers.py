"""The baselines of regression, and the features of tables."""

import pytest
import torch
from safetensors.torch import load, save
from sklearn import linear_model
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe.baselines.linear_regression import LinearRegression
from dlpipe.baselines.logistic_regression import LogisticRegression
from dlpipe.baselines.mean import Mean
from dlpipe.errors import InputError

RANDOM = torch.Generator().manual_seed(0)
NUMBERS, IDS = torch.randn(30, 3, generator=RANDOM), torch.randint(4, (30, 2), generator=RANDOM)
TARGETS = torch.randn(30, generator=RANDOM) + NUMBERS[:, 0] - 2 * (IDS[:, 1] == 3)


def test_the_mean_is_the_same_for_all_examples():
    model = Mean()
    model.fit(targets=TARGETS)

    assert_close(model(numbers=NUMBERS[:5]), TARGETS.mean().expand(5))
    model.fit(targets=torch.stack([TARGETS, 2 * TARGETS], dim=1))
    assert_close(model(numbers=NUMBERS[:5])[3], torch.stack([TARGETS.mean(), 2 * TARGETS.mean()]))


@pytest.mark.parametrize("targets", [TARGETS, torch.stack([TARGETS, TARGETS**2], dim=1)])
def test_linear_regression_is_that_of_scikit_learn(targets):
    model = LinearRegression()
    model.fit(numbers=NUMBERS, targets=targets)

    expected = linear_model.LinearRegression().fit(NUMBERS.numpy(), targets.numpy()).predict(NUMBERS.numpy())

    assert_close(model.predict(model(numbers=NUMBERS)), torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_the_categories_of_a_table_are_features_of_their_own_and_an_unknown_one_has_none():
    model = LinearRegression(cardinalities=[4, 4])
    model.fit(numbers=NUMBERS, categories=IDS, targets=TARGETS)
    one_hot = torch.cat([NUMBERS, F.one_hot(IDS[:, 0], 4)[:, 1:], F.one_hot(IDS[:, 1], 4)[:, 1:]], dim=1)

    expected = linear_model.LinearRegression().fit(one_hot.numpy(), TARGETS.numpy()).predict(one_hot.numpy())

    assert_close(model(numbers=NUMBERS, categories=IDS), torch.from_numpy(expected).float(), atol=1e-5, rtol=0)


def test_a_classifier_takes_the_categories_of_a_table_too():
    model = LogisticRegression(2, cardinalities=[4])
    ids = torch.tensor([[1], [2], [3], [2]] * 5)
    targets = (ids[:, 0] == 2).long()
    model.fit(0, categories=ids, targets=targets)

    assert model(categories=ids).argmax(1).equal(targets)


@pytest.mark.parametrize("model", [Mean(), LinearRegression()])
def test_what_was_fitted_survives_saving(model):
    other = type(model)()
    model.fit(**({"targets": TARGETS} if isinstance(model, Mean) else {"numbers": NUMBERS, "targets": TARGETS}))

    state = load(save(model.state_dict()))
    for name, buffer in state.items():
        setattr(other, name, buffer)

    assert other(numbers=NUMBERS).equal(model(numbers=NUMBERS))


@pytest.mark.parametrize("model", [Mean(), LinearRegression()])
def test_classes_are_refused(model):
    columns = {} if isinstance(model, Mean) else {"numbers": NUMBERS}

    with pytest.raises(
        InputError, match=r"the targets have the shape \(30,\) and the type int64; expected numbers, one or"
    ):
        model.fit(targets=torch.arange(30), **columns)
