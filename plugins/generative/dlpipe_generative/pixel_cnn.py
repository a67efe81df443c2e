"""PixelCNN: an image is generated pixel by pixel, each given those above it and to its left.

Sources: van den Oord et al. 2016, "Pixel Recurrent Neural Networks", https://arxiv.org/abs/1601.06759, section 2 and
section 3.4 (masks); van den Oord et al. 2016, "Conditional Image Generation with PixelCNN Decoders",
https://arxiv.org/abs/1606.05328, section 2.1 (gated units), 2.2 (two stacks without a blind spot) and 2.3 (classes).
Departs from them: no masks, the convolutions do not reach what they must not see; the channels of a pixel are pixels
beside each other, one after the other; both stacks have residual connections.
Axes: B images, C channels, H rows, W columns, P = C · W positions of a row, L levels, D channels of the network.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field, Strict
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.fields import Positive
from dlpipe_generative.conditioning import conditioned_classes
from dlpipe_generative.pixels import UNIT, check_range


class PixelCNN(nn.Module):
    """Score the L levels of each pixel, given the pixels before it: those above it and to its left.

    Args:
        image_shape: C, H, W.
        pixel_range: values of black and white; must be 0 and 1.
        num_classes: of the data; used if the model is conditional.
        levels: L, values that pixels are rounded to, from black to white; 256 for photographs, 2 for black and white.
            Memory and time are proportional to them.
        blocks: of gated units; each sees a little further.
        kernel: pixels that a convolution reaches to the left, and up and to both sides.
        channels: D.
        conditional: condition on the class.

    Attributes:
        latent_dim: C · H · W, of the latent vectors: one number decides which level of a pixel is drawn.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        pixel_range: tuple[float, float],
        *,
        num_classes: int | None = None,
        levels: Annotated[int, Strict(), Field(ge=2, le=256)] = 256,
        blocks: Positive = 5,
        kernel: Positive = 2,
        channels: Positive = 32,
        conditional: bool = False,
    ) -> None:
        super().__init__()
        check_range("generative.pixel_cnn", pixel_range, UNIT)
        self.num_classes = conditioned_classes("generative.pixel_cnn", conditional, num_classes)
        self.image_shape, self.levels = tuple(image_shape), levels
        self.latent_dim, self.pixel_range = math.prod(image_shape), UNIT
        planes = 1 + image_shape[0]
        reach = kernel * image_shape[0]  # whole pixels to both sides
        self._rows = kernel * (1 + blocks)  # that the network sees above a pixel
        self.above = nn.Conv2d(planes, channels, (kernel, 2 * reach + 1))
        self.left = nn.Conv2d(planes, channels, (1, reach))
        self.blocks = nn.ModuleList(Block(channels, kernel, reach, self.num_classes) for _ in range(blocks))
        self.output = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, levels, 1)
        )

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the negative log-likelihood in nats of each pixel (B, C, H, W), rounded to the levels.

        Args:
            images: (B, C, H, W), 0 to 1.
            targets: (B,) the classes, if the model is conditional.
        """
        levels = self.rounded(images)
        planes = self._planes(levels)
        logits = self._logits(planes, self._rows_above(planes, targets), targets)  # (B, L, H, P)
        log_probabilities = logits.log_softmax(1).unflatten(3, (-1, self.image_shape[0])).permute(0, 1, 4, 2, 3)
        nats: Tensor = -log_probabilities.gather(1, levels.unsqueeze(1)).squeeze(1)
        return nats

    def loss(self, outputs: Tensor) -> Tensor:
        """Return the negative log-likelihood in nats per image, mean over the batch."""
        return outputs.flatten(1).sum(1).mean()

    def rounded(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to the nearest level of each pixel, int64; noise may leave 0 to 1."""
        return (images * (self.levels - 1)).round().long().clamp(0, self.levels - 1)

    def generate(self, latent: Tensor, targets: Tensor | None = None) -> Tensor:
        """Draw images (B, C, H, W), pixel by pixel.

        Args:
            latent: (B, Z) standard normal; which share of the distribution lies below a number decides the level of its
                pixel, in the order of rows, columns and channels.
            targets: (B,) the classes, if the model is conditional.
        """
        shares = (0.5 * (1 + torch.erf(latent.double() / math.sqrt(2)))).view(len(latent), -1)
        channels, height, width = self.image_shape
        levels = torch.zeros(len(latent), channels, height, width, dtype=torch.int64, device=latent.device)
        for row in range(height):
            # What the rows above say is the same for all pixels of a row; those out of reach have no effect on it.
            near = levels[:, :, max(0, row - self._rows) : row + 1]
            above = [seen[:, :, -1:] for seen in self._rows_above(self._planes(near), targets)]
            for place in range(width * channels):
                planes = self._planes(levels[:, :, row : row + 1])[..., : place + 1]
                logits = self._logits(planes, [seen[..., : place + 1] for seen in above], targets)[:, :, 0, place]
                below = logits.double().softmax(1).cumsum(1)
                share = shares[:, row * width * channels + place]
                drawn = (below < share.unsqueeze(1)).sum(1).clamp(max=self.levels - 1)
                levels[:, place % channels, row, place // channels] = drawn
        return levels / (self.levels - 1)

    def _planes(self, levels: Tensor) -> Tensor:
        """Map levels (B, C, H, W) to what the network sees, (B, 1 + C, H, P).

        The channels of a pixel follow each other in a row; a plane for each of them says where they are.
        """
        batch, channels, height, width = levels.shape
        beside = levels.permute(0, 2, 3, 1).reshape(batch, 1, height, width * channels)
        pixels = beside.to(self.left.weight.dtype) / (self.levels - 1) * 2 - 1
        place = torch.eye(channels, device=levels.device, dtype=pixels.dtype).repeat(1, width)[None, :, None]
        return torch.cat([pixels, place.expand(batch, -1, height, -1)], 1)

    def _rows_above(self, planes: Tensor, targets: Tensor | None) -> list[Tensor]:
        """Return what each block knows of the rows above each position, (B, 2 D, H, P)."""
        if self.num_classes is not None and targets is None:
            raise ValueError(
                f"this model is conditional: expected targets ({len(planes)},) from 0 to {self.num_classes - 1}, got "
                "None"
            )
        kernel, reach = self.above.kernel_size[0], self.left.kernel_size[1]
        above, known = self.above(F.pad(planes, (reach, reach, kernel, 0))[:, :, :-1]), []
        for block in self.blocks:
            assert isinstance(block, Block)
            above, seen = block.rows_above(above, targets)
            known.append(seen)
        return known

    def _logits(self, planes: Tensor, known: list[Tensor], targets: Tensor | None) -> Tensor:
        """Return logits (B, L, H, P), given what is known of the rows above."""
        left = self.left(F.pad(planes, (self.left.kernel_size[1], 0, 0, 0))[..., :-1])
        for block, seen in zip(self.blocks, known, strict=True):
            left = block(left, seen, targets)
        logits: Tensor = self.output(left)
        return logits


class Block(nn.Module):
    """A gated unit of both stacks: of one that sees the rows above, and of one that sees what is to the left, too.

    Args:
        channels: D.
        kernel: rows above a position that the first stack sees.
        reach: positions to both sides that the first stack sees, and to the left that the second one does.
        num_classes: K, None if the class is not known.
    """

    def __init__(self, channels: int, kernel: int, reach: int, num_classes: int | None) -> None:
        super().__init__()
        self.above_padding, self.left_padding = (reach, reach, kernel, 0), (reach, 0, 0, 0)
        self.above = nn.Conv2d(channels, 2 * channels, (kernel + 1, 2 * reach + 1))
        self.left = nn.Conv2d(channels, 2 * channels, (1, reach + 1))
        self.down = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.above_output = nn.Conv2d(channels, channels, 1)
        self.left_output = nn.Conv2d(channels, channels, 1)
        self.class_above, self.class_left = (
            None if num_classes is None else nn.Embedding(num_classes, 2 * channels) for _ in range(2)
        )

    def rows_above(self, above: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map what is known of the rows above (B, D, H, P) to what is known then, and (B, 2 D, H, P) for `forward`."""
        seen = _told(self.above(F.pad(above, self.above_padding)), self.class_above, targets)
        return above + self.above_output(_gated(seen)), self.down(seen)

    def forward(self, left: Tensor, seen_above: Tensor, targets: Tensor | None) -> Tensor:
        """Map what is known of the row and of those above (B, D, H, P) to what is known then."""
        seen = _told(self.left(F.pad(left, self.left_padding)) + seen_above, self.class_left, targets)
        known: Tensor = left + self.left_output(_gated(seen))
        return known


def _told(seen: Tensor, embedding: nn.Embedding | None, targets: Tensor | None) -> Tensor:
    return seen if embedding is None else seen + embedding(targets)[:, :, None, None]


def _gated(seen: Tensor) -> Tensor:
    filtered, gate = seen.chunk(2, 1)
    return filtered.tanh() * gate.sigmoid()
