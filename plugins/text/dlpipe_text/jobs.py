"""Cut a corpus into jobs of sentences, as gensim does, and read them ahead in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from queue import Full, Queue
from typing import Generic, TypeVar

from dlpipe_text.corpus import Corpus

T = TypeVar("T")
Sentence = list[str]
#: How often a thread that waits looks whether it should stop.
PATIENCE_S = 0.1


@dataclass(frozen=True)
class Job:
    """Sentences to train on together.

    Args:
        epoch: counted from 0.
        progress: share of the sentences of the epoch that come before the job.
    """

    sentences: list[Sentence]
    epoch: int
    progress: float


class Jobs:
    """The jobs of a corpus, epoch after epoch, in the order of the corpus.

    Args:
        corpus: read once to count its words, and once for each epoch.
        job_words: words of a job; a longer sentence is a job of its own.
    """

    def __init__(self, corpus: Corpus, job_words: int) -> None:
        self._corpus, self._job_words = corpus, job_words
        lengths = corpus.vocabulary.lengths
        self._sizes = [len(job) for job in batched(([None] * length for length in lengths), job_words)]
        self.per_epoch = len(self._sizes)

    def __call__(self, start: int) -> Iterator[Job]:
        """Yield the jobs from number `start` on, without an end; the jobs of the same epoch before it are skipped."""
        first_epoch, first = divmod(start, self.per_epoch)
        for epoch in count(first_epoch):
            done = 0
            for number, sentences in enumerate(batched(self._corpus.sentences(), self._job_words)):
                if number >= first:
                    yield Job(sentences, epoch, done / len(self._corpus.vocabulary.lengths))
                done += len(sentences)
            first = 0


def batched(sentences: Iterable[list[T]], most: int) -> Iterator[list[list[T]]]:
    """Yield lists of sentences with at most `most` words together.

    As in gensim, the first list is empty if the first sentence is longer.
    """
    batch: list[list[T]] = []
    size = 0
    for sentence in sentences:
        if size + len(sentence) > most:
            yield batch
            batch, size = [], 0
        batch.append(sentence)
        size += len(sentence)
    if batch:
        yield batch


class Ahead(Generic[T]):
    """What an iterator yields, read ahead in a thread.

    Args:
        source: consumed in the thread; what it raises is raised by `next`.
        size: items that are read ahead.
    """

    def __init__(self, source: Iterator[T], size: int) -> None:
        self._queue: Queue[tuple[T | None, BaseException | None]] = Queue(size)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(source,), daemon=True)
        self._thread.start()

    def next(self) -> T:
        """Return the next item."""
        item, error = self._queue.get()
        if error is not None:
            raise error
        assert item is not None  # the sources have no end
        return item

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        self._thread.join()

    def _read(self, source: Iterator[T]) -> None:
        try:
            for item in source:
                if not self._put((item, None)):
                    return
        except BaseException as error:  # raised where it is waited for
            self._put((None, error))

    def _put(self, item: tuple[T | None, BaseException | None]) -> bool:
        """Put an item into the queue, and return whether it is still wanted."""
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=PATIENCE_S)
            except Full:
                continue
            return True
        return False
