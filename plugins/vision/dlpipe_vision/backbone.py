"""Any of torchvision's classification nets, from scratch or from a file of weights.

Source: https://pytorch.org/vision/stable/models.html names the paper of each; the small stem is that
of He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2 (CIFAR-10).
Departs from them: any number of channels and classes; auxiliary classifiers are left away. Nothing
is downloaded, ever.
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

from dlpipe.training import require_plain

# Auxiliary classifiers would answer with more than logits; without the rest both warn of a change to come.
OPTIONS: dict[str, dict[str, Any]] = {
    name: {"aux_logits": False, "init_weights": True} for name in ("googlenet", "inception_v3")
}
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


class Backbone(nn.Module):
    """Score K classes for images by a net of torchvision.

    Images of one channel are seen as the net would see them in three equal ones.

    Args:
        image_shape: C, H, W.
        num_classes: K.
        name: of a classification net, such as resnet18, vgg11_bn, mobilenet_v3_small, vit_b_16.
        weights: a file (.safetensors, .pth) with weights of that net, such as those that torchvision
            offers for download; without, it starts from random ones.
        small_images: of a ResNet, begin with a 3×3 convolution of stride 1 and no pooling, so that
            images of 32×32 pixels are not 1×1 before the end.

    Raises:
        ValueError: there is no such net, it cannot take the images, or the weights are not its own.
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
        self.net = _made(name, num_classes)
        fresh = _last_layer(self.net)
        if small_images:
            _begin_small(self.net, name)
            fresh.add("conv1.weight")
        first = _see_channels(self.net, image_shape[0])
        if weights is not None:
            found = _read(weights)
            if first in found and found[first].dim() == 4:
                found[first] = with_channels(found[first], image_shape[0])
            _load(self.net, found, fresh, f'weights = "{weights}"', name)
        self.net.to(memory_format=torch.channels_last)  # as in CNN
        _try(self.net, image_shape, name)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, K)."""
        logits: Tensor = self.net(images)
        return logits


def with_channels(weight: Tensor, channels: int) -> Tensor:
    """Return the weights of a first convolution (out, in, h, w) for images of another number of channels.

    One channel is seen as all of the old ones being equal to it, by the sum of their weights; several
    take the weights of the old ones in turn, scaled by the old number over the new.
    """
    before = weight.size(1)
    if channels == before:
        return weight
    if channels == 1:
        return weight.sum(1, keepdim=True)
    copies = weight.repeat(1, -(-channels // before), 1, 1)[:, :channels]
    return copies * (before / channels)


def _made(name: str, num_classes: int) -> nn.Module:
    known = models.list_models(module=models)  # those of the subpackages detect, segment …
    if name not in known:
        match = difflib.get_close_matches(name, known, n=1)
        hint = f' Did you mean "{match[0]}"?' if match else ""
        raise ValueError(f'name = "{name}": torchvision has no classification net of this name.{hint}')
    net: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **OPTIONS.get(name, {}))
    return net


def _last_layer(net: nn.Module) -> set[str]:
    """Return the names of the classifier's parameters; SqueezeNet's is a convolution."""
    *_, name = (name for name, module in net.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d)))
    return {f"{name}.{parameter}" for parameter, _ in net.get_submodule(name).named_parameters()}


def _begin_small(net: nn.Module, name: str) -> None:
    if not isinstance(net, models.ResNet):
        raise ValueError(
            f'small_images = true: {name} is no ResNet; leave it out, or choose one such as name = "resnet18"'
        )
    net.conv1 = nn.Conv2d(3, net.conv1.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's ResNet does
    net.maxpool = nn.Identity()


def _see_channels(net: nn.Module, channels: int) -> str:
    """Make the first convolution fit the images and return the name of its weights."""
    name, first = next((name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d))
    first.in_channels = channels
    first.weight = nn.Parameter(with_channels(first.weight.detach(), channels))
    return f"{name}.weight"


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, called as torchvision calls them now."""
    if not path.is_file():
        raise ValueError(f'weights = "{path}": there is no such file; expected a .safetensors or .pth file')
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            if zipfile.is_zipfile(path):  # older ones are no archives and hold nothing compressed
                require_plain(path)
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds for a file that is not their own
        raise ValueError(f'weights = "{path}" cannot be loaded safely: {error}') from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(
            f'weights = "{path}" does not hold tensors by name; expected what torch.save(net.state_dict()) writes'
        )
    # The DenseNets that torchvision offers were saved when norm1 was called norm.1.
    names = {key: re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key) for key in found}
    return {names[key]: value for key, value in found.items() if not key.startswith(AUXILIARY)}


def _load(net: nn.Module, found: dict[str, Tensor], fresh: set[str], what: str, name: str) -> None:
    """Load weights; those in `fresh` may be missing or of another size, then they start from random ones.

    Raises:
        ValueError: beginning with `what` and naming what does not fit.
    """
    own = net.state_dict()
    left = sorted(key for key in fresh if key not in found or found[key].shape != own[key].shape)
    # Counters of batches, which files of old do not have.
    lacking = [key for key in own if key not in found and key not in left and not key.endswith("num_batches_tracked")]
    strange = [key for key in found if key not in own]
    differing = [key for key in found if key in own and key not in left and found[key].shape != own[key].shape]
    complaints = [f"it lacks {_some(lacking)}"] if lacking else []
    complaints += [f"it has {_some(strange)}, which {name} has not"] if strange else []
    if differing:
        sizes = [tuple(each[differing[0]].shape) for each in (found, own)]
        complaints += [f"the shape of {_some(differing)} is {sizes[0]}, not {sizes[1]}"]
    if complaints:
        raise ValueError(f"{what} does not fit: {'; '.join(complaints)}; expected weights of torchvision's {name}")
    own.update((key, value) for key, value in found.items() if key not in left)
    net.load_state_dict(own)
    if left:
        warnings.warn(f"{what}: {', '.join(left)} do not fit this net and start from random ones", stacklevel=3)


def _some(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _try(net: nn.Module, image_shape: tuple[int, int, int], name: str) -> None:
    """Score one image, so that a net which cannot take the images says so before the training starts."""
    net.eval()
    try:
        with torch.no_grad():
            net(torch.zeros(1, *image_shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        size = "×".join(map(str, image_shape))
        raise ValueError(
            f"{name} cannot take images of {size}: {error}; choose another name or images of another size"
        ) from error
    net.train()
