"""Rules of ``dlpipe coach`` for images."""

from __future__ import annotations

from collections.abc import Iterator

from dlpipe.coach import Case, Finding, Remedy


def no_augmentation(case: Case) -> Iterator[Finding]:
    """Find images that are the same in every epoch, of a model that learns what only they have."""
    data = case.stage.data
    if (
        case.verdict == "overfitting"
        and data.component.namespace == "vision"
        and data.values.get("augment", {}) is None
    ):
        yield Finding(
            "the training images are the same in every epoch",
            "[data] augment is not set, and the model is not as good on others",
            "A shifted image has the same class and other pixels; images that are learned by heart no longer help.",
            [Remedy("shifted images", {"data.augment": {"shift": 1}})],
            advice=True,
        )
