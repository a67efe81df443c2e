"""What dreams are of: layers, channels and classes."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.models import VisionTransformer

from dlpipe.errors import InputError
from dlpipe_vision.cnn import CNN
from dlpipe_vision.dream_targets import (
    ClassTarget,
    LayerTarget,
    class_targets,
    last_convolution,
    layer_targets,
    untrained,
)


def cnn(*after):
    torch.manual_seed(0)
    return CNN((1, 5, 7), 3, layers=[{"conv": 4, "norm": True}, {"pool": 2}, {"conv": 6}, *after]).eval()


POOLED = {"global_pool": "average"}


@pytest.fixture
def images():
    return torch.rand(2, 1, 9, 8, generator=torch.Generator().manual_seed(0))


def test_a_layer_has_the_mean_square_of_its_activation(faces, images):
    model = cnn()

    objective = LayerTarget("layers.0.conv").objective(model, faces)(images)

    maps = model.get_submodule("layers.0.conv")(images)
    assert_close(objective, maps.square().mean((1, 2, 3)))


def test_a_channel_has_that_of_its_own(faces, images):
    model = cnn()

    objective = LayerTarget("layers.0.conv", 3).objective(model, faces)(images)

    assert_close(objective, model.get_submodule("layers.0.conv")(images)[:, 3].square().mean((1, 2)))


def test_a_class_has_its_log_odds_also_for_larger_images(faces, images):
    model = cnn(POOLED)

    objective = ClassTarget("glad", 2).objective(model, faces)(images)

    assert_close(objective, model(images).softmax(1)[:, 2].logit())


def test_the_images_are_normalized_as_those_of_the_data(faces, images):
    faces._normalize = "symmetric"
    model = cnn(POOLED)

    objective = ClassTarget("sad", 0).objective(model, faces)(images)

    assert_close(objective, model(images * 2 - 1).softmax(1)[:, 0].logit())


def test_shuffled_images_are_refused(faces, images):
    faces._shuffle_pixels = True

    with pytest.raises(InputError, match="shuffle_pixels = true leaves no neighborhoods of pixels to draw"):
        ClassTarget("sad", 0).objective(cnn(POOLED), faces)(images)


def test_activations_gain_a_factor_and_log_odds_a_difference():
    layer, label = LayerTarget("layers.0.conv"), ClassTarget("sad", 0)

    assert layer.activation(torch.tensor(9.0)) == 3
    assert layer.gain(2.0, 8.0) == 4
    assert label.activation(torch.tensor(9.0)) == 9
    assert label.gain(-2.0, 8.0) == 10


def test_a_gain_is_finite_where_nothing_was_active():
    assert LayerTarget("layers.0.conv").gain(0.0, 0.0) == 1
    assert LayerTarget("layers.0.conv").gain(0.0, 3.0) == pytest.approx(1e6)


def test_there_is_a_target_for_each_class_channel_or_for_the_layer():
    assert list(map(str, class_targets(["glad", "sad"], ["sad", "<i>", "glad"]))) == ["class glad", "class sad"]
    assert [target.number for target in class_targets(["glad", "sad"], ["sad", "<i>", "glad"])] == [2, 0]
    assert list(map(str, layer_targets("first", [4, 1]))) == ["channel 4 of first", "channel 1 of first"]
    assert list(map(str, layer_targets("first", []))) == ["layer first"]


def test_a_channel_out_of_range_is_refused(faces, images):
    with pytest.raises(InputError, match=r"channels = \[6\]: layers.2.conv has 6 channels; expected 0 to 5"):
        LayerTarget("layers.2.conv", 6).objective(cnn(), faces)(images)


def test_classes_of_a_network_without_a_global_pool_are_refused_for_larger_images(faces, images):
    model = cnn({"dense": 8})
    assert ClassTarget("sad", 0).objective(model, faces)(images[:, :, :5, :7]).shape == (2,)

    with pytest.raises(
        InputError, match=r"class sad: CNN does not accept images of 9×8 pixels, .* needs a global pool"
    ):
        ClassTarget("sad", 0).objective(model, faces)(images)


def test_an_octave_that_is_too_small_for_the_layer_is_refused(faces, images):
    with pytest.raises(InputError, match=r"layer layers.2.conv: CNN does not accept images of 1×1 .* fewer octaves"):
        LayerTarget("layers.2.conv").objective(cnn(), faces)(images[:, :, :1, :1])


def test_a_model_without_logits_of_the_classes_is_refused(faces, images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 2))
    model.forward = lambda images: nn.Sequential.forward(model, images)

    with pytest.raises(InputError, match=r"Sequential returns shape \(2, 2\) for 2 images; .* logits of 3 classes"):
        ClassTarget("sad", 0).objective(model, faces)(images)


def test_the_last_convolution_includes_its_activation(images):
    assert last_convolution(cnn(POOLED), images) == "layers.2.activation"


def test_a_network_without_a_convolution_is_refused(images):
    model = CNN((1, 9, 8), 3, layers=[{"dense": 4}])

    with pytest.raises(InputError, match="CNN has no convolution, whose maps a dream could enlarge; give classes"):
        last_convolution(model, images)


def test_the_untrained_network_has_the_same_layers_and_other_weights():
    model, before = cnn(), torch.get_rng_state()
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.get_submodule("layers.0.norm").running_mean.fill_(5.0)

    fresh = untrained(model)

    assert fresh.state_dict().keys() == weights.keys()
    assert not fresh.get_submodule("layers.2.conv").weight.equal(weights["layers.2.conv.weight"])
    assert fresh.get_submodule("layers.0.norm").running_mean.eq(0).all()
    assert model.get_submodule("layers.2.conv").weight.equal(weights["layers.2.conv.weight"])
    assert untrained(model).get_submodule("layers.2.conv").weight.equal(fresh.get_submodule("layers.2.conv").weight)
    assert torch.get_rng_state().equal(before)


class Scales(nn.Module):
    """Multiplies channels by learned scales, and cannot draw them again."""

    def __init__(self, channels):
        super().__init__()
        self.scales = nn.Parameter(torch.linspace(1, 2, channels).view(channels, 1, 1))

    def forward(self, maps):
        return maps * self.scales


def test_weights_that_no_layer_draws_again_are_shuffled():
    model = nn.Sequential(nn.Conv2d(1, 50, 3), Scales(50))

    trained, fresh = model[1].scales, untrained(model)[1].scales

    assert not fresh.equal(trained)
    assert fresh.shape == trained.shape
    assert fresh.flatten().sort().values.equal(trained.flatten())
    assert trained.flatten().equal(torch.linspace(1, 2, 50))


def test_no_weight_of_a_vision_transformer_stays_as_trained():
    torch.manual_seed(0)
    model = VisionTransformer(8, 4, num_layers=1, num_heads=2, hidden_dim=6, mlp_dim=5, num_classes=3)
    with torch.no_grad():  # as if trained: no constants
        for weight in model.parameters():
            weight.normal_()

    fresh = untrained(model)

    same = [name for name, weight in fresh.named_parameters() if weight.equal(model.get_parameter(name))]
    assert same == []
