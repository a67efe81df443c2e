"""Asking a trained run about items: an answer, or the error, for each of them."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from dlpipe.config.application import application_of
from dlpipe.data.columns import columns_of
from dlpipe.data.item_files import files_below
from dlpipe.data.model_caller import ModelCaller, outputs_of_example
from dlpipe.engine.inference import TrainedStage
from dlpipe.errors import DlpipeError, InputError, PluginError, component_errors, in_words, is_out_of_memory
from dlpipe.items import FailedItem, Item
from dlpipe.progress import tracked
from dlpipe.protocols import Batch, SupportsExpand, SupportsItems, SupportsPaddings, SupportsTextItems

Answer = dict[str, Any]
#: The files of a folder that data of texts reads: each is one item.
TEXT_FILES = (".txt",)


def predict(
    trained: TrainedStage,
    items: Iterable[Item | FailedItem | tuple[str, str]],
    *,
    top: int = 0,
    explain: bool = False,
) -> Iterator[Answer | FailedItem]:
    """Yield an answer for each item, or why it could not be used, in order.

    Batches of items go through the model together. One bad item does not spoil the answers of the others. If `items`
    is a list, folders in it are listed first, so that the progress can say how much is left; what is read from an
    iterator is never in memory as a whole.

    Args:
        items: each with the place that it came from, such as ``("line 3", "leave taipei")``.
        top: also list this many of the most probable classes; 0 lists none.
        explain: also say why, where the data can: see `dlpipe.protocols.SupportsItems.present`.

    Raises:
        InputError: the data takes no items, or has not as many classes as `top`.
    """
    predictor = Predictor(trained, top=top, explain=explain)
    given = (each if isinstance(each, FailedItem) else Item(*each) for each in items)
    found: Iterable[Item | FailedItem] = predictor.expanded(given)
    if isinstance(items, Sequence):
        found = list(found)
    total = len(found) if isinstance(found, list) else None
    yield from tracked(predictor.each(iter(found)), "predicting", total)


class Predictor:
    """Answers items with a trained model.

    Args:
        top: also list this many of the most probable classes; 0 lists none.
        explain: also say why, where the data can.

    Raises:
        InputError: the data takes no items, or has not as many classes as `top`.
    """

    def __init__(self, trained: TrainedStage, *, top: int = 0, explain: bool = False) -> None:
        data = trained.built.data
        if not isinstance(data, SupportsItems):
            next_step = (
                "run `dlpipe predict` without any"
                if application_of(trained.stage)
                else "dlpipe asks its methods encode(item) and present(item, prediction) for that"
            )
            raise InputError(f"{type(data).__name__} cannot encode items; {next_step}")
        self._trained, self._data, self._stage = trained, data, trained.stage
        self._asks = inspect.signature(data.present).parameters
        self._more: Mapping[str, Any] = {"model": trained.model, "top": top, "explain": explain}
        self._size = trained.built.compute.evaluation_batch_size
        self._grows: bool | None = None  # not known yet
        if top:
            self._require_classes(top)

    def _require_classes(self, top: int) -> None:
        config, facts = self._stage.data, self._trained.built.data.facts
        count = len(facts["labels"]) if "labels" in facts else facts.get("num_classes")
        if "top" not in self._asks or not count:
            raise InputError(
                f'{config.table} use = "{config.component.name}": the answers of this data are no classes with '
                "probabilities; leave out --top"
            )
        if top > count:
            raise InputError(f"--top {top}: this model has {count} classes; expected at most {count}")

    def expanded(self, items: Iterable[Item | FailedItem]) -> Iterator[Item | FailedItem]:
        """Yield the single items that items stand for, such as the images in a folder."""
        data = self._data
        texts = isinstance(data, SupportsTextItems) and data.text_items
        for item in items:
            if isinstance(item, FailedItem):
                yield item
                continue
            try:
                with component_errors(self._stage.data.table):
                    if texts and item.argument and _is_folder(item.text):
                        yield from _texts_in(item)
                    elif isinstance(data, SupportsExpand) and item.text:  # the path "" is the current folder
                        for part in data.expand(item.text):
                            yield item if part == item.text else Item(part, part, item.name)
                    else:
                        yield item
            except DlpipeError as error:
                yield FailedItem(item.place, item.shown, error)
            except OSError as error:  # a folder that cannot be listed
                yield FailedItem(item.place, item.shown, InputError(in_words(error)))

    def each(self, items: Iterator[Item | FailedItem]) -> Iterator[Answer | FailedItem]:
        """Yield an answer for each item, or why it could not be used."""
        while chunk := list(islice(items, self._size)):
            encoded = [item if isinstance(item, FailedItem) else self._encoded(item) for item in chunk]
            good = [number for number, example in enumerate(encoded) if not isinstance(example, FailedItem)]
            answers = iter(self._isolated([chunk[n] for n in good], [encoded[n] for n in good]))  # type: ignore[misc]
            for example in encoded:
                yield example if isinstance(example, FailedItem) else next(answers)

    def _encoded(self, item: Item) -> Batch | FailedItem:
        try:
            with component_errors(self._stage.data.table):
                example = self._data.encode(item.text)
            if not isinstance(example, Mapping) or not all(isinstance(each, torch.Tensor) for each in example.values()):
                raise PluginError(
                    f"{self._stage.data.table} encode() returned {_kind(example)}; expected a dict of tensors by column"
                )
            return example
        except DlpipeError as error:
            return FailedItem(item.place, item.shown, error)

    def _isolated(self, items: Sequence[Item], examples: Sequence[Batch]) -> list[Answer | FailedItem]:
        """Answer items together or, where that fails, each half by itself: one of them may be the cause."""
        if not items:
            return []
        try:
            found = self.together([item.shown for item in items], [item.text for item in items], examples)
        except DlpipeError as error:
            out_of_memory = error.__cause__ is not None and is_out_of_memory(error.__cause__)
            if len(items) == 1:
                reason = InputError("out of memory with this item alone") if out_of_memory else error
                return [FailedItem(items[0].place, items[0].shown, reason)]
        else:
            return [
                FailedItem(item.place, item.shown, each) if isinstance(each, DlpipeError) else each
                for item, each in zip(items, found, strict=True)
            ]
        # Not in the handler: there the traceback still holds the tensors of the pass that failed.
        half = (len(items) + 1) // 2
        if out_of_memory:
            self._take_at_most(half, len(items))
        return self._isolated(items[:half], examples[:half]) + self._isolated(items[half:], examples[half:])

    def _take_at_most(self, size: int, before: int) -> None:
        if size < self._size:
            warnings.warn(f"out of memory with {before} items at once; continuing with {size}", stacklevel=2)
            self._size = size
        if self._trained.built.compute.device.type == "cuda":
            torch.cuda.empty_cache()

    def together(
        self, names: Sequence[str], texts: Sequence[str], examples: Sequence[Batch]
    ) -> list[Answer | DlpipeError]:
        """Return the answer for each item, or the error in presenting it; all go through the model together.

        Args:
            names: what the answers call the items.
            texts: the items.
            examples: the encoded items.

        Raises:
            DlpipeError: they do not fit together, or the model raises an error.
        """
        with component_errors((self._stage.model or self._stage.trainer).table):
            batch, outputs, predictions, probabilities = self._outputs(list(examples))
            lengths = self._lengths(examples, batch, predictions)
        found: list[Answer | DlpipeError] = []
        for row, (name, text) in enumerate(zip(names, texts, strict=True)):
            prediction = predictions[row].cpu()
            known = None if probabilities is None else probabilities[row]
            if lengths is not None:
                prediction, known = prediction[: lengths[row]], None if known is None else known[: lengths[row]]
            more = {**self._more, "probabilities": known, "example": examples[row]}
            asked = {key: value for key, value in more.items() if key in self._asks}
            try:
                if "outputs" in self._asks:
                    asked["outputs"] = outputs_of_example(outputs, row, len(examples))
                with component_errors(self._stage.data.table):
                    presented = self._data.present(text, prediction, **asked)
                _require_plain(presented, self._stage.data.table)
                found.append({"item": name, **presented})
            except DlpipeError as error:
                found.append(error)
        return found

    def _lengths(self, examples: Sequence[Batch], batch: Batch, predictions: torch.Tensor) -> list[int] | None:
        """Return how long the predictions of items are without their padding; None if they have none.

        A prediction has an element for each position of its sequence, or some more or fewer, if it gets longer with it.
        One batch does not show that; a shorter item alone does, and is asked for once.
        """
        if "lengths" not in batch or predictions.dim() < 2:
            return None
        lengths: list[int] = batch["lengths"].tolist()
        more = predictions.shape[1] - max(lengths)
        if min(lengths) == max(lengths):
            return None
        if self._grows is None:
            shorter = max(length for length in lengths if length < max(lengths))
            try:
                alone = self._outputs([examples[lengths.index(shorter)]])[2]
            except Exception:  # a model may need longer items than this one alone
                return None if more else lengths
            self._grows = alone.dim() > 1 and alone.shape[1] == shorter + more
        return [length + more for length in lengths] if self._grows else None

    def _outputs(self, examples: list[Batch]) -> tuple[Batch, Any, torch.Tensor, torch.Tensor | None]:
        """Return the batch of some examples, and of each the outputs, the prediction and the probabilities."""
        model, data = self._trained.model, self._data
        compute = self._trained.built.compute
        paddings = data.paddings if isinstance(data, SupportsPaddings) else {}
        columns = columns_of(examples, {name: paddings[name] for name in examples[0] if name in paddings})
        columns = columns.to(compute.device)
        rows = torch.arange(len(examples))
        batch = columns.batch(rows, rows.to(columns.device))
        caller = ModelCaller(model, tuple(batch))
        model.eval()
        with torch.inference_mode():
            with compute.autocast():
                outputs = caller.outputs(batch)
            outputs = compute.in_float32(outputs)
            predictions = caller.predictions(outputs, batch)
            asked = "probabilities" in self._asks
            probabilities = caller.probabilities(outputs, predictions, batch) if asked else None
        return batch, outputs, predictions, None if probabilities is None else probabilities.cpu()


def _kind(value: Any) -> str:
    """Return what a value is, for a message: of a dict, the first part that is no tensor."""
    if not isinstance(value, Mapping):
        return type(value).__name__
    name = next(name for name, each in value.items() if not isinstance(each, torch.Tensor))
    return f"{name!r} as {type(value[name]).__name__}"


def _require_plain(presented: Any, table: str) -> None:
    """Refuse an answer that cannot be written.

    Raises:
        PluginError: it is no dict of plain values.
    """
    expected = "expected a dict of plain values: numbers, strings, lists and dicts"
    if not isinstance(presented, dict):
        raise PluginError(f"{table} present() returned {presented!r}; {expected}")
    try:
        json.dumps(presented)
    except (TypeError, ValueError) as error:
        raise PluginError(f"{table} present() returned what cannot be written ({error}); {expected}") from error


def _is_folder(text: str) -> bool:
    with suppress(OSError, ValueError):  # a long text is no name of a file
        return bool(text) and Path(text).is_dir()
    return False


def _texts_in(folder: Item) -> Iterator[Item | FailedItem]:
    """Yield the content of each text file in a folder and its subfolders, named by the file.

    Raises:
        InputError: there is none, or the folder is not named as one.
    """
    if not folder.text.endswith("/"):
        raise InputError(
            f'"{folder.text}" is a folder; write "{folder.text}/" for the texts in it, or give this text on standard '
            "input"
        )
    for path in files_below(Path(folder.text), TEXT_FILES, "text"):
        try:
            yield Item(str(path), path.read_bytes().decode("utf-8-sig").rstrip("\r\n"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or f"it is not UTF-8 text: {error}"
            yield FailedItem(str(path), str(path), InputError(f"cannot be read: {reason}"))
