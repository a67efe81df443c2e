"""What the core expects of data, models, trainers and evaluators. Nothing has to inherit from these.

A model needs no protocol: it is a ``torch.nn.Module`` whose ``forward`` names the columns of a batch that it takes;
``forward(**columns)`` takes all of them. Four methods are used if a model has them, again by the names of their
parameters: ``loss(outputs, …)`` returns the scalar to minimize, a mean, and ``count_loss_terms(…)`` the number of its
terms in a batch, by which the losses of several batches are weighted; without it they are the targets, or the examples
if there are none. ``predict(outputs, …)`` returns the predictions, one for each example, and
``probabilities(outputs, …)`` the probabilities of the classes for each of these; without it they are the softmax of the
outputs, unless the model has a ``predict`` of its own. A static method or a stored function will do; a layer of that
name is refused. A parameter ``step`` of ``loss`` gets the number of steps taken so far, and None outside
of training; parameters ``label_smoothing`` (0 to 1) and ``class_weights`` (K,) with a default get those of
``core.supervised`` in training, if the user sets them, as a parameter ``class_weights`` of ``count_loss_terms`` does.
``fit(…)`` learns from all training examples at once
(``core.fit``), and may return metrics by name; a parameter ``seed`` gets the seed of the run. The sizes of the buffers
of such a model are learned, too: a checkpoint's are taken over.

Optional methods and attributes are the ``Supports…`` protocols. A component that has half of a pair, or a name that is
nearly one of them, is refused when it is built (`dlpipe.engine.conformance`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.data import Dataset, IterableDataset

    from dlpipe.data.columns import Columns
    from dlpipe.evaluation.example_scores import ExampleScores
    from dlpipe.evaluation.examples import Examples
    from dlpipe.report_items import ReportItem
    from dlpipe.runs.checkpoint import StateBlock

__all__ = [
    "Batch",
    "Data",
    "Evaluator",
    "Goal",
    "SupportsBypasses",
    "SupportsCaveats",
    "SupportsClose",
    "SupportsContent",
    "SupportsCopies",
    "SupportsExampleInputs",
    "SupportsExampleScores",
    "SupportsExpand",
    "SupportsExport",
    "SupportsItemFiles",
    "SupportsItems",
    "SupportsMetricWeights",
    "SupportsNames",
    "SupportsNotes",
    "SupportsOtherWeights",
    "SupportsPaddings",
    "SupportsReport",
    "SupportsSamples",
    "SupportsShards",
    "SupportsStateBlocks",
    "SupportsTextItems",
    "SupportsTotalSteps",
    "SupportsWorkers",
    "Trainer",
]

#: A batch: tensors by column name; the first axis runs over examples.
Batch = dict[str, "Tensor"]
#: Whether a metric should grow or fall.
Goal = Literal["max", "min"]


@runtime_checkable
class Data(Protocol):
    """What to learn from. The constructor reads nothing; files are read when a split is asked for.

    Attributes:
        splits: the names of its splits, among "train", "dev" and "test".
        facts: what models and evaluators need to know, plain values only. The core asks for them after construction;
            data that learns them from the training split reads it then, unless `restore` was called before.
    """

    @property
    def splits(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def facts(self) -> Mapping[str, Any]: ...  # noqa: D102

    def split(self, name: str) -> Columns | Dataset[Any] | IterableDataset[Any]:
        """Return a split: `Columns` if it fits into memory, else a torch dataset of dicts of tensors."""

    def state(self) -> dict[str, Any]:
        """Return what was learned from the training split (a vocabulary, say), JSON-serializable."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what another process learned, so that encoding an item reads no file."""

    def fingerprint(self) -> str:
        """Return a string that changes if the content of the data does."""


@runtime_checkable
class SupportsItems(Protocol):
    """Data that converts between a person's items and tensors: what ``dlpipe predict RUN ITEM`` needs."""

    def encode(self, item: str) -> dict[str, Tensor]:
        """Convert what a person gives (a sentence, a path) into one example for the model, without a batch axis.

        Raises:
            InputError: the item cannot be used.
        """

    def present(self, item: str, prediction: Tensor) -> dict[str, Any]:
        """Convert the model's prediction for `item` into an answer for a person: plain values.

        A prediction with an element for each position of the item's sequence is without those of the padding. The item
        itself precedes the answer, as ``item``; classes are answered by `dlpipe.data.class_answer` or
        `dlpipe.data.sequence_answer`, so that they have the same names everywhere. Further parameters, by name:

        - ``probabilities``: those of the K classes, float64 (K,), of a sequence (T, K); None if the model gives none.
          They are the softmax of its outputs, or what its own ``probabilities`` returns.
        - ``top``: how many of the most probable classes to list as well; 0 lists none.
        - ``explain``: whether the answer is for a person who would like to know why.
        - ``outputs``: what the model returned for the item (logits); of lists and dicts of tensors, the part of the
          item in each, which is the row of its first axis.
        - ``model``: the model, in evaluation mode.
        - ``example``: what `encode` returned for the item: two items may have the same name.

        A string may contain colors for a terminal (ANSI): they are removed where the answer does not go to one.
        """


@runtime_checkable
class SupportsItemFiles(Protocol):
    """Data that reads files of items itself, such as the rows of a table: ``dlpipe predict RUN --file rows.csv``."""

    def read_items(self, path: Path) -> Iterable[tuple[str, str]] | None:
        """Return (where it is, the item) for each item in a file; None for a file with an item on each line.

        Raises:
            InputError: the file cannot be used.
        """


@runtime_checkable
class SupportsTextItems(Protocol):
    """Data whose ``encode`` reads an item as text, never as the name of a file: ``dlpipe serve`` passes it on.

    Attributes:
        text_items: True.
    """

    @property
    def text_items(self) -> bool: ...  # noqa: D102


@runtime_checkable
class SupportsContent(Protocol):
    """Data whose items are files: ``dlpipe serve`` gives it the content, since a client must not name a file."""

    def encode_content(self, item: str, content: bytes) -> dict[str, Tensor]:
        """Convert the content of a file as ``encode`` converts a file; `item` is its name for messages and answers.

        Raises:
            InputError: the content cannot be used.
        """


@runtime_checkable
class SupportsPaddings(Protocol):
    """Data whose encoded items have columns that are sequences.

    Attributes:
        paddings: by column name, what fills up the shorter sequences of a batch. Other columns are stacked.
    """

    @property
    def paddings(self) -> Mapping[str, float]: ...  # noqa: D102


@runtime_checkable
class SupportsExpand(Protocol):
    """Data for which one item can stand for several."""

    def expand(self, item: str) -> Iterable[str]:
        """Return the single items that an item stands for, such as the images in a folder."""


@runtime_checkable
class SupportsNames(Protocol):
    """Data whose examples have names that a person knows."""

    def names(self, split: str) -> Sequence[str]:
        """Return what a person calls each example of a split, such as its file."""


@runtime_checkable
class SupportsCopies(Protocol):
    """Data that knows which examples of two splits are the same. Otherwise dlpipe compares the columns in memory."""

    def copies(self, split: str, other: str) -> tuple[Tensor, Tensor]:
        """Return which of the N examples of `split` also occur in `other`: (N,) bool exactly, (N,) bool nearly."""


@runtime_checkable
class SupportsExampleInputs(Protocol):
    """Data whose splits have no examples, such as an environment: what ``dlpipe export`` runs the model on."""

    def example_inputs(self, split: str, count: int) -> Batch:
        """Return a batch of `count` examples of what the model receives in a split; always the same ones."""


@runtime_checkable
class SupportsExport(Protocol):
    """A model that is used by something else than its ``forward``, such as a GAN, whose generator is."""

    def exported(self, batch: Batch) -> tuple[nn.Module, dict[str, Tensor]]:
        """Return the module that ``dlpipe export`` exports, and its inputs by name, as many as `batch` has examples.

        The global random number generators are seeded when it is called.
        """


@runtime_checkable
class SupportsShards(Protocol):
    """A stream (`IterableDataset`) that can be read in parts, without reading the examples in between."""

    def shard(self, first: int, step: int) -> Iterator[Batch]:
        """Iterate over the examples number `first`, ``first + step``, ``first + 2 * step`` … of the stream, from 0.

        They are those of ``itertools.islice(stream, first, None, step)``; none if the stream is shorter. A worker
        process asks for its part with it, and a resumed run for what it has not seen.

        When it is called, the global random number generators have the same state for all parts of an epoch, and
        before each example a state that depends on the epoch and the number of the example. So draw the order of an
        epoch in the call itself; the body of a generator function is not run before the first example is read.
        """


@runtime_checkable
class SupportsWorkers(Protocol):
    """A torch dataset that should be read by worker processes unless the user says otherwise.

    Attributes:
        decodes_files: whether an item takes as long as decoding a file, so that reading takes longer than training.
    """

    @property
    def decodes_files(self) -> bool: ...  # noqa: D102


class Trainer(Protocol):
    """One training algorithm: an endless iterator of steps over state that it owns.

    Attributes:
        model: what is evaluated, saved and used for predictions. If the constructor takes a ``model``, its weights have
            the same names and shapes as those of that model, since the run is used without the trainer: it is that
            model, or a copy of it (an average of the weights, say), not a module around it.
        steps_per_epoch: None for data without epochs.
    """

    @property
    def model(self) -> nn.Module: ...  # noqa: D102

    @property
    def steps_per_epoch(self) -> int | None: ...  # noqa: D102

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Continue from the current state; after each step yield its metrics, scalars still on the device.

        A step need not have all of them (an agent that does not learn yet has no loss).
        """

    def log_values(self) -> dict[str, float]:
        """Return values to log that are known without reading a tensor, such as ``{"lr": 0.001}``.

        Their names are not those of metrics of `steps`.
        """

    def on_score(self, score: float, goal: Goal) -> None:
        """Use the monitored metric after an evaluation (a schedule may depend on it)."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything except the weights of `model` that the next step depends on.

        Only tensors, numbers, strings, None, and lists and dicts of them: it is loaded with ``weights_only``. The
        state of the global random number generators is saved by the loop. It is also called before the first step,
        since the types in a saved state are compared with those in this one.
        """

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; the weights of `model` have been loaded already."""


@runtime_checkable
class SupportsTotalSteps(Protocol):
    """A trainer with a budget of its own (its spec names the parameters as ``budget``).

    Attributes:
        total_steps: the number of steps after which that budget is spent, None if it is not limited. ``steps``,
            ``epochs`` and ``minutes`` may end the run earlier.
    """

    @property
    def total_steps(self) -> int | None: ...  # noqa: D102


@runtime_checkable
class SupportsMetricWeights(Protocol):
    """A trainer some of whose metrics are means over a number of things that differs from step to step.

    Attributes:
        metric_weights: by the name of a metric of ``steps``, the one that says how much its value counts in the mean
            over several steps, such as ``{"return": "episodes"}``. A step gives both or neither; the weight is not
            logged itself.
    """

    @property
    def metric_weights(self) -> Mapping[str, str]: ...  # noqa: D102


@runtime_checkable
class SupportsStateBlocks(Protocol):
    """A trainer with a large state that changes a part at a time, such as a replay buffer.

    That state is not in `Trainer.state_dict`; a checkpoint writes only the blocks that changed.
    """

    def state_blocks(self) -> Mapping[str, StateBlock]:
        """Return the blocks by name."""

    def load_state_blocks(self, blocks: Iterable[tuple[str, dict[str, Tensor]]]) -> None:
        """Restore the blocks, (name, tensors) one after the other; called after `Trainer.load_state_dict`."""


@runtime_checkable
class SupportsCaveats(Protocol):
    """A trainer that knows why a resumed run may differ from an uninterrupted one.

    Attributes:
        caveats: the reasons, in words. The user is warned, and they are recorded in provenance.json.
    """

    @property
    def caveats(self) -> Sequence[str]: ...  # noqa: D102


@runtime_checkable
class SupportsNotes(Protocol):
    """A trainer or a model with something to say before training starts.

    Attributes:
        notes: in words, such as how much memory it takes.
    """

    @property
    def notes(self) -> Sequence[str]: ...  # noqa: D102


@runtime_checkable
class SupportsOtherWeights(Protocol):
    """A model that can start from weights whose names or shapes are not its own, such as those of another library."""

    def adapt_weights(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return weights with the names and shapes of this model, as far as they can be derived; the others unchanged.

        Args:
            weights: those that ``start`` of the model's table names; its own ones, too.
        """


@runtime_checkable
class SupportsBypasses(Protocol):
    """A model with blocks that can be left out one at a time, as those with a residual connection can."""

    def bypasses(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Return, by the name of each block among the submodules, the function that takes its place without it.

        A block with an attribute ``gate``, a module, is one of a highway network; the gate returns how far it is open,
        from 0 to 1.
        """


class Evaluator(Protocol):
    """Turns a model and a split into metrics, and things to look at.

    Attributes:
        primary: the metric that decides which checkpoint is best; None if none should, as when an evaluator only
            writes figures.
        goal: whether the primary metric should grow or fall, "max" or "min"; not needed if there is none.
    """

    @property
    def primary(self) -> str | None: ...  # noqa: D102

    @property
    def goal(self) -> str: ...  # noqa: D102

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return metrics by name; `examples` shares one pass of the model among all evaluators."""

    def write(self, folder: Path) -> Sequence[ReportItem] | None:
        """Write figures and tables of the last `evaluate` into an existing folder.

        Return how the report of the run presents them; what is not named is presented by the ending of its name.
        """


@runtime_checkable
class SupportsSamples(Protocol):
    """An evaluator that shows how training progresses."""

    def sample(self, folder: Path, step: int) -> Sequence[ReportItem] | None:
        """Write files into ``samples/<name>`` of the run, with ``step-<step>`` in their names.

        Called after each evaluation on "dev". What it returns is as for `Evaluator.write`, and stands for the files of
        all steps.
        """


@runtime_checkable
class SupportsReport(Protocol):
    """A trainer with something to show at the end of training."""

    def write(self, folder: Path) -> Sequence[ReportItem] | None:
        """Write figures and tables into an existing folder, as `Evaluator.write` does."""


@runtime_checkable
class SupportsExampleScores(Protocol):
    """An evaluator whose primary metric is a mean over examples, each of which it judges by itself.

    ``predictions.jsonl`` keeps what it found for the test split, and ``dlpipe compare`` resamples it.
    """

    def example_scores(self) -> ExampleScores | None:
        """Return what the last `evaluate` found for each example; None if it judged only all of them together."""


@runtime_checkable
class SupportsClose(Protocol):
    """A trainer, data or evaluator that holds resources (processes, files)."""

    def close(self) -> None:
        """Release them; called when the stage is over, also after an error."""
