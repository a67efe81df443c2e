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
