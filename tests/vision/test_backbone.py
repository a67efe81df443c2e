import re
import warnings
import zipfile

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from torchvision import models

from dlpipe_vision.backbone import Backbone, with_channels

COLOUR = (3, 33, 34)


def tiny_backbone(shape=COLOUR, classes=4, **options):
    torch.manual_seed(0)
    return Backbone(shape, classes, **{"name": "shufflenet_v2_x0_5", **options})


def images(*shape):
    return torch.rand(2, *(shape or COLOUR), generator=torch.Generator().manual_seed(0))


def saved(folder, net, **changes):
    """Save the weights of a network, some of them changed or (None) left out, and return the file."""
    state = {**net.state_dict(), **changes}
    torch.save({key: value for key, value in state.items() if value is not None}, folder / "weights.pth")
    return folder / "weights.pth"


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
    colour = tiny_backbone()
    grey = tiny_backbone((1, 33, 34), weights=saved(tmp_path, colour.net))

    picture = images(1, 33, 34)
    first, of_colour = grey.net.conv1[0](picture), colour.net.conv1[0](picture.expand(-1, 3, -1, -1))

    assert_close(first, of_colour)
    assert_close(grey.eval()(picture), colour.eval()(picture.expand(-1, 3, -1, -1)))


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
def test_weights_are_loaded_from_a_file(tmp_path, suffix):
    original = tiny_backbone()
    file = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_model(original.net, str(file))
    else:
        torch.save(original.net.state_dict(), file)
    torch.manual_seed(1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = Backbone(COLOUR, 4, name="shufflenet_v2_x0_5", weights=file)

    assert model.eval()(images()).equal(original.eval()(images()))


def test_a_classifier_of_another_number_of_classes_is_not_loaded_and_a_warning_is_given(tmp_path):
    original = tiny_backbone(classes=7)
    file = saved(tmp_path, original.net)

    with pytest.warns(
        UserWarning, match='weights.pth": fc.bias, fc.weight do not fit this network and are initialised randomly'
    ):
        model = tiny_backbone(weights=file)

    own = {**original.net.state_dict(), **{key: model.net.state_dict()[key] for key in ("fc.weight", "fc.bias")}}
    assert all(value.equal(own[key]) for key, value in model.net.state_dict().items())


def test_the_first_convolution_is_not_loaded_if_the_small_stem_replaces_it(tmp_path):
    file = saved(tmp_path, models.resnet18(num_classes=4))

    with pytest.warns(UserWarning, match=r'": conv1.weight do not fit this network'):
        model = tiny_backbone(name="resnet18", small_images=True, weights=file)

    assert model.net.conv1.weight.shape == (64, 3, 3, 3)


def test_weights_for_the_same_number_of_channels_are_loaded_unchanged(tmp_path):
    grey = tiny_backbone((1, 33, 34))

    again = tiny_backbone((1, 33, 34), weights=saved(tmp_path, grey.net))

    assert again.eval()(images(1, 33, 34)).equal(grey.eval()(images(1, 33, 34)))


def test_old_files_without_batch_counters_are_loaded(tmp_path):
    net = models.shufflenet_v2_x0_5(num_classes=4)
    counters = {key: None for key in net.state_dict() if key.endswith("num_batches_tracked")}

    model = tiny_backbone(weights=saved(tmp_path, net, **counters))

    assert model.net.fc.weight.equal(net.fc.weight)


def test_auxiliary_classifiers_in_a_file_are_ignored(tmp_path):
    net = models.shufflenet_v2_x0_5(num_classes=4)
    extra = {"aux1.fc2.weight": torch.zeros(3), "AuxLogits.fc.bias": torch.zeros(3)}

    model = tiny_backbone(weights=saved(tmp_path, net, **extra))

    assert model.net.fc.weight.equal(net.fc.weight)


def test_former_names_of_densenet_weights_are_translated(tmp_path):
    old = {f"features.denseblock1.denselayer2.{name}": torch.rand(3) for name in ("norm.1.weight", "conv.2.weight")}
    torch.save(old, tmp_path / "old.pth")

    with pytest.raises(ValueError, match="it lacks features.conv0.weight") as caught:
        tiny_backbone(name="densenet121", weights=tmp_path / "old.pth")

    assert "has features" not in str(caught.value)
    assert "the shape of features.denseblock1.denselayer2.norm1.weight and 1 more is (3,)" in str(caught.value)


def test_one_batch_is_memorised():
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


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'none.pth": no such file; expected a .safetensors or .pth file'):
        tiny_backbone(weights=tmp_path / "none.pth")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_of_something_else_is_refused(tmp_path, suffix):
    (tmp_path / f"text{suffix}").write_text("no weights")

    with pytest.raises(ValueError, match=rf'text{suffix}" cannot be loaded safely: '):
        tiny_backbone(weights=tmp_path / f"text{suffix}")


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("code of a file was run",))


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"fc.weight": Harmful()}, tmp_path / "harmful.pth")

    with pytest.raises(ValueError, match='harmful.pth" cannot be loaded safely: '):
        tiny_backbone(weights=tmp_path / "harmful.pth")


def test_a_compressed_file_is_refused(tmp_path):
    torch.save({"fc.weight": torch.zeros(10**6)}, tmp_path / "plain.pth")
    bomb = zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "plain.pth") as old, bomb as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))

    with pytest.raises(ValueError, match='bomb.pth" cannot be loaded safely: bomb.pth contains compressed parts'):
        tiny_backbone(weights=tmp_path / "bomb.pth")


def test_a_file_without_tensors_by_name_is_refused(tmp_path):
    torch.save({"model": {"fc.weight": torch.zeros(2)}}, tmp_path / "nested.pth")

    with pytest.raises(
        ValueError, match=r'nested.pth" does not contain tensors by name; expected the output of torch.save'
    ):
        tiny_backbone(weights=tmp_path / "nested.pth")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv5.0.weight": None, "conv5.1.bias": None}, "it lacks conv5.0.weight and 1 more"),
        ({"fc2.weight": torch.zeros(3)}, "it has fc2.weight, which shufflenet_v2_x0_5 does not have"),
        ({"conv5.1.bias": torch.zeros(3)}, "the shape of conv5.1.bias is (3,), not (1024,)"),
        ({"conv1.0.weight": torch.zeros(3)}, "the shape of conv1.0.weight is (3,), not (24, 3, 3, 3)"),
    ],
)
def test_weights_of_another_net_are_refused(tmp_path, changes, message):
    file = saved(tmp_path, models.shufflenet_v2_x0_5(num_classes=4), **changes)
    expected = f"does not fit: {message}; expected weights of torchvision's shufflenet_v2_x0_5"

    with pytest.raises(ValueError, match=re.escape(expected)):
        tiny_backbone(weights=file)
