"""Take over word vectors that others have learned: a run of one step, usable like one that has learned its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.protocols import Data
from dlpipe_text.vector_file import VectorFile
from dlpipe_text.word_vectors import WordVectors


class LoadVectors:
    """Set the vectors of text.word_vectors to those of text.vector_file in one step; further steps repeat it."""

    steps_per_epoch = 1

    def __init__(self, model: nn.Module, data: Data) -> None:
        if not isinstance(model, WordVectors) or not isinstance(data, VectorFile):
            raise InputError(
                f"text.load_vectors got a model of type {type(model).__name__} and data of type {type(data).__name__}; "
                "expected text.word_vectors and text.vector_file"
            )
        self.model = model
        vectors = data.split("train").columns["vectors"]
        assert isinstance(vectors, Tensor)
        if vectors.shape != model.vectors.shape:
            size, wanted = vectors.size(1), model.vectors.size(1)
            raise InputError(
                f"the vectors of the file have {size} numbers, those of the model {wanted}; set vector_size = {size} "
                "in the table of the model"
            )
        if model.subwords:
            raise InputError("a file has no vectors of letter n-grams; set subwords = false in the table of the model")
        self._vectors = vectors

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Set the vectors and yield nothing to log."""
        while True:
            self.model.vectors.copy_(self._vectors)
            yield {}

    def log_values(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    def on_score(self, score: float, goal: Literal["max", "min"]) -> None:
        """Ignore the score."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: a step depends on the file only."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore nothing."""
