"""Who judges the model while it is trained, and on which examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from dlpipe.compute import randomness, restore_randomness
from dlpipe.config.pipeline import table_name
from dlpipe.evaluation.evaluate import evaluate, write_files
from dlpipe.evaluation.examples import Examples
from dlpipe.progress import activity
from dlpipe.protocols import Evaluator, SupportsSamples


@dataclass(frozen=True)
class Judged:
    """Examples, and the evaluators that judge the model on them."""

    evaluators: Mapping[str, Evaluator]
    examples: Examples


class Judges:
    """All evaluations that follow a step of the training.

    Args:
        dev: who judges the dev split; None if nobody does.
        train: who judges training examples, all of them or some.
        stage: name of the stage, for error messages.
    """

    def __init__(self, dev: Judged | None, train: Sequence[Judged], stage: str) -> None:
        # The last one is dev: an evaluator draws samples of what it judged last.
        self._all = [*train, *([dev] if dev else [])]
        self._dev, self._train, self._stage = dev, train, stage

    def __bool__(self) -> bool:
        return bool(self._all)

    @property
    def on_dev(self) -> Mapping[str, Evaluator]:
        """The evaluators that judge the dev split."""
        return self._dev.evaluators if self._dev else {}

    def evaluate(self, model: nn.Module) -> dict[str, dict[str, float]]:
        """Return the metrics by split, then by ``<split>/<evaluator>/<metric>``.

        An evaluation of training examples leaves the random number generators as they were: it has no influence on
        the training, and none on the evaluation on dev.
        """
        found: dict[str, dict[str, float]] = {}
        before = randomness()
        for each in self._all:
            if each is self._dev:
                restore_randomness(before)
            metrics = evaluate(model, each.evaluators, each.examples, stage=self._stage)
            found[each.examples.split] = found.get(each.examples.split, {}) | metrics
        if self._dev is None:
            restore_randomness(before)
        return found

    def primary(self) -> Iterator[str]:
        """Yield the names of the metrics that decide, of each split; those of dev are the first ones."""
        for each in (*([self._dev] if self._dev else []), *self._train):
            for name, evaluator in each.evaluators.items():
                if evaluator.primary:
                    yield f"{each.examples.split}/{name}/{evaluator.primary}"

    def write_samples(self, folder: Path, step: int, warn: Callable[[str], None]) -> None:
        """Let the evaluators of the dev split write what shows how training progresses."""
        if self._dev is None:
            return
        for name, evaluator in self._dev.evaluators.items():
            if isinstance(evaluator, SupportsSamples):
                self._dev.examples.check_stop()
                sample = partial(evaluator.sample, step=step)
                with activity(f"writing samples: {name}"):
                    write_files(sample, folder / name, table_name(self._stage, "evaluators", name), warn)
