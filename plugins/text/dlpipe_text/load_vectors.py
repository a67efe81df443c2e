"""Take over word vectors that others have learned: a run of one step, usable like one that has learned its own."""

from __future__ import annotations

from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.protocols import Data
from dlpipe.training import OneStep
from dlpipe_text.vector_file import VectorFile
from dlpipe_text.word_vectors import WordVectors


class LoadVectors(OneStep):
    """Set the vectors of text.word_vectors to those of text.vector_file."""

    def __init__(self, model: nn.Module, data: Data) -> None:
        if not isinstance(model, WordVectors) or not isinstance(data, VectorFile):
            raise InputError(
                f"text.load_vectors got a model of type {type(model).__name__} and data of type {type(data).__name__}; "
                "expected text.word_vectors and text.vector_file"
            )
        super().__init__(model)
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
        self._table, self._vectors = model.vectors, vectors

    def step(self) -> dict[str, Tensor]:
        """Set the vectors; there are no metrics."""
        self._table.copy_(self._vectors)
        return {}
