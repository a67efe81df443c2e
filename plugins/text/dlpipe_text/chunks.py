"""Find chunks (slots, entities) in tag sequences and count them as conlleval does.

Source: Tjong Kim Sang and Buchholz 2000, "Introduction to the CoNLL-2000 Shared
Task: Chunking", https://aclanthology.org/W00-0726, and its script conlleval.
Departs from it: fractions instead of percentages; a tag other than O, B-x or I-x is
an error. conlleval reads it as a chunk or as O, depending on its neighbors.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

Chunk = tuple[str, int, int]  # type, start, end (exclusive), counted in tokens
OUTSIDE = "O"


@dataclass
class ChunkScore:
    """Numbers of gold, predicted and correct chunks; correct means the same type, start and end."""

    correct: int = 0
    gold: int = 0
    predicted: int = 0

    @property
    def precision(self) -> float:
        """Share of the predicted chunks that are correct; 0.0 if none was predicted."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of the gold chunks that were found; 0.0 if there are none."""
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0.0 if both are 0."""
        return 2 * self.correct / (self.gold + self.predicted) if self.correct else 0.0


class ChunkCounter:
    """Compare predicted with gold tags, sentence by sentence.

    Attributes:
        confusion: number of tokens by (gold type, predicted type). Correct tokens and
            tokens outside any chunk ("O") are included, so the values add up to the
            number of tokens.
    """

    def __init__(self) -> None:
        self.confusion: Counter[tuple[str, str]] = Counter()
        self._scores: defaultdict[str, ChunkScore] = defaultdict(ChunkScore)
        self._correct_tokens = 0

    def add(self, gold_tags: Sequence[str], predicted_tags: Sequence[str]) -> None:
        """Count one sentence."""
        if len(gold_tags) != len(predicted_tags):
            raise ValueError(
                f"gold_tags has {len(gold_tags)} tags, but predicted_tags has "
                f"{len(predicted_tags)}; expected one gold and one predicted tag per token"
            )
        gold, predicted = set(chunks(gold_tags)), set(chunks(predicted_tags))
        for kind, _, _ in gold:
            self._scores[kind].gold += 1
        for kind, _, _ in predicted:
            self._scores[kind].predicted += 1
        for kind, _, _ in gold & predicted:
            self._scores[kind].correct += 1
        for gold_tag, predicted_tag in zip(gold_tags, predicted_tags, strict=True):
            self._correct_tokens += gold_tag == predicted_tag
            self.confusion[_type_of(gold_tag), _type_of(predicted_tag)] += 1

    @property
    def overall(self) -> ChunkScore:
        """Counts of all types together (micro average)."""
        scores = self._scores.values()
        return ChunkScore(
            correct=sum(score.correct for score in scores),
            gold=sum(score.gold for score in scores),
            predicted=sum(score.predicted for score in scores),
        )

    @property
    def per_type(self) -> dict[str, ChunkScore]:
        """Counts of each type in the gold or predicted tags, sorted by name."""
        return dict(sorted(self._scores.items()))

    @property
    def token_accuracy(self) -> float:
        """Share of the tokens whose whole tag is correct; 0.0 before any token."""
        num_tokens = self.confusion.total()
        return self._correct_tokens / num_tokens if num_tokens else 0.0


def chunks(tags: Sequence[str]) -> list[Chunk]:
    """Find the chunks in the tags of one sentence, including malformed ones.

    A chunk starts at every B-x, and at every I-x that does not follow a B-x or I-x of
    the same type. So after O, or where the type changes, I-x counts as B-x.
    """
    found = []
    start, current = 0, None  # current: type of the open chunk, None outside
    for position, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if tag != OUTSIDE and prefix not in ("B", "I"):
            raise ValueError(
                f'tags[{position}] = "{tag}": expected O, B-<type> or I-<type>. Convert other schemes to IOB2 first'
            )
        if prefix == "I" and kind == current:
            continue
        if current is not None:
            found.append((current, start, position))
        start, current = position, None if tag == OUTSIDE else kind
    if current is not None:
        found.append((current, start, len(tags)))
    return found


def _type_of(tag: str) -> str:
    return tag if tag == OUTSIDE else tag.partition("-")[2]
