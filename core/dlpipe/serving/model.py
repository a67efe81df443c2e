"""The trained model that a server runs: what kind of items it takes, and the answers for a batch."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Literal

from dlpipe.config.application import application_of, takes_items
from dlpipe.engine.inference import TrainedStage
from dlpipe.engine.prediction import Predictor
from dlpipe.errors import InputError, component_errors
from dlpipe.messages import relative
from dlpipe.protocols import Batch, SupportsContent, SupportsItems, SupportsTextItems
from dlpipe.runs.checkpoint import step_of
from dlpipe.serving.batcher import Answer, Item


class ServedModel:
    """A trained stage whose data takes texts, or the content of files.

    Attributes:
        kind: what the items are.

    Raises:
        InputError: the data takes neither, or the items are for the application of the run.
    """

    def __init__(self, trained: TrainedStage) -> None:
        target = application_of(trained.stage)
        if target and takes_items(target):
            raise InputError(
                f"{relative(trained.run)}: `dlpipe predict` hands the items of this run to {target}, which answers for "
                "all of them together; a server needs a model that answers each item by itself, such as a classifier"
            )
        self._trained, self._data = trained, trained.built.data
        self.kind: Literal["text", "file"] = "file" if isinstance(self._data, SupportsContent) else "text"
        declared = isinstance(self._data, SupportsTextItems) and self._data.text_items
        if not isinstance(self._data, SupportsItems) or (self.kind == "text" and not declared):
            config = trained.stage.data
            raise InputError(
                f'{config.table} use = "{config.component.name}": this data takes no items from a client; expected '
                "data with text_items = True or encode_content(item, content), since a client must not name files"
            )
        self._predictor = Predictor(trained)

    def about(self) -> dict[str, Any]:
        """Return what is served, for ``GET /health``."""
        stage, compute = self._trained.stage, self._trained.built.compute
        return {
            "status": "ready",
            "pipeline": self._trained.pipeline.settings.name,
            "run": self._trained.run.name,
            "stage": stage.name,
            "checkpoint": step_of(self._trained.checkpoint),
            "model": (stage.model or stage.trainer).component.name,
            "data": stage.data.component.name,
            "items": self.kind,
            "device": str(compute.device),
            "precision": str(compute.dtype).removeprefix("torch."),
            "versions": {name: metadata.version(name) for name in ("dlpipe", "torch")}
            | {"python": platform.python_version()},
        }

    def answers(self, items: Sequence[Item]) -> list[Answer | Exception]:
        """Return an answer for each item, or the error that the item causes; all go through the model together.

        Raises:
            ComponentError: the model raises an error.
        """
        found: list[Answer | Exception | Batch] = [self._encoded(item) for item in items]
        good = [number for number, example in enumerate(found) if not isinstance(example, Exception)]
        if good:
            texts, examples = [items[number].text for number in good], [found[number] for number in good]
            answers = self._predictor.together(texts, texts, examples)  # type: ignore[arg-type]
            for number, each in zip(good, answers, strict=True):
                found[number] = each
        return found

    def _encoded(self, item: Item) -> Batch | Exception:
        data = self._data
        try:
            with component_errors(self._trained.stage.data.table):
                if item.content is not None:
                    assert isinstance(data, SupportsContent)
                    return data.encode_content(item.text, item.content)
                assert isinstance(data, SupportsItems)
                return data.encode(item.text)
        except Exception as error:
            return error
