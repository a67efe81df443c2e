import pytest
import torch

from dlpipe.errors import InputError
from dlpipe.training.losses import loss_function


@pytest.mark.parametrize("name", ["l1", "binary_cross_entropy"])
@pytest.mark.parametrize("classes", [torch.arange(5), torch.zeros(5, 5, dtype=torch.long)])
def test_a_loss_between_numbers_refuses_classes_which_torch_might_broadcast(name, classes):
    with pytest.raises(
        InputError, match=rf'loss = "{name}": the outputs have shape \(5, 5\), but the targets are classes; expected'
    ):
        loss_function(name)(torch.zeros(5, 5), classes)


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
