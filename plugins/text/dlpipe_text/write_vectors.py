"""Write word vectors as a file that gensim and most other programs read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from dlpipe.evaluation import Examples
from dlpipe_text.analogies import vectors_and_data

FILES = {"text": "vectors.txt", "binary": "vectors.bin"}


class WriteVectors:
    """Write the vectors in the format of word2vec, for ``gensim.models.KeyedVectors.load_word2vec_format(path)``.

    Blanks in words, which end a word in this format, become "_".

    Args:
        format: text (``vectors.txt``), or 32-bit floats (``vectors.bin``; ``binary=True`` for gensim).
    """

    primary: None = None
    goal: Literal["max"] = "max"

    def __init__(self, *, format: Literal["text", "binary"] = "text") -> None:
        self._format = format
        self._words: list[str] = []
        self._vectors: NDArray[np.float32] = np.zeros((0, 0), np.float32)

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return nothing; the split has no influence."""
        vectors, data = vectors_and_data("text.write_vectors", model, examples)
        self._words, self._vectors = data.vocabulary.words, vectors.vectors.detach().cpu().numpy()
        return {}

    def write(self, folder: Path) -> None:
        """Write the vectors of the last `evaluate`, the most frequent word first."""
        if changed := [word for word in self._words if " " in word]:
            warnings.warn(
                f'{len(changed)} words contain blanks, such as "{changed[0]}"; {FILES[self._format]} has "_" in their '
                "place",
                stacklevel=2,
            )
        with (folder / FILES[self._format]).open("wb") as file:
            file.write(f"{len(self._words)} {self._vectors.shape[1]}\n".encode())
            file.writelines(self._records())

    def _records(self) -> Iterator[bytes]:
        for name, vector in zip(self._words, self._vectors, strict=True):
            word = name.replace(" ", "_")
            if self._format == "text":
                yield f"{word} {' '.join(map(str, vector))}\n".encode()
            else:
                yield word.encode() + b" " + vector.astype("<f4").tobytes() + b"\n"
