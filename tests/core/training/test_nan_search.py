import pytest
import torch
from torch import nn

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns
from dlpipe.training.nan_search import first_non_finite
from dlpipe.training.supervised import Supervised


class Images:
    """7 images of 5 numbers in 2 classes."""

    splits = ("train", "dev", "test")

    def split(self, name):
        images = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
        return Columns({"images": images, "targets": torch.arange(7) % 2})


class AtStep(nn.Module):
    """Passes its input on, until `change` is applied to it in the forward pass of one step."""

    def __init__(self, step, change):
        super().__init__()
        self.step, self.change = step, change
        self.taken = 0

    def forward(self, hidden):
        self.taken += 1
        return self.change(hidden) if self.taken == self.step else hidden


class NoGradient(torch.autograd.Function):
    """The identity, whose gradient is not a number."""

    @staticmethod
    def forward(context, hidden):
        return hidden.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * float("nan")


class Net(nn.Module):
    """Three layers with something between the second and the third."""

    def __init__(self, between):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 2)
        self.between = between

    def forward(self, images):
        return self.third(self.between(self.second(self.first(images))))


class DictNet(Net):
    """A net that gives two outputs by name, and measures its loss itself."""

    def forward(self, images):
        return {"logits": super().forward(images), "scale": images.new_tensor(1e30).square()}

    def loss(self, outputs, targets):
        return outputs["logits"].sum()


class LossNet(Net):
    """A net whose loss overflows, its outputs do not."""

    def loss(self, outputs, targets):
        return (outputs * 1e30).square().sum()


def diagnosis(model, until=5, **options):
    """Take steps up to `until` from the start, one batch each, and say what was broken first."""
    trainer = Supervised(model, Images(), Compute(torch.device("cpu")), 3, batch_size="full", **options)
    return first_non_finite(trainer, model, 0, until)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_an_output_that_overflows_is_named_with_its_step(step):
    model = Net(AtStep(step, lambda hidden: hidden * 1e38 * 1e38))

    assert diagnosis(model) == f"The first non-finite tensor is the output of `between` (AtStep), at step {step}."


def test_an_output_by_name_is_looked_at():
    assert diagnosis(DictNet(nn.Identity())) == "The first non-finite tensor is the output of DictNet, at step 1."


@pytest.mark.parametrize(
    "options", [{}, {"max_grad_norm": 1.0}, {"gradient_accumulation_steps": 2}, {"ema_decay": 0.9}]
)
def test_the_gradient_that_broke_the_others_is_named(options):
    model = Net(AtStep(3, NoGradient.apply))

    found = diagnosis(model, **options)

    assert found.startswith("The first non-finite tensor is the gradient of `second.")
    assert found.endswith(", at step 3.")


def test_a_weight_that_an_update_broke_is_named():
    found = diagnosis(Net(nn.Identity()), optimizer={"use": "sgd", "lr": 3e38, "weight_decay": 3e38})

    assert found == "The first non-finite tensor is the weight `first.weight`, after the update of step 1."


def test_a_running_statistic_that_is_not_finite_is_named():
    model = Net(nn.BatchNorm1d(5, momentum=2e38))
    model.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))  # as that of an attention

    found = diagnosis(model)

    assert found.startswith("The first non-finite tensor is the running statistic `between.running_")


def test_a_loss_that_overflows_alone_is_told():
    found = diagnosis(LossNet(nn.Identity()))

    assert found == "The first non-finite tensor is the loss of step 1; the model's outputs were finite."


def test_steps_that_cannot_be_repeated_are_told():
    found = diagnosis(Net(nn.Identity()))

    assert found == "Repeating the steps gave finite numbers: the run is not repeatable on this device."


def test_looking_leaves_no_hooks_behind():
    model = Net(AtStep(1, NoGradient.apply))

    diagnosis(model)

    assert not any(module._forward_hooks for module in model.modules())
    assert not any(weight._backward_hooks for weight in model.parameters())


def test_no_step_is_taken_after_the_one_that_was_found():
    model = Net(AtStep(9, torch.relu))

    diagnosis(model, until=4)

    assert model.between.taken == 4
