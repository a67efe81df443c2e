"""What the core expects of data, trainers and evaluators. Nothing need inherit from these.

A model needs no protocol: it is a ``torch.nn.Module`` whose ``forward`` names the columns of a batch
that it wants. Two methods are used where a model has them, both again by parameter name:
``loss(outputs…)`` gives the scalar to minimise, ``predict(outputs…)`` the prediction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.data import Dataset, IterableDataset

    from dlpipe.data.columns import Columns
    from dlpipe.evaluation.examples import Examples

#: A batch: tensors by column name, the first axis running over examples.
Batch = dict[str, "Tensor"]


@runtime_checkable
class Data(Protocol):
    """What to learn from. Making one reads nothing; files are read when a split is asked for.

    Attributes:
        splits: names of the splits there are, among "train", "dev" and "test".
        facts: what models and evaluators need to know, plain values only; known once the training
            split was read, or after `restore`.
        paddings: optional; for columns that are sequences, what stands behind the end of a shorter
            one, by name. Other columns of encoded items are stacked.

    A method ``expand(item)`` is optional: it names the single items that an item stands for, such as
    the images in a folder. Another, ``names(split)``, tells what a person calls each example of a split,
    such as its file.
    """

    @property
    def splits(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def facts(self) -> Mapping[str, Any]: ...  # noqa: D102

    def split(self, name: str) -> Columns | Dataset[Any] | IterableDataset[Any]:
        """Return a split: `Columns` if it fits into memory, else a torch dataset of dicts of tensors."""

    def encode(self, item: str) -> dict[str, Tensor]:
        """Turn what a person gives (a sentence, a path) into one example, as a model takes it, without a batch axis.

        Raises:
            InputError: the item cannot be used.
        """

    def present(self, item: str, prediction: Tensor) -> dict[str, Any]:
        """Turn the model's prediction for `item` into an answer for a person: plain values.

        Given a third parameter ``outputs``, it gets what the model returned for the item (logits).
        """

    def state(self) -> dict[str, Any]:
        """Return what was learned from the training split (a vocabulary …), as JSON can hold it."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what another process learned, so that no file need be read to encode."""

    def fingerprint(self) -> str:
        """Return a text that changes when the content of the data does."""


class Trainer(Protocol):
    """One training algorithm: an endless iterator of steps over state that it owns.

    Attributes:
        model: what is evaluated, saved and used for predictions.
        steps_per_epoch: None where the data has no epochs.
        total_steps: optional; where a parameter of the trainer's own ends the run (its record names it as
            ``budget``), after how many steps. ``steps``, ``epochs`` and ``minutes`` may end it earlier.
        caveats: optional; in words, why a resumed run may not be exact. Warned of and written down.
        notes: optional; in words, what a person would want to know before it starts, such as how much memory
            it takes.

    A state that is large and changes a part at a time, such as a replay buffer, is no part of `state_dict`:
    an optional method ``state_blocks()`` returns it as `dlpipe.runs.checkpoint.StateBlock` by name, and
    ``load_state_blocks(blocks)``, called after `load_state_dict`, gets (name, tensors) one after the other.
    ``close()``, optional here and for data and evaluators, is called when the stage is over.
    """

    @property
    def model(self) -> nn.Module: ...  # noqa: D102

    @property
    def steps_per_epoch(self) -> int | None: ...  # noqa: D102

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Go on from the current state; after each step yield its numbers, scalars still on the device.

        A step need not have all of them (an agent that does not learn yet has no loss).
        """

    def log_values(self) -> dict[str, float]:
        """Return numbers that cost nothing to know at a log point, such as ``{"lr": 0.001}``."""

    def on_score(self, score: float) -> None:
        """Take notice of the monitored metric after an evaluation (a schedule may depend on it)."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the weights of `model` that the next step depends on.

        Tensors, numbers, texts, and lists and dicts of them only: it is loaded with ``weights_only``.
        Global generators of randomness are the loop's business.
        """

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state; the weights of `model` have been loaded already."""


class Evaluator(Protocol):
    """Turns a model and a split into numbers, and things to look at.

    Attributes:
        primary: the metric that decides which checkpoint is best; None where there is no such one,
            as when an evaluator only draws.
        goal: whether it should grow or fall.

    A method ``sample(folder, step)`` is optional: called after each evaluation during training, it writes what
    a person would like to see develop into ``samples/<name>`` of the run, in files named by their step.
    """

    primary: str | None
    goal: Literal["max", "min"]

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return metrics by name; `examples` shares one pass of the model among all evaluators."""

    def write(self, folder: Path) -> None:
        """Write what a person would rather look at, from the last `evaluate`, into an existing folder."""
