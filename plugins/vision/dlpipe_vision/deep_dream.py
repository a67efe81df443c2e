"""Deep Dream: images in which a classifier sees more and more of a layer, a channel or a class.

Sources: Mordvintsev et al. 2015, "Inceptionism: Going Deeper into Neural Networks",
https://research.google/blog/inceptionism-going-deeper-into-neural-networks/; Simonyan et al. 2014, "Deep Inside
Convolutional Networks", section 2 (classes), https://arxiv.org/abs/1312.6034.
Axes: B start images, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, Strict
from torch import Tensor, nn

from dlpipe.compute import derived_seed
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe.fields import NonNegative, NonNegativeFloat, NotWith, OnlyWith, Positive, PositiveFloat
from dlpipe.messages import nearest, shown
from dlpipe.progress import tracked
from dlpipe.report_items import ReportItem
from dlpipe_vision.distinct import require_distinct
from dlpipe_vision.dream import Dream, ascended, dream_metrics
from dlpipe_vision.dream_files import write_dreams
from dlpipe_vision.dream_judge import Judge
from dlpipe_vision.dream_start import examples_of, noise_images, picture_image
from dlpipe_vision.dream_targets import ClassTarget, Target, class_targets, last_convolution, layer_targets, untrained
from dlpipe_vision.gradient_ascent import GradientAscent
from dlpipe_vision.labeled_images import LabeledImages, require_labeled_images
from dlpipe_vision.layer_outputs import evaluation_mode, require_layer

Start = Literal["examples", "noise", "picture"]
OctaveScale = Annotated[float, Strict(), Field(gt=1, le=4)]


class DeepDream:
    """Draw what a layer, single channels or classes of an image classifier respond to, by gradient ascent on images.

    ``evaluate`` returns ``gain``, the median over the targets of how many times larger the root mean square of the
    activation is in the dream than in the start image; for classes, by how much the logarithm of their odds is larger.
    ``gain_lowest`` is that of the target with the least, and ``gain_untrained`` the median of a network with the same
    layers and new random weights, each for its own dreams. With a `judge`, ``judge_probability`` is the mean
    probability that it gives to the class of a dream, over crops of the size of the data's images, and ``judge_sure``
    the share of crops with at least 0.9; ``_start`` is of the start images, ``_untrained`` of the dreams of the
    untrained network. ``judge_accuracy`` is its accuracy on the split.

    ``write`` writes ``deep_dream.png``, start image, octaves and dream of each target; ``dreams.png``, all dreams pixel
    by pixel; and ``deep_dream.csv``.

    Args:
        image_shape: (C, H, W) of the images.
        labels: the name of each class.
        layer: the layer to enhance, such as "layers.6.activation"; by default the last convolution, including the
            layers after it whose maps have the same size (normalization, activation).
        channels: a dream for each of these channels of the layer, rather than one for the whole layer.
        classes: a dream for each of these classes, rather than for a layer.
        size: height and width of a dream, in pixels.
        start: "examples" of the split, continued by their mirror images; grey "noise"; or a "picture" of yours.
        picture: the file of that picture, of which the middle is used.
        count: number of start images, for each target.
        octaves: number of scales.
        octave_scale: how many times larger each scale is than the one before.
        steps: at each scale.
        step_size: mean change of a pixel (0 to 1) per step.
        jitter: images are moved by up to this many pixels before each step, and back after it.
        total_variation: weight of smoothness; the gradient of the objective has the weight 1.
        judge: a second, independently trained classifier, such as { stage = "judge" }, whose data has the same classes
            and the same range of pixels.
        seed: of the choice of start images, the noise and the jitter.

    Raises:
        InputError: a class does not exist, or the jitter is too large for the smallest octave.
    """

    primary = "gain"
    goal: Literal["max"] = "max"

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        labels: Sequence[str],
        *,
        layer: Annotated[str | None, NotWith("classes")] = None,
        channels: Annotated[Sequence[NonNegative], NotWith("classes")] = (),
        classes: Sequence[str] = (),
        size: Positive = 128,
        start: Start = "examples",
        picture: Annotated[Path | None, OnlyWith(start="picture")] = None,
        count: Annotated[Positive, OnlyWith(start=("examples", "noise"))] = 1,
        octaves: Positive = 4,
        octave_scale: OctaveScale = 1.4,
        steps: Positive = 60,
        step_size: PositiveFloat = 0.01,
        jitter: NonNegative = 4,
        total_variation: NonNegativeFloat = 0.0,
        judge: Annotated[nn.Module | None, OnlyWith("classes")] = None,
        seed: NonNegative = 0,
    ) -> None:
        self._channels_of_images, *sides = image_shape
        self._layer, self._channels, self._classes = layer, list(channels), list(classes)
        self._size, self._start, self._picture, self._count, self._seed = size, start, picture, count, seed
        self._ascent = GradientAscent(size, octaves, octave_scale, steps, step_size, jitter, total_variation)
        self._judge = judge
        if unknown := [label for label in classes if label not in labels]:
            raise InputError(
                f'classes: "{unknown[0]}" is no class of the data; expected some of {shown(list(labels))}.'
                f"{nearest(unknown[0], labels)}"
            )
        if classes and len(labels) < 2:
            raise InputError(f"classes: the data has one class, {labels[0]}; expected at least two to tell apart")
        require_distinct("classes", classes)
        if start == "picture" and picture is None:
            raise InputError('start = "picture" needs the file: picture = "…"')
        if judge is not None and size < max(sides):
            raise InputError(
                f"size = {size}: the judge sees crops of {sides[0]}×{sides[1]} pixels; expected at least {max(sides)}"
            )
        self._labels = list(labels)
        self._notes: list[str] = []
        self._dreams: list[Dream] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Dream with the model, and with the same layers and random weights."""
        data = require_labeled_images(examples.data, "vision.deep_dream")
        how = replace(self._ascent, steps=min(self._ascent.steps, examples.limit or self._ascent.steps))
        device = examples.compute.device
        start = self._start_images(data, examples).to(device)
        judge = None if self._judge is None else Judge(self._judge.to(device), data, device)
        with ExitStack() as modes:
            for network in (model, *([] if self._judge is None else [self._judge])):
                modes.enter_context(evaluation_mode(network))
            targets = self._targets(model, data, examples)
            fresh, seed = untrained(model), derived_seed(self._seed, "jitter")
            self._dreams = []
            for target in tracked(targets, "dreams"):
                ours, theirs = (ascended(target, network, data, start, how, seed) for network in (model, fresh))
                images = {"start": start, "trained": ours.octaves[-1], "untrained": theirs.octaves[-1]}
                judged = self._judged(judge, target, images)
                self._dreams.append(Dream(target, start.cpu(), ours, theirs, judged))
            accuracy = {} if judge is None else {"judge_accuracy": judge.accuracy(examples)}
        return dream_metrics(self._dreams) | accuracy

    def write(self, folder: Path) -> list[ReportItem]:
        """Draw the dreams of the last `evaluate`."""
        return write_dreams(folder, self._dreams, self._notes)

    def _start_images(self, data: LabeledImages, examples: Examples) -> Tensor:
        count, generator = examples.at_most(self._count), torch.Generator().manual_seed(self._seed)
        if self._picture is not None:
            image, self._notes = picture_image(self._picture, self._channels_of_images, self._size)
            return image
        if self._start == "noise":
            return noise_images(count, self._channels_of_images, self._size, generator)
        images = len(data.names(examples.split))
        if self._count > images:
            raise InputError(f"count = {self._count}: there are {images} images of {examples.split} to start from")
        rows = torch.randperm(images, generator=generator)[:count]
        return examples_of(data, examples.split, rows, self._size)

    def _targets(self, model: nn.Module, data: LabeledImages, examples: Examples) -> list[Target]:
        if self._classes:
            return class_targets(self._classes, self._labels)
        if self._layer is not None:
            require_layer(model, self._layer)
        image = data.pictures(examples.split, torch.tensor([0])).to(examples.compute.device).float() / 255
        return layer_targets(self._layer or last_convolution(model, data.as_input(image)), self._channels)

    def _judged(self, judge: Judge | None, target: Target, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the probability of the class of a dream for each crop (B, N) of images (B, C, S, S), by name."""
        if judge is None or not isinstance(target, ClassTarget):
            return {}
        return {name: judge.probabilities(some, target.number) for name, some in images.items()}
