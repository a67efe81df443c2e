"""Questions about short stories, as tensors.

The words and the answers come from the training split. Any other word becomes "other". An answer that occurs only in
another split cannot be predicted: the targets leave its question out, and `text.question_answering`, which compares the
answers themselves, counts it as wrong.
Axes: N questions, T words of a story and its question, S sentences with the question, which is the last one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from dlpipe.data import IGNORE_INDEX, Columns, Ragged, class_answer
from dlpipe.errors import DataError, InputError
from dlpipe.messages import Weighted
from dlpipe_text.iob import MAX_WORDS, quoted
from dlpipe_text.text_units import letters_of
from dlpipe_text.vocabulary import Learned, unknown_units, vocabulary
from dlpipe_text.word_features import OTHER, PADDING

_END = re.compile(r"[.!?\n]+")
EXAMPLE = '"Mary walked to the garden. Where is Mary?"'


@runtime_checkable
class SupportsSentenceAttention(Protocol):
    """A model that looks at the sentences of a story, such as a memory network."""

    def sentence_attention(self, tokens: Tensor, sentence_sizes: Tensor) -> Tensor:
        """Return the attention of each hop to each sentence, (B, K, S)."""


@dataclass(frozen=True)
class Question:
    """A question about a story.

    Args:
        story: the sentences before the question.
        question: without the question mark.
        answer: one of the answers of the training split, if it can be learned.
        facts: the numbers of the sentences, from 0, that the answer follows from; empty if that is not known.
        kind: the name of the task, for scores of its own.
    """

    story: Sequence[str]
    question: str
    answer: str
    facts: Sequence[int]
    kind: str

    @property
    def item(self) -> str:
        """The story and the question as a person types them."""
        return " ".join([*(f"{sentence}." for sentence in self.story), f"{self.question}?"])


class QuestionData:
    """Data for answering questions, each with an answer from a list. Files are read when they are needed.

    Args:
        read: returns the questions of a split.
        splits: names of the splits.
        min_count: words that occur less often in training become "other".

    All words are converted to lower case, and marks are left out.
    """

    text_items = True
    paddings: ClassVar[Mapping[str, float]] = {"tokens": PADDING, "sentence_sizes": 0}

    def __init__(self, read: Callable[[str], Sequence[Question]], splits: Sequence[str], *, min_count: int = 1) -> None:
        self.splits = tuple(splits)
        self._read, self._min_count = read, min_count
        self._questions: dict[str, Sequence[Question]] = {}
        self._columns: dict[str, Columns] = {}
        self._words: dict[str, list[str]] = {}
        self._known: Learned | None = None

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return ``vocabulary``, which contains the answers, ``vocab_size``, ``labels`` and ``num_classes``."""
        known = self._learned()
        return {
            "vocabulary": known["words"],
            "vocab_size": len(known["words"]),
            "labels": known["labels"],
            "num_classes": len(known["labels"]),
        }

    def questions(self, split: str) -> Sequence[Question]:
        """Return the questions of a split."""
        if split not in self._questions:
            self._questions[split] = self._read(split)
        return self._questions[split]

    def names(self, split: str) -> list[str]:
        """Return the questions of a split, with the ends of their stories."""
        items = (question.item for question in self.questions(split))
        return [item if len(item) <= 100 else f"...{item[-97:]}" for item in items]

    def split(self, name: str) -> Columns:
        """Return tokens (N, T), sentence_sizes (N, S), the number of words of each sentence, and targets (N,)."""
        if name not in self._columns:
            questions = self.questions(name)
            labels = self._learned().ids("labels")
            encoded = [self._encoded(list(map(self._words_of, _sentences(each))), DataError) for each in questions]
            columns: dict[str, Tensor | Ragged] = {
                column: Ragged(
                    torch.tensor([*chain.from_iterable(each[column] for each in encoded)]),
                    torch.tensor([len(each[column]) for each in encoded]),
                    padding=padding,
                )
                for column, padding in self.paddings.items()
            }
            targets = [labels.get(each.answer.lower(), IGNORE_INDEX) for each in questions]
            self._columns[name] = Columns({**columns, "targets": torch.tensor(targets)})
        return self._columns[name]

    def encode(self, item: str) -> dict[str, Tensor]:
        """Convert a story and a question to tokens (T,) and sentence_sizes (S,).

        Raises:
            InputError: there is no question at the end or no sentence before it, or it is too long for a batch.
        """
        encoded = self._encoded(list(map(letters_of, _typed(item))), InputError)
        return {name: torch.tensor(values) for name, values in encoded.items()}

    def present(
        self,
        item: str,
        prediction: Tensor,
        probabilities: Tensor | None,
        model: nn.Module,
        example: Mapping[str, Tensor],
        top: int = 0,
        explain: bool = False,
    ) -> dict[str, Any]:
        """Return the answer, its probability, and which words are not in the vocabulary, and what share they are.

        To explain it, also the sentences with the attention that each gets, for each hop of a memory network.
        """
        sentences = _typed(item)
        answer = class_answer(self._learned()["labels"], prediction, probabilities, top)
        answer |= unknown_units([*chain.from_iterable(map(letters_of, sentences))], self._learned().ids("words"))
        if explain and isinstance(model, SupportsSentenceAttention):
            device = next(model.parameters()).device
            batch = {name: values[None].to(device) for name, values in example.items()}
            with torch.inference_mode():
                attention = model.sentence_attention(**batch)[0]
            texts = [f"{' '.join(letters_of(sentence))}. " for sentence in sentences[:-1]]
            for hop, weights in enumerate(attention[:, : len(texts)].tolist(), start=1):
                answer[f"hop_{hop}"] = list(map(Weighted, texts, weights))
        return answer

    def state(self) -> dict[str, Any]:
        """Return the words and the answers, each ordered by id."""
        return dict(self._learned())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what `state` returned."""
        self._known, self._columns = Learned({name: state[name] for name in ("words", "labels")}), {}

    def fingerprint(self) -> str:
        """Return a digest of all questions of all splits."""
        digest = hashlib.sha256()
        for split in self.splits:
            for each in self.questions(split):
                digest.update(f"{split}\t{each.kind}\t{each.item}\t{each.answer}\t{[*each.facts]}\n".encode())
        return digest.hexdigest()[:16]

    def _learned(self) -> Learned:
        if self._known is None:
            questions = self.questions("train")
            labels = sorted({each.answer.lower() for each in questions})
            if len(labels) < 2:
                raise DataError(
                    f"all {len(questions)} training questions have the answer {', '.join(map(quoted, labels))}; "
                    "expected at least two answers, such as yes and no. Check the files"
                )
            words = chain.from_iterable(self._words_of(sentence) for each in questions for sentence in _sentences(each))
            known = vocabulary(words, self._min_count, "word")
            # A memory network scores answers by vectors of words, also those that no story has ("yes").
            answers = sorted(set(labels) - set(known))
            self._known = Learned({"words": [*known, *answers], "labels": labels})
        return self._known

    def _words_of(self, sentence: str) -> list[str]:
        """Return the words of a sentence; the same sentence occurs in many stories."""
        if sentence not in self._words:
            self._words[sentence] = letters_of(sentence.lower())
        return self._words[sentence]

    def _encoded(
        self, sentences: Sequence[Sequence[str]], error: type[DataError] | type[InputError]
    ) -> dict[str, list[int]]:
        """Return the ids of the words of sentences, and the number of words of each."""
        known = self._learned().ids("words")
        tokens = [known.get(word, OTHER) for sentence in sentences for word in sentence]
        if len(tokens) > MAX_WORDS:
            raise error(
                f"a story has {len(tokens):,} words ({quoted(' '.join(sentences[0]))}); expected at most "
                f"{MAX_WORDS:,}, since a batch is padded to its longest story. Leave out its first sentences"
            )
        return {"tokens": tokens, "sentence_sizes": list(map(len, sentences))}


def _sentences(question: Question) -> list[str]:
    return [*question.story, question.question]


def _typed(item: str) -> list[str]:
    """Split an item into its sentences in lower case, the question last.

    Raises:
        InputError: there is no question at the end, or no sentence before it.
    """
    sentences = [part for part in _END.split(item.lower()) if letters_of(part)]
    if not item.rstrip().endswith("?"):
        raise InputError(f'{quoted(item)} does not end with "?"; expected a story and a question, such as {EXAMPLE}')
    if len(sentences) < 2:
        raise InputError(f"{quoted(item)} has no sentence before the question; expected both, such as {EXAMPLE}")
    return sentences
