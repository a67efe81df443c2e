"""Any of torchvision's classification networks, from scratch or from a file of weights.

Source: https://pytorch.org/vision/stable/models.html lists the paper of each; the small stem is that
of He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2 (CIFAR-10).
Departs from them: any number of channels and classes; no auxiliary classifiers. Nothing is ever
downloaded.
Axes: B images, C channels, H rows, W columns, K classes.
"""

import difflib
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from dlpipe.errors import reason_of
from dlpipe.training import require_plain

# With auxiliary classifiers the output is more than logits; without init_weights both warn about a future change.
OPTIONS: dict[str, dict[str, Any]] = {
    name: {"aux_logits": False, "init_weights": True} for name in ("googlenet", "inception_v3")
}
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


class Backbone(nn.Module):
    """Score K classes for images with a torchvision network.

    For images of one channel, the output is that of three equal channels.

    Args:
        image_shape: C, H, W.
        num_classes: K.
        name: a classification network, such as resnet18, vgg11_bn, mobilenet_v3_small, vit_b_16.
        weights: a file (.safetensors, .pth) with weights of that network, such as those that torchvision
            offers for download; without it, the weights are initialised randomly.
        small_images: start a ResNet with a 3×3 convolution of stride 1 and no pooling, so that
            images of 32×32 pixels are not reduced to 1×1 before the last layers.

    Raises:
        ValueError: there is no such network, it does not accept the images, or the weights do not fit it.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        name: str = "resnet18",
        weights: Path | None = None,
        small_images: bool = False,
    ) -> None:
        super().__init__()
        self.net = _create(name, num_classes)
        reinitialised = _classifier_parameters(self.net)
        if small_images:
            _use_small_stem(self.net, name)
            reinitialised.add("conv1.weight")
        first = _adapt_channels(self.net, image_shape[0])
        if weights is not None:
            state = _read_weights(weights)
            if first in state and state[first].dim() == 4:
                state[first] = with_channels(state[first], image_shape[0])
            _load_weights(self.net, state, reinitialised, f'weights = "{weights}"', name)
        self.net.to(memory_format=torch.channels_last)  # as in CNN
        _check_image_shape(self.net, image_shape, name)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, K)."""
        logits: Tensor = self.net(images)
        return logits


def with_channels(weight: Tensor, channels: int) -> Tensor:
    """Return the weights of a first convolution (out, in, h, w) for images with a different number of channels.

    For one channel, the weights of all old channels are added up, as if the old channels were equal. More
    channels use the weights of the old ones in turn, scaled by the old number of channels over the new one.
    """
    before = weight.size(1)
    if channels == before:
        return weight
    if channels == 1:
        return weight.sum(1, keepdim=True)
    copies = weight.repeat(1, -(-channels // before), 1, 1)[:, :channels]
    return copies * (before / channels)


def _create(name: str, num_classes: int) -> nn.Module:
    names = models.list_models(module=models)  # not its subpackages: those detect, segment …
    if name not in names:
        match = difflib.get_close_matches(name, names, n=1)
        hint = f' Did you mean "{match[0]}"?' if match else ""
        raise ValueError(f'name = "{name}": torchvision has no classification network of this name.{hint}')
    net: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **OPTIONS.get(name, {}))
    return net


def _classifier_parameters(net: nn.Module) -> set[str]:
    """Return the names of the classifier's parameters; the classifier of SqueezeNet is a convolution."""
    *_, name = (name for name, module in net.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d)))
    return {f"{name}.{parameter}" for parameter, _ in net.get_submodule(name).named_parameters()}


def _use_small_stem(net: nn.Module, name: str) -> None:
    if not isinstance(net, models.ResNet):
        raise ValueError(
            f"small_images = true: {name} is not a ResNet; remove small_images, or choose a ResNet such as "
            'name = "resnet18"'
        )
    net.conv1 = nn.Conv2d(3, net.conv1.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")  # as in torchvision's ResNet
    net.maxpool = nn.Identity()


def _adapt_channels(net: nn.Module, channels: int) -> str:
    """Make the first convolution fit the images and return the name of its weights."""
    name, first = next((name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d))
    first.in_channels = channels
    first.weight = nn.Parameter(with_channels(first.weight.detach(), channels))
    return f"{name}.weight"


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file under their current torchvision names."""
    if not path.is_file():
        raise ValueError(f'weights = "{path}": no such file; expected a .safetensors or .pth file')
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            if zipfile.is_zipfile(path):  # older files are not archives and contain nothing compressed
                require_plain(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many types for a file in another format
        raise ValueError(
            f'weights = "{path}" cannot be loaded safely: {reason_of(error)}; '
            "expected tensors by name in a .safetensors or .pth file"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(
            f'weights = "{path}" does not contain tensors by name; '
            "expected the output of torch.save(net.state_dict(), path)"
        )
    # The DenseNet weights that torchvision offers were saved when norm1 was called norm.1.
    names = {key: re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key) for key in state}
    return {names[key]: value for key, value in state.items() if not key.startswith(AUXILIARY)}


def _load_weights(net: nn.Module, state: dict[str, Tensor], reinitialised: set[str], what: str, name: str) -> None:
    """Load weights; those in `reinitialised` may be missing or of another shape and then stay random.

    Raises:
        ValueError: weights are missing, unexpected or of another shape; the message starts with `what`.
    """
    expected = net.state_dict()
    skipped = sorted(key for key in reinitialised if key not in state or state[key].shape != expected[key].shape)
    # Old files do not have the counters of batches.
    missing = [
        key for key in expected if key not in state and key not in skipped and not key.endswith("num_batches_tracked")
    ]
    unexpected = [key for key in state if key not in expected]
    mismatched = [
        key for key in state if key in expected and key not in skipped and state[key].shape != expected[key].shape
    ]
    problems = [f"it lacks {_abbreviated(missing)}"] if missing else []
    problems += [f"it has {_abbreviated(unexpected)}, which {name} does not have"] if unexpected else []
    if mismatched:
        sizes = [tuple(each[mismatched[0]].shape) for each in (state, expected)]
        problems += [f"the shape of {_abbreviated(mismatched)} is {sizes[0]}, not {sizes[1]}"]
    if problems:
        raise ValueError(f"{what} does not fit: {'; '.join(problems)}; expected weights of torchvision's {name}")
    expected.update((key, value) for key, value in state.items() if key not in skipped)
    net.load_state_dict(expected)
    if skipped:
        warnings.warn(
            f"{what}: {', '.join(skipped)} do not fit this network and are initialised randomly", stacklevel=3
        )


def _abbreviated(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _check_image_shape(net: nn.Module, image_shape: tuple[int, int, int], name: str) -> None:
    """Score one image, so that images of an unsuitable size are refused before training starts."""
    net.eval()
    try:
        with torch.no_grad():
            net(torch.zeros(1, *image_shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        size = "×".join(map(str, image_shape))
        raise ValueError(
            f"{name} does not accept images of {size}: {error}; choose another name or images of another size"
        ) from error
    net.train()
