import warnings

import pytest
import torch
from safetensors.torch import load_model, save_file, save_model
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from torchvision import models

from dlpipe.config.pipeline import Start
from dlpipe.engine.starting_weights import StartingModel, load_start
from dlpipe.errors import InputError
from dlpipe_vision.backbone import Backbone, with_channels

COLOR = (3, 33, 34)


def tiny_backbone(shape=COLOR, classes=4, **options):
    torch.manual_seed(0)
    return Backbone(shape, classes, **{"name": "shufflenet_v2_x0_5", **options})


def images(*shape):
    return torch.rand(2, *(shape or COLOR), generator=torch.Generator().manual_seed(0))


def started(folder, weights, *, suffix=".pth", shape=COLOR, classes=4, skip=(), **options):
    """Start a network from a file with weights by name, as a pipeline does; return it and what was said."""
    file = folder / f"weights{suffix}"
    save_file(weights, file) if suffix == ".safetensors" else torch.save(weights, file)
    facts = {"image_shape": shape, "num_classes": classes}

    def build(others):
        return tiny_backbone(**{"shape": shape, "classes": classes, **options, **renamed(others)})

    def renamed(others):
        return {{"image_shape": "shape", "num_classes": "classes"}[name]: value for name, value in others.items()}

    model = build({})
    told = load_start(StartingModel(model, facts, [*facts], build), Start(file=file, skip=skip), lambda start: start)
    return model, told


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "mnasnet0_5", "regnet_x_400mf"])
def test_every_image_gets_one_logit_per_class(name, channels):
    model = tiny_backbone((channels, 33, 34), name=name).eval()

    assert model(images(channels, 33, 34)).shape == (2, 4)


def test_it_is_the_network_of_torchvision():
    torch.manual_seed(0)
    expected = models.shufflenet_v2_x0_5(num_classes=4).eval()

    assert tiny_backbone().eval()(images()).equal(expected(images()))


def test_the_score_of_an_image_does_not_depend_on_its_batch():
    model = tiny_backbone().eval()

    assert_close(model(images())[1:], model(images()[1:]))


def test_one_channel_gives_the_output_of_three_equal_channels(tmp_path):
    color = tiny_backbone()
    grey, _ = started(tmp_path, color.net.state_dict(), shape=(1, 33, 34))

    picture = images(1, 33, 34)
    first, of_color = grey.net.conv1[0](picture), color.net.conv1[0](picture.expand(-1, 3, -1, -1))

    assert_close(first, of_color)
    assert_close(grey.eval()(picture), color.eval()(picture.expand(-1, 3, -1, -1)))


def test_more_channels_use_the_weights_of_the_old_ones_in_turn():
    weight = torch.rand(2, 3, 4, 5)

    five, six = with_channels(weight, 5), with_channels(weight, 6)

    assert_close(five, weight[:, [0, 1, 2, 0, 1]] * 3 / 5)
    grey = torch.rand(1, 1, 8, 9)
    assert_close(F.conv2d(grey.expand(-1, 6, -1, -1), six), F.conv2d(grey.expand(-1, 3, -1, -1), weight))


def test_the_small_stem_keeps_small_images_large():
    model = tiny_backbone((1, 8, 9), name="resnet18", small_images=True).eval()

    before_pooling = nn.Sequential(*list(model.net.children())[:-2])(images(1, 8, 9))

    assert model.net.conv1.weight.shape == (64, 1, 3, 3)
    assert before_pooling.shape == (2, 512, 1, 2)


def test_a_new_network_is_in_training_mode():
    assert tiny_backbone().training


def test_auxiliary_classifiers_are_left_out():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = tiny_backbone(name="googlenet")

    assert model(images()).shape == (2, 4)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_it_starts_from_a_file_with_the_names_of_torchvision(tmp_path, suffix):
    original = models.shufflenet_v2_x0_5(num_classes=4)

    model, told = started(tmp_path, original.state_dict(), suffix=suffix)

    assert model.eval()(images()).equal(original.eval()(images()))
    assert told.endswith('(names with "net." in front)')


def test_it_starts_from_its_own_weights(tmp_path):
    original = tiny_backbone((1, 33, 34))

    model, told = started(tmp_path, original.state_dict(), shape=(1, 33, 34))

    assert model.eval()(images(1, 33, 34)).equal(original.eval()(images(1, 33, 34)))
    assert "in front" not in told


def test_the_classifier_for_other_classes_starts_untrained(tmp_path):
    weights = models.shufflenet_v2_x0_5(num_classes=7).state_dict()

    model, told = started(tmp_path, weights)

    own = model.net.state_dict()
    assert all(value.equal(own[key]) for key, value in weights.items() if not key.startswith("fc."))
    assert told.endswith("; new: net.fc.weight, net.fc.bias (num_classes is 4 here)")


def test_the_small_stem_has_to_be_left_out_of_the_weights_of_the_usual_one(tmp_path):
    weights = models.resnet18(num_classes=4).state_dict()
    small = {"name": "resnet18", "small_images": True}

    with pytest.raises(InputError, match=r'\(64, 3, 7, 7\) there and \(64, 3, 3, 3\) here.* skip = \["net.conv1"\]'):
        started(tmp_path, weights, **small)
    model, _ = started(tmp_path, weights, skip=("net.conv1",), **small)

    assert model.net.bn1.weight.equal(weights["bn1.weight"])


def test_weights_for_other_channels_give_the_output_of_equal_channels(tmp_path):
    grey = tiny_backbone((1, 33, 34))

    again, _ = started(tmp_path, grey.state_dict(), shape=(3, 33, 34))

    picture = images(1, 33, 34)
    assert_close(again.eval()(picture.expand(-1, 3, -1, -1)), grey.eval()(picture))


def test_old_files_without_batch_counters_are_loaded(tmp_path):
    weights = models.shufflenet_v2_x0_5(num_classes=4).state_dict()

    model, _ = started(tmp_path, {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")})

    assert model.net.fc.weight.equal(weights["fc.weight"])


def test_auxiliary_classifiers_in_a_file_are_ignored(tmp_path):
    weights = models.shufflenet_v2_x0_5(num_classes=4).state_dict()
    extra = {"aux1.fc2.weight": torch.zeros(3), "AuxLogits.fc.bias": torch.zeros(3)}

    model, _ = started(tmp_path, weights | extra)

    assert model.net.fc.weight.equal(weights["fc.weight"])


def test_former_names_of_densenet_weights_are_translated():
    old = {f"features.denseblock1.denselayer2.{name}": torch.rand(3) for name in ("norm.1.weight", "conv.2.weight")}

    found = tiny_backbone(name="densenet121").adapt_weights(old)

    assert [*found] == [f"features.denseblock1.denselayer2.{name}" for name in ("norm1.weight", "conv2.weight")]


def test_weights_of_another_network_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"weights.pth does not fit the model: it lacks net.conv1.0.weight, .* it has "
    ):
        started(tmp_path, models.resnet18(num_classes=4).state_dict())


def test_one_batch_is_memorized():
    model = tiny_backbone((1, 8, 9), name="resnet18", small_images=True)
    pictures, targets = torch.rand(6, 1, 8, 9), torch.tensor([0, 1, 2, 3, 0, 1])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)

    for _ in range(8):
        loss = F.cross_entropy(model(pictures), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert loss < 0.1


def test_weights_survive_saving_and_loading(tmp_path):
    model, other = tiny_backbone(), tiny_backbone()
    model(images())  # moves the running means of the norms
    for parameter in other.parameters():
        nn.init.zeros_(parameter)

    save_model(model, str(tmp_path / "weights.safetensors"))
    load_model(other, str(tmp_path / "weights.safetensors"))

    assert other.eval()(images()).equal(model.eval()(images()))


def test_convolutions_return_channels_last_tensors():
    model, seen = tiny_backbone((1, 33, 34)), []
    model.net.maxpool.register_forward_hook(lambda module, inputs, output: seen.append(*inputs))

    model(images(1, 33, 34))

    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(
        ValueError,
        match=r'name = "resnet81": torchvision has no classification network of this name. Did you mean "resnet18"\?',
    ):
        tiny_backbone(name="resnet81")


def test_a_detection_network_is_refused():
    with pytest.raises(
        ValueError, match=r'name = "fasterrcnn_resnet50_fpn": torchvision has no classification network of this name'
    ):
        tiny_backbone(name="fasterrcnn_resnet50_fpn")


def test_the_small_stem_is_refused_for_other_networks_than_resnets():
    with pytest.raises(
        ValueError, match=r"small_images = true: shufflenet_v2_x0_5 is not a ResNet; remove small_images, or choose"
    ):
        tiny_backbone(small_images=True)


def test_images_that_are_too_small_are_refused_at_once():
    with pytest.raises(
        ValueError,
        match=r"squeezenet1_1 does not accept images of 3×9×8: .*; choose another name or images of another size",
    ):
        tiny_backbone((3, 9, 8), name="squeezenet1_1")
