import re

import pytest
import torch
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe.training.losses import example_losses, loss_function


@pytest.mark.parametrize("name", ["l1", "binary_cross_entropy"])
@pytest.mark.parametrize("classes", [torch.arange(5), torch.zeros(5, 5, dtype=torch.long)])
def test_a_loss_between_numbers_refuses_classes_which_torch_might_broadcast(name, classes):
    with pytest.raises(
        InputError, match=rf'loss = "{name}": the outputs have shape \(5, 5\), but the targets are classes; expected'
    ):
        loss_function(name)(torch.zeros(5, 5), classes)


@pytest.mark.parametrize("outputs", [torch.zeros(5, 1, 3, 5), torch.zeros(5), torch.zeros(6, 3)])
def test_squared_errors_of_classes_refuse_what_is_no_score_for_each_class(outputs):
    text = (
        rf'loss = "mse": the outputs have shape {re.escape(str(tuple(outputs.shape)))}, but the targets are classes of '
        r"shape \(5,\); expected a score for each class, \(5, K\)\. .* a loss of its own, such as .*, loss = \"auto\""
    )
    with pytest.raises(InputError, match=text):
        loss_function("mse")(outputs, torch.arange(5))


@pytest.mark.parametrize("name", ["mse", "l1", "binary_cross_entropy"])
def test_numbers_of_another_shape_are_refused_too(name):
    text = rf'loss = "{name}": the outputs have shape \(5, 1\), but the targets have shape \(5,\); expected numbers of'
    with pytest.raises(InputError, match=text):
        loss_function(name)(torch.zeros(5, 1), torch.zeros(5))


@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (torch.zeros(5), torch.arange(5), r"outputs of shape \(5,\) for targets of shape \(5,\); .*, \(5, K\): choose"),
        (
            torch.zeros(5, 3),
            torch.zeros(5, 2, dtype=torch.long),
            r"shape \(5, 3\) for .* shape \(5, 2\); .* \(5, 2, K\)",
        ),
        ([torch.zeros(5, 3)], torch.arange(5), r"the model returns list for targets of shape \(5,\)"),
        (torch.zeros(5, 3), torch.zeros(5), r'the targets are float32; for numbers use loss = "mse"'),
    ],
)
def test_cross_entropy_says_what_does_not_fit(outputs, targets, message):
    with pytest.raises(InputError, match=message):
        loss_function("auto")(outputs, targets)


@pytest.mark.parametrize("delta", [0.5, 2.0])
def test_huber_is_that_of_torch_with_its_delta(delta):
    outputs, targets = torch.tensor([0.0, 1.0, 7.0]), torch.tensor([0.3, -1.0, 2.0])

    assert loss_function("huber")(outputs, targets) == torch.nn.HuberLoss()(outputs, targets)
    assert loss_function({"use": "huber", "delta": delta})(outputs, targets) == torch.nn.HuberLoss(delta=delta)(
        outputs, targets
    )


def test_huber_refuses_numbers_of_another_shape():
    with pytest.raises(
        InputError, match=r'loss = "huber": the outputs have shape \(5, 1\), but the targets have shape'
    ):
        loss_function({"use": "huber"})(torch.zeros(5, 1), torch.zeros(5))


def test_an_unknown_loss_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match=r'loss = "hubert": expected one of "auto", .* Did you mean "huber"\?'):
        loss_function("hubert")


@pytest.mark.parametrize("loss", ["mse", "l1", {"use": "huber", "delta": 0.5}, "binary_cross_entropy", "cross_entropy"])
def test_the_losses_of_examples_have_the_mean_of_the_batch(loss):
    random = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(5, 3, generator=random), torch.rand(5, 3, generator=random)
    targets = torch.tensor([0, 2, 1, 1, 0]) if loss == "cross_entropy" else targets

    losses, counts = example_losses(loss, outputs, targets)

    assert_close((losses * counts).sum() / counts.sum(), loss_function(loss)(outputs, targets).double())
    assert counts.tolist() == [1 if loss == "cross_entropy" else 3] * 5


def test_a_loss_that_is_known_for_batches_only_has_no_losses_of_examples():
    assert example_losses("mse", torch.zeros(5, 3), torch.arange(5) % 3) is None
    assert example_losses({"use": "mine.focal"}, torch.zeros(5, 3), torch.arange(5) % 3) is None
