"""Subwords by byte-pair encoding: frequent words are one unit, others several.

Source: Sennrich, Haddow & Birch 2016, "Neural Machine Translation of Rare Words with Subword Units",
https://aclanthology.org/P16-1162, as computed by sentencepiece.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable
from typing import Any

from dlpipe.errors import InputError

#: Longer training texts are cut, as sentencepiece would leave them out.
MAX_BYTES = 100_000


#: What sentencepiece says of too few subwords.
_TOO_FEW = re.compile(r"\d+ vs (\d+)")


class Subwords:
    """Splits texts into subwords.

    Args:
        model: what `learn` returned.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self._processor = _sentencepiece().SentencePieceProcessor(model_proto=base64.b64decode(model))

    def __call__(self, text: str) -> list[str]:
        """Return the subwords of a text; characters that were unknown when they were learned are units, too."""
        pieces: list[str] = self._processor.encode(text, out_type=str)
        return pieces


def learn(texts: Iterable[str], count: int, *, what: str) -> str:
    """Learn subwords of texts, and return them as a string.

    Args:
        count: how many subwords there are at most.
        what: of what they are, for messages.

    Raises:
        InputError: there are more characters than that, or sentencepiece is not installed.
    """
    package, written = _sentencepiece(), io.BytesIO()
    try:
        package.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=written,
            model_type="bpe",
            vocab_size=count,
            hard_vocab_limit=False,
            character_coverage=1.0,
            # Texts stay as they are: no other form of Unicode, and the same number of blanks.
            normalization_rule_name="identity",
            max_sentence_length=MAX_BYTES,
            bos_id=-1,
            eos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        found = _TOO_FEW.search(str(error))
        if not found:
            raise
        raise InputError(
            f"num_subwords = {count}: the {what} have more different characters; expected at least {found[1]}"
        ) from error
    return base64.b64encode(written.getvalue()).decode()


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise InputError(
            f'unit = "subword" needs the package sentencepiece, which cannot be imported ({error}); install with: '
            'pip install sentencepiece; or set unit = "word" or "char"'
        ) from error
    return sentencepiece
