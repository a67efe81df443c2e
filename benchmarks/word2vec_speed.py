"""The time of an epoch of word2vec in dlpipe, compared with gensim called directly.

    python benchmarks/word2vec_speed.py [--path CORPUS] [--rounds 5] [--workers 1 2]

Both read the same corpus, a file or generated sentences, through the same iterator, and train skip-gram with negative
sampling for one epoch, vocabulary excluded. They take turns, so that drifts in the speed of the machine affect both;
the first turn is not counted. The output is wall and CPU time, the medians over rounds, and the ratios to gensim.
``gensim`` is listed twice: the difference is the noise. dlpipe's loop and log points are included.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gensim.models import Word2Vec
from in_turn import in_loop

from dlpipe.training import Budget
from dlpipe_text.analogy_corpus import analogy_corpus
from dlpipe_text.corpus import Corpus
from dlpipe_text.corpus_files import corpus
from dlpipe_text.gensim_word2vec import GensimWord2Vec
from dlpipe_text.word_vectors import WordVectors

SEED, SIZE = 1, 100


class Sentences:
    """What gensim iterates over."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def __iter__(self):
        return self._corpus.sentences()


def by_gensim(corpus: Corpus, workers: int) -> Callable[[], None]:
    known = corpus.vocabulary
    model = Word2Vec(vector_size=SIZE, sg=1, seed=SEED, workers=workers, min_count=1, sorted_vocab=0)
    model.build_vocab_from_freq(dict(zip(known.words, known.counts, strict=True)), corpus_count=known.num_sentences)
    sentences = Sentences(corpus)
    return lambda: model.train(sentences, total_examples=known.num_sentences, epochs=1)


def by_dlpipe(corpus: Corpus, workers: int, folder: Path) -> Callable[[], None]:
    model = WordVectors(corpus.facts["words"], vector_size=SIZE)
    trainer = GensimWord2Vec(model, corpus, SEED, Budget(epochs=1000), workers=workers)
    steps = in_loop(trainer, folder, log_every=50)
    return lambda: steps(trainer.steps_per_epoch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    data = corpus(path=arguments.path) if arguments.path else analogy_corpus()
    print(f"{data.vocabulary.num_words:,} words, {len(data.vocabulary.words):,} different ones are frequent enough")
    for workers in arguments.workers:
        with tempfile.TemporaryDirectory() as folder:
            epochs = {
                "gensim": by_gensim(data, workers),
                "dlpipe": by_dlpipe(data, workers, Path(folder)),
                "gensim again": by_gensim(data, workers),
            }
            report(workers, data.vocabulary.num_words, take_turns(epochs, arguments.rounds))


def take_turns(epochs: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return wall and CPU time of each epoch, in seconds."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in epochs}
    for turn in range(rounds + 1):
        for name in list(epochs) if turn % 2 else list(reversed(epochs)):
            wall, cpu = time.perf_counter(), time.process_time()
            epochs[name]()
            if turn:
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


def report(workers: int, num_words: int, times: dict[str, list[tuple[float, float]]]) -> None:
    both = times["gensim"] + times["gensim again"]
    base = [statistics.median(each[place] for each in both) for place in (0, 1)]
    print(f"workers = {workers}: {len(times['gensim'])} epochs each, in turn")
    for name, values in times.items():
        wall, cpu = (statistics.median(each[place] for each in values) for place in (0, 1))
        print(
            f"  {name:<13} wall {wall:7.2f} s  ratio {wall / base[0]:.3f}  cpu {cpu:7.2f} s  ratio {cpu / base[1]:.3f} "
            f" {num_words / wall:9,.0f} words/s"
        )


if __name__ == "__main__":
    main()
