"""Rules of ``dlpipe coach`` for recordings."""

from __future__ import annotations

from collections.abc import Iterator

from dlpipe.coach import Case, Finding, Remedy


def no_augmentation(case: Case) -> Iterator[Finding]:
    """Find recordings that are the same in every epoch, of a model that learns what only they have."""
    data = case.stage.data
    if case.verdict == "overfitting" and data.component.namespace == "audio" and data.values.get("augment", {}) is None:
        yield Finding(
            "the training recordings are the same in every epoch",
            "[data] augment is not set, and the model is not as good on others",
            "What is said stays the same if it is said faster or with some noise; frames that are learned by heart no "
            "longer help.",
            [Remedy("another tempo, and noise", {"data.augment": {"speed": 0.1, "noise": 0.1}})],
            advice=True,
        )
