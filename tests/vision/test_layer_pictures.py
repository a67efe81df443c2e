from __future__ import annotations

import re

import pytest
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_vision.layer_pictures import LayerPictures, first_filters, grad_cam

SHAPE, LABELS = (1, 5, 7), ["sad", "neutral", "glad"]


class Layers(nn.Sequential):
    """Layers in sequence, applied to images."""

    def forward(self, images):
        return super().forward(images)


def convolutional(*between: nn.Module) -> Layers:
    torch.manual_seed(0)
    return Layers(nn.Conv2d(1, 2, 3, padding=1), *between, nn.Flatten(), nn.Linear(70, 3))


def evaluated(model, examples, **options):
    pictures = LayerPictures(SHAPE, LABELS, **options)
    assert pictures.evaluate(model, examples) == {}
    return pictures


@pytest.mark.parametrize("batch_size", [2, 256])
def test_grad_cam_of_a_linear_model_follows_the_paper(faces, batch_size):
    model = convolutional()
    examples = Examples(faces, "test", Compute(torch.device("cpu"), evaluation_batch_size=batch_size))

    activations = evaluated(model, examples)._activations

    images = activations.pictures / 255
    maps = model[0](images)
    weights = model[2].weight.view(3, 2, 5, 7)[activations.answers.predicted].mean((2, 3))
    expected = (weights[:, :, None, None] * maps).sum(1).clamp_min(0)
    assert activations.layer == "0"
    assert_close(activations.cams, expected.detach())


def test_the_chosen_images_are_those_that_were_evaluated_with_the_same_noise(faces):
    faces.noise = 0.5
    model = convolutional()
    examples = Examples(faces, "test", Compute(torch.device("cpu"), evaluation_batch_size=4))
    images = torch.cat([batch["images"] for batch, _ in examples.outputs(model)])

    activations = evaluated(model, examples)._activations

    assert_close(activations.maps["0"], model[0](images[activations.answers.rows]).detach())


def test_without_noise_only_the_chosen_images_run_again(faces, monkeypatch):
    monkeypatch.setattr("dlpipe.evaluation.examples.KEPT_BYTES", 0)
    model, sizes = convolutional(), []
    model[0].register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))

    activations = evaluated(model, Examples(faces, "test", Compute(torch.device("cpu"))))._activations

    assert sizes[1:] == [len(activations.pictures)] * 2  # to predict, and to record


def test_shuffled_images_are_drawn_as_the_model_sees_them(faces, faces_examples):
    faces._shuffle_pixels = True
    model = convolutional()

    activations = evaluated(model, faces_examples)._activations

    assert not activations.pictures.equal(faces.pictures("test", activations.answers.rows))
    assert_close(activations.maps["0"], model[0](activations.pictures / 255).detach())


def test_weights_are_means_of_gradients_and_negative_evidence_is_left_out():
    maps = torch.tensor([[[[1.0, -2.0]], [[3.0, 1.0]]]])
    gradients = torch.tensor([[[[1.0, 3.0]], [[-1.0, 0.0]]]])

    assert_close(grad_cam(maps, gradients), torch.tensor([[[0.5, 0.0]]]))


def test_the_activation_after_the_last_convolution_is_used(faces_examples):
    model = convolutional(nn.BatchNorm2d(2), nn.ReLU(inplace=True))

    activations = evaluated(model, faces_examples)._activations

    assert activations.layer == "2"
    assert_close(activations.maps["0"], model[0](activations.pictures / 255).detach())


class Branches(nn.Module):
    """Two convolutions whose maps are concatenated, as in GoogLeNet and DenseNet."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(1, 3, 1)

    def forward(self, images):
        return torch.cat([self.one(images), self.other(images)], dim=1)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([Branches()], "0"),
        ([Branches(), nn.BatchNorm2d(5), nn.MaxPool2d(2)], "1"),
        ([nn.Sequential(Branches(), nn.Sequential(nn.ReLU(), nn.Dropout(0.5)))], "0.1.1"),
    ],
)
def test_layers_with_maps_of_the_same_size_may_have_more_channels_and_parts(faces_examples, layers, expected):
    model = Layers(*layers, nn.Flatten(), nn.LazyLinear(3))
    model(torch.zeros(2, *SHAPE))

    activations = evaluated(model, faces_examples)._activations

    assert activations.layer == expected
    assert activations.cams.shape[1:] == SHAPE[1:]


def test_correct_images_are_spread_evenly_over_the_split(faces_examples):
    model = Layers(nn.Flatten(), nn.Linear(35, 3))
    levels = torch.tensor([0.0, 100.0, 200.0]) / 255  # of the first pixel of each class
    with torch.no_grad():
        model[1].weight.zero_()[:, 0] = levels
        model[1].bias.copy_(-levels.square() / 2)

    answers = evaluated(model, faces_examples)._activations.answers

    assert answers.rows.tolist() == [0, 3, 6]


def test_a_layer_can_be_chosen(faces_examples):
    assert evaluated(convolutional(nn.ReLU()), faces_examples, layer="0")._activations.layer == "0"


@pytest.mark.parametrize("frozen", [False, True])
def test_the_model_is_left_as_it_was(faces_examples, frozen):
    model = convolutional(nn.Dropout(0.5)).train().requires_grad_(not frozen)
    model[1].eval()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}

    evaluated(model, faces_examples)

    assert [part.training for part in model.modules()] == [True, True, False, True, True]
    assert all(weight.grad is None for weight in model.parameters())
    assert not any(part._forward_hooks for part in model.modules())
    assert_close(dict(model.state_dict()), before)


def test_three_figures_are_drawn_of_a_convolutional_model(tmp_path, faces_examples):
    items = evaluated(convolutional(nn.ReLU()), faces_examples).write(tmp_path)

    assert [item.file for item in items] == ["grad_cam.png", "feature_maps.png", "filters.png"]
    assert "at layer 1, scaled" in items[0].caption
    assert re.search(r"an image \(\d misclassified.*is a convolution: 1 of 1, from", items[1].caption)
    assert items[2].caption.startswith("Weights of the first layer (0): 2 filters; brown is below 0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["feature_maps.png", "filters.png", "grad_cam.png"]
    assert all(Image.open(path).format == "PNG" for path in tmp_path.iterdir())


def test_a_model_without_convolutions_has_only_filters(tmp_path, faces_examples):
    (item,) = evaluated(Layers(nn.Flatten(), nn.Linear(35, 3)), faces_examples).write(tmp_path)

    assert item.file == "filters.png"
    assert [path.name for path in tmp_path.iterdir()] == ["filters.png"]


def test_the_first_filters_are_those_applied_to_the_image():
    conv, linear = convolutional(), Layers(nn.Flatten(), nn.Linear(35, 4), nn.Linear(4, 3))

    assert_close(first_filters(conv, SHAPE)[1], conv[0].weight.detach())
    assert_close(first_filters(linear, SHAPE)[1], linear[1].weight.detach().view(4, 1, 5, 7))
    assert first_filters(linear[2], SHAPE) is None


def test_an_unknown_layer_is_refused_with_the_nearest(faces_examples):
    model = nn.Sequential()
    model.add_module("features", nn.Conv2d(1, 2, 3))

    with pytest.raises(
        InputError,
        match=r'layer: Sequential has no layer "fetures"; its convolutions are features. Did you mean "features"',
    ):
        evaluated(model, faces_examples, layer="fetures")


def test_a_layer_without_maps_is_refused(faces_examples):
    with pytest.raises(InputError, match=r'layer = "2" returns outputs of shape \(\d, 3\); expected feature maps'):
        evaluated(convolutional(), faces_examples, layer="2")


def test_other_data_than_images_is_refused(other_examples):
    with pytest.raises(
        InputError, match=r"vision.layer_pictures needs labeled images, such as vision.digits; the data is object"
    ):
        evaluated(convolutional(), other_examples)
