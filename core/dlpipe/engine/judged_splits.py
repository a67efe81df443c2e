"""Which evaluators judge which examples of a stage, as its ``splits`` and ``train_examples`` say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from torch import nn
from torch.utils.data import IterableDataset

from dlpipe.config.pipeline import ComponentConfig, Stage
from dlpipe.engine.build import StageComponents
from dlpipe.errors import InputError
from dlpipe.evaluation.evaluate import evaluate
from dlpipe.evaluation.examples import Examples
from dlpipe.messages import shown
from dlpipe.protocols import Evaluator
from dlpipe.registry.specs import EvaluatorSpec
from dlpipe.splits import TRAIN
from dlpipe.training.judging import Judged


def evaluators_on(split: str, stage: Stage, components: StageComponents) -> dict[str, Evaluator]:
    """Return the evaluators that the pipeline wants on a split."""
    configs = stage.evaluators
    return {name: each for name, each in components.evaluators.items() if split in configs[name].values["splits"]}


def judged_on(split: str, stage: Stage, components: StageComponents) -> list[Judged]:
    """Return the examples of a split that evaluators are to judge, with these; an empty list if none is to."""
    if split == TRAIN:
        return judged_on_train(stage, components)
    evaluators = evaluators_on(split, stage, components)
    return [Judged(evaluators, Examples(components.data, split, components.compute))] if evaluators else []


def judged_on_train(stage: Stage, components: StageComponents, *, limit: int | None = None) -> list[Judged]:
    """Return the training examples that evaluators are to judge; those that judge equally many share a pass.

    Args:
        limit: of `Examples`.

    Raises:
        InputError: the data has no training examples, or a stream of them, which may not end.
    """
    groups: dict[int | None, dict[str, Evaluator]] = defaultdict(dict)
    for name, evaluator in evaluators_on(TRAIN, stage, components).items():
        most = stage.evaluators[name].values["train_examples"]
        _require_examples(stage, components, name, most)
        groups[most][name] = evaluator
    return [
        Judged(evaluators, Examples(components.data, TRAIN, components.compute, limit=limit, most=most))
        for most, evaluators in groups.items()
    ]


def try_on_train(stage: Stage, components: StageComponents, model: nn.Module) -> None:
    """Judge a batch of training examples with each evaluator that is to judge them.

    Raises:
        InputError: it has nothing to say of them, or does not judge as many as the pipeline wants.
    """
    judged_on_train(stage, components)
    for name, evaluator in evaluators_on(TRAIN, stage, components).items():
        config = stage.evaluators[name]
        most = config.values["train_examples"]
        examples = Examples(components.data, TRAIN, components.compute, limit=1, most=most)
        metrics = evaluate(model, {name: evaluator}, examples, stage=stage.name)
        if not metrics:
            raise InputError(
                f"{_splits_of(config)}: {config.component.name} gives no metrics, and its figures show the test split; "
                'remove "train"'
            )
        if most is not None and not examples.used:
            raise InputError(
                f"{config.table} train_examples = {most}: {config.component.name} does not judge one example after the "
                "other, but always the whole split; remove train_examples"
            )


def notes_on_train(stage: Stage, components: StageComponents) -> Iterator[str]:
    """Yield which evaluators judge a part of the training examples only."""
    for name in evaluators_on(TRAIN, stage, components):
        config = stage.evaluators[name]
        most, split = config.values["train_examples"], components.data.split(TRAIN)
        if most is None:
            continue
        if isinstance(split, IterableDataset):
            yield f"{config.table} judges the first {most:,} training examples"
        elif most < len(split):  # type: ignore[arg-type]
            count = f"{most:,} of {len(split):,}"  # type: ignore[arg-type]
            yield f"{config.table} judges {count} training examples, always the same ones"


def _splits_of(config: ComponentConfig[EvaluatorSpec]) -> str:
    return f"{config.table} splits = {shown(list(config.values['splits']))}"


def _require_examples(stage: Stage, components: StageComponents, name: str, most: int | None) -> None:
    config, data = stage.evaluators[name], components.data
    place = _splits_of(config)
    if TRAIN not in data.splits:
        raise InputError(f'{place}: the data has no split "train"; it has {", ".join(data.splits)}')
    split = data.split(TRAIN)
    if isinstance(split, IterableDataset):
        if most is None:
            raise InputError(
                f"{place}: the training split of {stage.data.component.name} is a stream, which may not end; say how "
                "many of its examples to judge, such as train_examples = 1000"
            )
    elif not hasattr(split, "__len__"):
        raise InputError(
            f"{place}: the training split of {stage.data.component.name} has no examples that could be judged; "
            'remove "train"'
        )
