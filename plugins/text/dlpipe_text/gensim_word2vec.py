"""Learn word vectors with gensim: word2vec and FastText, the same vectors as `gensim.models.Word2Vec` gives.

gensim reads the corpus in a thread, cuts it into jobs of about 10,000 words, and has worker threads train on them; the
learning rate depends on the job. Here a job is a step. What `Word2Vec.train` does around the jobs is done here, with
the methods that it calls: ``_get_next_alpha``, ``_get_thread_working_mem``, ``_do_train_job``, ``_clear_post_train``.
These are private to gensim, so the version is pinned, and a test compares the result with that of `Word2Vec`.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Any, Literal

import numpy as np
import torch
from gensim.models import FastText, Word2Vec
from pydantic import Field, Strict
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.fields import OnlyWith, OpenFraction, Positive, PositiveFloat
from dlpipe.protocols import Data
from dlpipe.training import Budget
from dlpipe_text.corpus import Corpus
from dlpipe_text.jobs import Ahead, Job, Jobs
from dlpipe_text.word_vectors import WordVectors

#: Words that gensim trains on in a job, at most; it drops the others of a larger one without a message. The annotation
#: of `job_words` repeats the number, since it is read without importing this module.
MAX_JOB = 10_000
#: As the queue of gensim.
JOBS_PER_WORKER = 2
#: Trained words, and the loss summed over their contexts; 0 if it was not computed (FastText of gensim never does).
Result = tuple[int, float]


class GensimWord2Vec:
    """Fill the tables of text.word_vectors with gensim, on the CPU; a step is a job of about 10,000 words.

    The learning rate falls linearly, job by job, from ``learning_rate`` at the start to ``min_learning_rate`` at the
    end of the last epoch.

    Args:
        architecture: predict the words around a word from it (skip_gram), or a word from those around it (cbow).
        window: words on each side, at most; the actual number is drawn again for each word.
        loss: tell the words from random ones, or predict them by a binary tree.
        negative: random words for each word.
        noise_exponent: random words are drawn by their frequency to this power.
        sample: words with a larger share of the corpus than this are left out at random; 0 leaves out none.
        cbow_mean: predict from the mean of the words around, not from their sum.
        learning_rate: at the start.
        min_learning_rate: at the end.
        workers: threads. With more than one, the order of their updates is a matter of chance.
        job_words: words of a job; a longer sentence is a job of its own.
        loss_every: compute the loss in every n-th job; it takes gensim about 5 % of the time of a job, and the vectors
            do not depend on it.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        seed: int,
        budget: Budget = Budget(),  # noqa: B008  frozen
        *,
        architecture: Literal["skip_gram", "cbow"] = "skip_gram",
        window: Positive = 5,
        loss: Literal["negative_sampling", "hierarchical_softmax"] = "negative_sampling",
        negative: Annotated[Positive, OnlyWith(loss="negative_sampling")] = 5,
        noise_exponent: Annotated[float, OnlyWith(loss="negative_sampling")] = 0.75,
        sample: OpenFraction = 1e-3,
        cbow_mean: Annotated[bool, OnlyWith(architecture="cbow")] = True,
        learning_rate: PositiveFloat = 0.025,
        min_learning_rate: PositiveFloat = 1e-4,
        workers: Positive = 1,
        job_words: Annotated[int, Strict(), Field(gt=0, le=10_000)] = MAX_JOB,
        loss_every: Positive = 10,
    ) -> None:
        words, corpus = _checked(model, data)
        _check_rates(learning_rate, min_learning_rate)
        self._jobs = Jobs(corpus, job_words)
        self.steps_per_epoch = self._jobs.per_epoch
        self._total = _total_of(budget, self.steps_per_epoch)
        options = {
            "vector_size": words.vectors.size(1),
            "sg": int(architecture == "skip_gram"),
            "window": window,
            "hs": int(loss == "hierarchical_softmax"),
            "negative": negative if loss == "negative_sampling" else 0,
            "ns_exponent": noise_exponent,
            "sample": sample,
            "cbow_mean": int(cbow_mean),
            "alpha": learning_rate,
            "min_alpha": min_learning_rate,
            "seed": seed % 2**32,
            "workers": workers,
        }
        self._model = words.cpu()  # gensim computes on the CPU, in these tables
        self._gensim = built(words, corpus, options)
        self._gensim.epochs = self._total / self.steps_per_epoch
        self._workers, self._loss_every = workers, loss_every
        self._window = 1 if workers == 1 else JOBS_PER_WORKER * workers
        self._memory = threading.local()
        self._pool = ThreadPoolExecutor(workers)
        self._ahead: Ahead[Job] | None = None
        self._started = 0  # jobs
        self._waiting: deque[Future[Result] | Result] = deque()  # jobs that have been started, but are not a step yet
        self._lr = learning_rate
        self._composed = True  # whether the vectors of words are those of their n-grams now

    @property
    def model(self) -> nn.Module:
        """The model; if words have n-grams, their vectors are composed when it is asked for."""
        if not self._composed:
            self._gensim._clear_post_train()
            self._model.vectors.copy_(torch.from_numpy(self._gensim.wv.vectors))
            self._composed = True
        return self._model

    @property
    def caveats(self) -> list[str]:
        """Say that several threads do not give the same vectors twice."""
        if self._workers == 1:
            return []
        return [
            f"workers = {self._workers}: the order in which threads update the vectors is a matter of chance, so no "
            "two runs are the same; workers = 1 is reproducible to the bit"
        ]

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Train on one job and yield ``loss``, the sum over the contexts of a word, if this job computes it.

        FastText of gensim has none.
        """
        if self._ahead is None:
            self._ahead = Ahead(self._jobs(self._started), JOBS_PER_WORKER * self._workers)
        while True:
            # No job beyond the last step of the run is begun.
            done = self._started - len(self._waiting)
            while len(self._waiting) < self._window and self._started < max(self._total, done + 1):
                self._waiting.append(self._start(self._ahead.next()))
            trained, loss = _result(self._waiting.popleft())
            yield {"loss": torch.tensor(loss / trained)} if trained and loss else {}

    def log_values(self) -> dict[str, float]:
        """Return the learning rate."""
        return {"lr": self._lr}

    def on_score(self, score: float, goal: Literal["max", "min"]) -> None:
        """Ignore the score."""

    def state_dict(self) -> dict[str, Any]:
        """Return the number of jobs, the results of those that are not a step yet, and gensim's random numbers.

        The jobs that run are finished first, so that the tables belong to the state.
        """
        self._waiting = deque(map(_result, self._waiting))
        _, keys, position, _, _ = self._gensim.random.get_state()
        return {
            "started": self._started,
            "waiting": torch.tensor(list(self._waiting), dtype=torch.float64).view(-1, 2),
            "random": torch.from_numpy(keys.astype(np.int64)),
            "position": int(position),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._started = state["started"]
        self._waiting = deque((int(trained), loss) for trained, loss in state["waiting"].tolist())
        self._gensim.random.set_state(("MT19937", state["random"].numpy().astype(np.uint32), state["position"]))

    def close(self) -> None:
        """Stop the threads."""
        if self._ahead is not None:
            self._ahead.close()
        self._pool.shutdown()

    def _start(self, job: Job) -> Future[Result]:
        self._lr = self._gensim._get_next_alpha(job.progress, job.epoch)
        compute_loss = self._started % self._loss_every == 0
        self._started += 1
        self._composed = not self._model.subwords
        return self._pool.submit(self._train, job.sentences, self._lr, compute_loss)

    def _train(self, sentences: list[list[str]], learning_rate: float, compute_loss: bool) -> Result:
        """Train on a job, in a thread of the pool."""
        memory = self._memory
        if not hasattr(memory, "gensim"):
            memory.gensim = copy.copy(self._gensim)  # the same tables and random numbers, but a loss of its own
            memory.space = self._gensim._get_thread_working_mem()
        memory.gensim.running_training_loss, memory.gensim.compute_loss = 0.0, compute_loss
        trained, _ = memory.gensim._do_train_job(sentences, learning_rate, memory.space)
        return trained, float(memory.gensim.running_training_loss)


def built(model: WordVectors, corpus: Corpus, options: Mapping[str, Any]) -> Word2Vec:
    """Return gensim's model before training, with the vocabulary of a corpus, in whose place the tables of `model` are.

    Args:
        options: of `Word2Vec`.
    """
    known = corpus.vocabulary
    # The corpus has sorted the words and left out rare ones.
    options = {**options, "min_count": 1, "sorted_vocab": 0}
    if model.subwords:
        ngrams = {"min_n": model.min_ngram, "max_n": model.max_ngram, "bucket": len(model.ngrams)}
        found = FastText(**options, **ngrams)
    else:
        found = Word2Vec(**options)
    found.build_vocab_from_freq(dict(zip(known.words, known.counts, strict=True)), corpus_count=known.num_sentences)
    _share(model.outputs, found, "syn1" if options["hs"] else "syn1neg")
    if model.subwords:
        model.vectors.copy_(torch.from_numpy(found.wv.vectors))
        _share(model.own, found.wv, "vectors_vocab")
        _share(model.ngrams, found.wv, "vectors_ngrams")
    else:
        _share(model.vectors, found.wv, "vectors")
    return found


def _checked(model: nn.Module, data: Data) -> tuple[WordVectors, Corpus]:
    if not isinstance(model, WordVectors) or not isinstance(data, Corpus):
        raise InputError(
            f"text.gensim_word2vec got a model of type {type(model).__name__} and data of type "
            f"{type(data).__name__}; expected text.word_vectors and a corpus such as text.corpus"
        )
    return model, data


def _check_rates(learning_rate: float, min_learning_rate: float) -> None:
    if min_learning_rate > learning_rate:
        raise InputError(f"min_learning_rate = {min_learning_rate}: expected at most learning_rate = {learning_rate}")


def _total_of(budget: Budget, steps_per_epoch: int) -> int:
    total = budget.total_steps(steps_per_epoch)
    if total is None:
        raise InputError("the learning rate falls until the end, so the end must be known; give epochs or steps")
    return total


def _share(table: Tensor, owner: Any, name: str) -> None:
    """Copy the table `name` of gensim into ours, and let gensim use ours in its place."""
    table.copy_(torch.from_numpy(getattr(owner, name)))
    setattr(owner, name, table.detach().numpy())


def _result(waiting: Future[Result] | Result) -> Result:
    return waiting.result() if isinstance(waiting, Future) else waiting
