"""Every option of every component is obeyed, or refused where it has no effect.

Each parameter is changed from its default in a short run of a pipeline that fits; what the run leaves behind (metrics,
weights, figures, checkpoints) must change. The few parameters that must not change a result are listed with the reason,
and their runs must be equal.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.util
import itertools
import json
import struct
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dlpipe.config.check import load_pipeline
from dlpipe.config.signatures import Parameter, read_signature
from dlpipe.config.tables import OPTIONS, PROVIDED, SETTINGS, TAKES_FACTS
from dlpipe.config.torch_names import CHOICES
from dlpipe.engine.execute import dry_run, run
from dlpipe.errors import PipelineError
from dlpipe.fields import NotWith, Relation
from dlpipe.registry.loading import load_plugins
from dlpipe.runs.checkpoint import Checkpoints
from dlpipe.testing import comparable_metrics

from .audio.conftest import digits
from .conftest import needs_packages_of

pytestmark = pytest.mark.usefixtures("without_report")

REGISTRY = load_plugins({})
KINDS = ("data", "model", "trainer", "evaluator")
COMPONENTS = {name: component for kind in KINDS for name, component in REGISTRY.components[kind].items()}

#: A dream of a network that accepts images of any size.
POOLED = "model={use='vision.cnn', layers=[{conv=2}, {conv=3}, {global_pool='average'}]}"
DREAM = "evaluators.loss={use='vision.deep_dream', size=16, octaves=2, steps=3, jitter=1}"
#: Frames of a game of Atari, so that an evaluation does not play on for minutes.
FRAMES = 800

LOOP = "log_every = 1\nsteps = 3\n"
IMAGES = f"""
[data]
use = "vision.digits"
limit = 96
[model]
use = "core.mlp"
hidden = [8]
[trainer]
use = "core.supervised"
{LOOP}
[evaluators.loss]
use = "core.loss"
"""
#: A small network that others use the layers of; `files` trains it.
FEATURES = """
[data]
use = "vision.textures"
size = 12
train_size = 20
test_size = 10
normalize = "unit"
[model]
use = "vision.cnn"
layers = [{ conv = 3, norm = true }, { pool = 2 }, { conv = 4 }]
[trainer]
use = "core.supervised"
steps = 1
[evaluators.loss]
use = "core.loss"
"""
STYLED = f"""
[data]
use = "vision.content_and_style"
size = 12
train_size = 12
dev_size = 4
test_size = 6
[model]
use = "vision.style_transfer"
content_layer = "layers.2"
style_layers = ["layers.0", "layers.2"]
width = 3
[trainer]
use = "core.supervised"
batch_size = 4
{LOOP}
[evaluators.loss]
use = "core.loss"
"""
TRAINED = "{run='@/features/features/latest'}"
SENTENCES = f"""
[data]
use = "text.flights"
num_train = 40
num_dev = 10
num_test = 10
[model]
use = "text.rnn_tagger"
hidden_dim = 6
embed_dim = 5
[trainer]
use = "core.supervised"
{LOOP}
[evaluators.loss]
use = "core.loss"
"""
REVIEWS = f"""
[data]
use = "text.reviews"
num_train = 40
num_dev = 10
num_test = 10
[model]
use = "text.rnn_classifier"
hidden_dim = 6
embed_dim = 5
[trainer]
use = "core.supervised"
{LOOP}
[evaluators.loss]
use = "core.loss"
"""
STORIES = f"""
[data]
use = "text.stories"
num_train = 40
num_dev = 10
num_test = 10
[model]
use = "text.memory_network"
embed_dim = 5
[trainer]
use = "core.supervised"
{LOOP}
[evaluators.loss]
use = "core.loss"
"""
COUNTED = """
[data]
use = "text.reviews"
language = "en"
num_train = 40
num_dev = 10
num_test = 10
ngrams = 1
[model]
use = "text.ngram_classifier"
[trainer]
use = "text.ngram_fit"
[evaluators.loss]
use = "core.loss"
"""
SEQUENCES = f"""
[data]
use = "text.adding_problem"
length = 8
num_train = 40
num_dev = 10
num_test = 10
[model]
use = "text.sequence_regressor"
hidden_dim = 4
[trainer]
use = "core.supervised"
{LOOP}
[evaluators.loss]
use = "core.loss"
"""
UNIT = f"""
[data]
use = "text.impulse"
length = 6
[model]
use = "text.one_unit"
weight = 0.9
[trainer]
use = "core.supervised"
{LOOP}
[evaluators.loss]
use = "text.error_surface"
"""
WORDS = """
[data]
use = "text.analogy_corpus"
language = "en"
num_sentences = 1500
min_count = 1
[model]
use = "text.word_vectors"
vector_size = 6
[trainer]
use = "text.gensim_word2vec"
job_words = 600
log_every = 1
steps = 3
[evaluators.files]
use = "text.write_vectors"
"""
RECONSTRUCTION = f"""
[data]
use = "vision.digits"
normalize = "unit"
limit = 96
[model]
use = "generative.autoencoder"
hidden = [8]
latent_dim = 3
[trainer]
use = "core.supervised"
{LOOP}
[evaluators.error]
use = "generative.reconstruction"
"""
GENERATED_SPEECH = f"""
[data]
use = "audio.tone_waveforms"
num_words = 2
num_speakers = 2
takes = 10
crop_seconds = 0.02
[model]
use = "audio.wavenet"
layers = 2
channels = 3
skip_channels = 4
condition_dim = 5
[trainer]
use = "core.supervised"
{LOOP}
[evaluators.bits]
use = "audio.waveform_likelihood"
"""
SPOKEN = f"""
[data]
use = "audio.tone_words"
num_words = 40
num_speakers = 10
features = {{ hop_ms = 40.0 }}
[model]
use = "audio.seq2seq_autoencoder"
hidden_dim = 6
vector_dim = 5
[trainer]
use = "core.supervised"
{LOOP}
[evaluators.words]
use = "audio.query_by_example"
"""
SAID = f"""
[data]
use = "audio.tone_sentences"
num_words = 40
num_speakers = 10
sentences = 2
features = {{ hop_ms = 20.0 }}
[model]
use = "audio.ctc_recognizer"
hidden_dim = 4
[trainer]
use = "core.supervised"
{LOOP}
[evaluators.letters]
use = "core.loss"
"""
TRANSLATED = f"""
[data]
use = "text.english_german"
num_train = 40
num_dev = 6
num_test = 6
[model]
use = "text.seq2seq"
embed_dim = 5
hidden_dim = 6
[trainer]
use = "core.supervised"
{LOOP}
[evaluators.text]
use = "core.loss"
"""
ADVERSARIAL = f"""
[data]
use = "vision.digits"
normalize = "symmetric"
limit = 96
[model]
use = "generative.gan"
hidden = [8]
latent_dim = 3
[trainer]
use = "generative.gan_trainer"
{LOOP}
[evaluators.judge]
use = "generative.gan_diagnostics"
count = 20
"""
CARTPOLE = f"""
[data]
use = "rl.environment"
[model]
use = "rl.actor_critic"
hidden = [8]
[trainer]
use = "rl.a2c"
num_envs = 2
rollout_steps = 15
{LOOP}
[evaluators.play]
use = "rl.returns"
episodes = 2
"""
DQN = [
    "model.use=rl.q_network",
    "trainer={use='rl.dqn', log_every=1, steps=40, learning_starts=20, batch_size=8, replay_size=50}",
]
SAC = [
    "data={use='rl.environment', id='Pendulum-v1', max_episode_steps=10}",
    "model={use='rl.soft_actor_critic', hidden=[8]}",
    "trainer={use='rl.sac', log_every=1, steps=40, learning_starts=20, batch_size=8, replay_size=50}",
]

#: Of the two labels, each is the default of one option; with one class for both, either can be changed.
SAME_CLASS = ["evaluators.loss={use='text.order_test', positive='positive', negative='positive'}"]

#: Recordings as classes.
KEYWORDS = ["data={use='audio.fsdd', path='@/spoken'}", "evaluators.words.use=core.loss"]

FITTED = ["trainer={use='core.fit'}"]
TRANSFORMER = ["model={use='text.transformer', hidden_dim=4, num_layers=1, num_heads=2}"]
LEARNED = ["trainer.steps=60", "trainer.optimizer={use='adam', lr=0.01}"]

#: Tables: classes, numbers, and one with missing values.
PEOPLE = ["data={use='core.table', path='@/people.csv', target='ill'}"]
NUMBERS = ["data={use='core.table', path='@/people.csv', target='weight'}"]
WEIGHTS = [*NUMBERS, "trainer.loss='mse'"]
GAPS = ["data={use='core.table', path='@/gaps.csv', target='ill', missing='mean'}"]

#: The pipeline in which the parameters of a component are changed, and how it is made to fit.
BASES: dict[str, tuple[str, list[str]]] = {
    "core.lsuv": (IMAGES, ["trainer={use='core.lsuv'}"]),
    "core.supervised": (IMAGES, []),
    "core.supervised.bucket_by_length": (SENTENCES, []),
    "core.supervised.pad_to_multiple_of": (SENTENCES, []),
    "core.logistic_regression": (IMAGES, ["model={use='core.logistic_regression'}", *FITTED]),
    "core.nearest_neighbors": (IMAGES, ["model={use='core.nearest_neighbors'}", *FITTED]),
    "core.random_forest": (IMAGES, ["model={use='core.random_forest', num_trees=4}", *FITTED]),
    "core.loss": (IMAGES, []),
    "core.classification": (IMAGES, ["evaluators.loss.use=core.classification"]),
    "core.regression": (IMAGES, [*WEIGHTS, "evaluators.loss.use=core.regression"]),
    "core.linear_regression": (
        IMAGES,
        [*NUMBERS, "model={use='core.linear_regression'}", *FITTED, "evaluators.loss.use=core.regression"],
    ),
    "core.table": (IMAGES, PEOPLE),
    "core.table.scale_target": (IMAGES, WEIGHTS),
    "core.table.missing": (IMAGES, GAPS),
    "core.table.missing_indicator": (IMAGES, GAPS),
    "core.table.missing_values": (IMAGES, GAPS),
    "core.mlp.embed_dim": (IMAGES, PEOPLE),
    "audio.tone_words": (SPOKEN, []),
    "audio.spoken_words": (
        SPOKEN,
        ["data={use='audio.spoken_words', num_words=40, num_speakers=10, features={hop_ms=40.0}}"],
    ),
    "audio.folder": (SPOKEN, ["data={use='audio.folder', path='@/spoken', rate_hz=8000}"]),
    "audio.fsdd": (SPOKEN, ["data={use='audio.fsdd', path='@/spoken'}"]),
    "audio.manifest": (SPOKEN, ["data={use='audio.manifest', path='@/spoken/words.csv', rate_hz=8000}"]),
    "audio.frames": (
        IMAGES,
        ["data={use='audio.frames', path='@/spoken', features={hop_ms=40.0}}"],
    ),
    "audio.tone_waveforms": (GENERATED_SPEECH, []),
    "audio.waveforms": (
        GENERATED_SPEECH,
        ["data={use='audio.waveforms', path='@/spoken', rate_hz=8000, crop_seconds=0.02}"],
    ),
    "audio.wavenet": (GENERATED_SPEECH, []),
    "audio.linear_prediction": (GENERATED_SPEECH, ["model={use='audio.linear_prediction'}", *FITTED]),
    "audio.waveform_likelihood": (GENERATED_SPEECH, []),
    "audio.generated_speech": (
        GENERATED_SPEECH,
        ["evaluators.bits={use='audio.generated_speech', count=2, recognizer_steps=2}", "trainer.evaluate_every=1"],
    ),
    "audio.seq2seq_autoencoder": (SPOKEN, []),
    "audio.keyword_cnn": (SPOKEN, [*KEYWORDS, "model={use='audio.keyword_cnn', channels=[4]}"]),
    "audio.keyword_rnn": (SPOKEN, [*KEYWORDS, "model={use='audio.keyword_rnn', hidden_dim=4}"]),
    "audio.tone_sentences": (SAID, []),
    "audio.digit_strings": (
        SAID,
        ["data={use='audio.digit_strings', path='@/spoken', num_train=6, num_dev=2, num_test=2}"],
    ),
    "audio.transcribed": (SAID, ["data={use='audio.transcribed', path='@/spoken/words.csv', rate_hz=8000}"]),
    "audio.ctc_recognizer": (SAID, []),
    "audio.ctc_recognizer.beam_size": (
        SAID,
        ["evaluators.letters.use=audio.transcription", *LEARNED],
    ),
    "audio.transcription": (SAID, ["evaluators.letters.use=audio.transcription", "trainer.evaluate_every=1"]),
    "audio.query_by_example": (SPOKEN, []),
    "audio.same_different": (SPOKEN, ["evaluators.words.use=audio.same_different"]),
    "audio.phone_distance": (SPOKEN, ["evaluators.words.use=audio.phone_distance"]),
    "audio.vector_differences": (
        SPOKEN,
        ["evaluators.words.use=audio.vector_differences", "trainer.evaluate_every=1", "data.num_words=300"],
    ),
    "audio.reconstruction": (SPOKEN, ["evaluators.words.use=audio.reconstruction"]),
    "audio.word_map": (SPOKEN, ["evaluators.words.use=audio.word_map", "trainer.evaluate_every=1"]),
    "generative.manga_faces": (IMAGES, ["data={use='generative.manga_faces', count=60, size=32}"]),
    "generative.gaussian_ring": (ADVERSARIAL, ["data={use='generative.gaussian_ring', count=100}"]),
    "generative.autoencoder": (RECONSTRUCTION, []),
    "generative.vae": (RECONSTRUCTION, ["model.use=generative.vae", "evaluators.error.use=generative.elbo"]),
    "generative.pixel_cnn": (
        RECONSTRUCTION,
        [
            "model={use='generative.pixel_cnn', levels=5, blocks=1, kernel=1, channels=3}",
            "evaluators.error.use=generative.pixel_likelihood",
        ],
    ),
    "generative.gan": (ADVERSARIAL, []),
    "generative.dcgan": (ADVERSARIAL, ["model={use='generative.dcgan', channels=2, latent_dim=3, smallest=2}"]),
    "generative.gan_trainer": (ADVERSARIAL, []),
    "generative.reconstruction": (RECONSTRUCTION, []),
    "generative.elbo": (RECONSTRUCTION, ["model.use=generative.vae", "evaluators.error.use=generative.elbo"]),
    "generative.latent": (RECONSTRUCTION, ["evaluators.error.use=generative.latent"]),
    "generative.modes": (
        ADVERSARIAL,
        ["data={use='generative.gaussian_ring', count=100}", "evaluators.judge={use='generative.modes', count=50}"],
    ),
    "generative.samples": (ADVERSARIAL, ["evaluators.judge={use='generative.samples', count=9}"]),
    "generative.gan_diagnostics": (ADVERSARIAL, []),
    "rl.environment": (CARTPOLE, []),
    "rl.catch": (CARTPOLE, ["data.use=rl.catch"]),
    "rl.atari": (
        CARTPOLE,
        ["data.use=rl.atari", "data.game=pong", "trainer.rollout_steps=4", "evaluators.play.episodes=1"],
    ),
    "rl.q_network": (CARTPOLE, DQN),
    "rl.policy_network": (
        CARTPOLE,
        [
            "model.use=rl.policy_network",
            "trainer={use='rl.reinforce', baseline='none', log_every=1, steps=3, episodes=2}",
        ],
    ),
    "rl.actor_critic": (CARTPOLE, []),
    "rl.dqn": (CARTPOLE, DQN),
    "rl.soft_actor_critic": (CARTPOLE, SAC),
    "rl.sac": (CARTPOLE, SAC),
    "rl.reinforce": (CARTPOLE, ["trainer={use='rl.reinforce', log_every=1, steps=3, episodes=2}"]),
    "rl.a2c": (CARTPOLE, []),
    "rl.ppo": (
        CARTPOLE,
        ["trainer={use='rl.ppo', log_every=1, steps=3, num_envs=2, rollout_steps=15, batch_size=10}"],
    ),
    "rl.returns": (CARTPOLE, []),
    "text.flights": (SENTENCES, []),
    "text.iob": (SENTENCES, ["data={use='text.iob', path='@/iob'}"]),
    "text.atis": (SENTENCES, ["data={use='text.atis', path='@/atis', dev_size=3}"]),
    "text.reviews": (REVIEWS, []),
    "text.labeled": (REVIEWS, ["data={use='text.labeled', path='@/texts.csv'}"]),
    "text.labeled.ngrams": (COUNTED, ["data={use='text.labeled', path='@/texts.csv', ngrams=1}"]),
    "text.labeled.char_ngrams": (COUNTED, ["data={use='text.labeled', path='@/texts.csv', ngrams=1}"]),
    "text.reviews.ngrams": (COUNTED, []),
    "text.adding_problem": (SEQUENCES, []),
    "text.impulse": (UNIT, []),
    "text.sequence_regressor": (SEQUENCES, []),
    "text.sequence_regressor.recurrent_scale": (SEQUENCES, ["model.cell=elman"]),
    "text.one_unit": (UNIT, []),
    "text.gradient_by_lag": (SEQUENCES, ["evaluators.loss.use=text.gradient_by_lag"]),
    "text.error_surface": (UNIT, []),
    "text.cnn_classifier": (REVIEWS, ["model={use='text.cnn_classifier', embed_dim=5, num_filters=4}"]),
    "text.ngram_classifier": (COUNTED, ["data={use='text.labeled', path='@/texts.csv', ngrams=1}"]),
    "text.ngram_fit": (COUNTED, []),
    "text.rnn_tagger": (SENTENCES, []),
    "text.rnn_classifier": (REVIEWS, []),
    "text.stories": (STORIES, []),
    "text.babi": (STORIES, ["data={use='text.babi', path='@/babi'}"]),
    "text.memory_network": (STORIES, []),
    "text.question_answering": (STORIES, ["evaluators.loss.use=text.question_answering"]),
    "text.feedforward_tagger": (SENTENCES, ["model.use=text.feedforward_tagger"]),
    "text.order_test": (REVIEWS, ["evaluators.loss.use=text.order_test"]),
    "text.order_test.positive": (REVIEWS, SAME_CLASS),
    "text.order_test.negative": (REVIEWS, SAME_CLASS),
    "text.word_contributions": (REVIEWS, ["evaluators.loss={use='text.word_contributions', count=3}"]),
    "text.slot_f1": (SENTENCES, ["evaluators.loss.use=text.slot_f1"]),
    "vision.digits": (IMAGES, []),
    "vision.idx": (IMAGES, ["data={use='vision.idx', path='@/idx'}"]),
    "vision.mnist": (IMAGES, ["data={use='vision.mnist', path='@/idx', dev_size=5}"]),
    "vision.image_folder": (IMAGES, ["data={use='vision.image_folder', path='@/images'}"]),
    "vision.cifar": (IMAGES, ["data={use='vision.cifar', path='@/cifar100', dev_size=0.2}"]),
    "vision.cifar10": (IMAGES, ["data={use='vision.cifar10', path='@/cifar10', dev_size=0.2}"]),
    "vision.textures": (IMAGES, ["data={use='vision.textures', train_size=40, test_size=20, size=9}"]),
    "core.mlp": (IMAGES, []),
    "core.mlp.hidden_dim": (IMAGES.replace("hidden = [8]", ""), []),
    "core.mlp.num_layers": (IMAGES.replace("hidden = [8]", "hidden_dim = 8"), []),
    "core.mlp.connection": (IMAGES.replace("hidden = [8]", "hidden_dim = 8"), []),
    "core.mlp.gate_bias": (IMAGES.replace("hidden = [8]", "hidden_dim = 8"), ["model.connection='highway'"]),
    "core.lesions": (
        IMAGES.replace("hidden = [8]", "hidden_dim = 8"),
        ["model.connection='highway'", "evaluators.loss.use=core.lesions"],
    ),
    "vision.cnn": (IMAGES, ["model={use='vision.cnn', layers=[{conv=2}, {pool=2}, {dense=5}]}"]),
    "vision.residual_net": (IMAGES, ["model={use='vision.residual_net', depth=8, width=3}"]),
    "vision.backbone": (
        IMAGES,
        [
            "model={use='vision.backbone'}",
            "trainer.steps=1",
            "data={use='vision.image_folder', path='@/images', size=32}",
        ],
    ),
    "vision.content_and_style": (STYLED, [f"model.features={TRAINED}"]),
    "vision.style_transfer": (STYLED, [f"model.features={TRAINED}"]),
    "vision.stylization": (
        STYLED,
        [
            f"model.features={TRAINED}",
            f"evaluators.loss={{use='vision.stylization', judge={TRAINED}, judge_layers=['layers.0'], num_styles=3}}",
        ],
    ),
    "vision.error_gallery": (IMAGES, ["evaluators.loss.use=vision.error_gallery"]),
    "vision.robustness": (IMAGES, ["evaluators.loss.use=vision.robustness"]),
    "vision.layer_pictures": (
        IMAGES,
        ["model={use='vision.cnn', layers=[{conv=2}, {conv=3}]}", "evaluators.loss.use=vision.layer_pictures"],
    ),
    "vision.deep_dream": (IMAGES, [POOLED, DREAM]),
}
CLASSIFIED = {"generative.quality", "generative.train_on_generated", "generative.attributes", "generative.nearest"}
for name in sorted(CLASSIFIED):
    options = "" if name == "generative.nearest" else ", classifier_steps=3"
    count = 60 if name == "generative.attributes" else 30
    faces = ["data={use='generative.manga_faces', count=60, size=32}"] if name == "generative.attributes" else []
    extra = ["model.conditional=true"] if name == "generative.train_on_generated" else []
    BASES[name] = (ADVERSARIAL, [*faces, *extra, f"evaluators.judge={{use='{name}', count={count}{options}}}"])

PLACED = ["data={use='text.corpus', path='@/corpus.txt', min_count=1}", "trainer.job_words=60"]
BASES |= {
    "text.analogy_corpus": (WORDS, []),
    "text.review_corpus": (WORDS, ["data={use='text.review_corpus', num_reviews=50, min_count=1}"]),
    "text.corpus": (WORDS, PLACED),
    "text.vector_file": (
        WORDS,
        [
            "data={use='text.vector_file', path='@/vectors.txt'}",
            "trainer={use='text.load_vectors'}",
            "model.vector_size=2",
        ],
    ),
    "text.word_vectors": (WORDS, []),
    "text.gensim_word2vec": (WORDS, []),
    "text.skip_gram": (WORDS, ["trainer={use='text.skip_gram', steps=3, log_every=1, batch_size=200}"]),
    "text.write_vectors": (WORDS, []),
    "text.english_german": (TRANSLATED, []),
    "text.parallel": (TRANSLATED, ["data={use='text.parallel', path='@/texts.csv', source='text', target='other'}"]),
    "text.seq2seq": (TRANSLATED, []),
    "text.transformer": (TRANSLATED, TRANSFORMER),
    **{
        f"text.{model}.{name}": (TRANSLATED, [*options, "evaluators.text.use=text.translation", *LEARNED])
        for model, options in (("seq2seq", []), ("transformer", TRANSFORMER))
        for name in ("beam_size", "length_penalty", "max_length")
    },
    "text.word_translation": (
        TRANSLATED,
        ["model={use='text.word_translation'}", "evaluators.text.use=text.translation", *FITTED],
    ),
    "text.translation": (TRANSLATED, ["evaluators.text.use=text.translation", "trainer.evaluate_every=1"]),
    "text.analogies": (WORDS, ["evaluators.files.use=text.analogies"]),
    "text.word_similarity": (WORDS, ["evaluators.files={use='text.word_similarity', pairs='@/pairs.txt'}"]),
    "text.nearest_neighbors": (WORDS, ["evaluators.files.use=text.nearest_neighbors"]),
    "text.word_map": (WORDS, ["evaluators.files.use=text.word_map"]),
}

#: A second evaluator.
SECOND = ["evaluators.second.use=core.classification", "trainer.evaluate_every=1"]
#: Facts of data, which a file need not set.
FACTS = {fact for component in REGISTRY.components["data"].values() for fact in component.spec.facts}
#: What a parameter is changed to where the next best value would not do, and what the pipeline needs for it.
CHANGES: dict[str, list[str]] = {
    "audio.tone_words.num_words": ["48"],
    "audio.spoken_words.num_words": ["48"],
    "audio.spoken_words.num_speakers": ["12"],
    "audio.spoken_words.num_pseudowords": ["20"],
    "audio.tone_words.num_speakers": ["12"],
    "audio.tone_waveforms.takes": ["20"],
    "audio.waveforms.path": ["'@/spoken2'"],
    "audio.waveforms.rate_hz": ["4000"],
    "audio.waveforms.test_size": ["0.7"],  # of the few takes of each word by each speaker
    "audio.waveforms.dev_size": ["0.7"],
    "audio.wavenet.conditions": ["['speaker']"],
    "audio.tone_sentences.num_words": ["48"],
    "audio.tone_sentences.num_speakers": ["12"],
    "audio.digit_strings.min_digits": ["1"],
    "audio.transcribed.units": ["'words'"],
    "audio.transcription.count": ["1"],
    "audio.seq2seq_autoencoder.target": ["'same_word'", "data.pairs='same_word'"],
    "audio.keyword_cnn.channels": ["[5]"],
    "audio.query_by_example.num_parts": ["3", "evaluators.words.baselines=true"],
    "audio.query_by_example.max_words": ["12"],
    "audio.query_by_example.neighbors": ["3"],
    "audio.vector_differences.max_changes": ["1"],
    "audio.reconstruction.count": ["3"],
    "audio.word_map.max_words": ["2"],
    "core.logistic_regression.max_iterations": ["2"],
    "core.loss.loss": ["'mse'"],
    "core.table.path": ["'@/people2.csv'"],
    "core.table.dev": ["'@/people2.csv'"],
    "core.table.test": ["'@/people2.csv'"],
    "core.table.target": ["'city'"],
    "core.table.columns": ["['age']"],
    "core.table.exclude": ["['age']"],
    "core.table.sample_weights": ["'age'"],
    "core.table.categorical": ["['age']"],
    "core.table.split": ["'part'"],
    "core.table.test_size": ["0.3"],
    "core.table.dev_size": ["0.3"],
    "core.table.fold": ["2"],
    "core.table.folds": ["3", "data.fold=2"],
    "core.table.missing": ["'most_frequent'"],
    "core.table.missing_values": ["['', '21']"],
    "core.mlp.embed_dim": ["5"],
    "core.random_forest.max_depth": ["2"],
    "core.lsuv.tolerance": ["100.0"],
    "core.lsuv.batch_size": ["7"],
    "core.supervised.loss": ["'mse'"],
    "core.supervised.optimizer": ["{use='sgd', lr=0.3}"],
    "core.supervised.schedule": ["{use='step', step_size=1}"],
    "core.supervised.warmup_steps": ["2"],
    "core.supervised.num_workers": ["1"],
    "core.supervised.drop_last": ["true", "trainer.batch_size=40"],  # of 96 images
    "core.supervised.pad_to_multiple_of": ["64"],
    "generative.gan_trainer.num_workers": ["1"],
    "core.supervised.max_grad_norm": ["0.01"],
    "core.supervised.ema_decay": ["0.5"],
    "core.supervised.rates": ["{layers=0.1}"],
    "core.supervised.activation_checkpointing": ["'layers.*'"],
    "core.supervised.label_smoothing": ["0.2"],
    "core.supervised.class_weights": ["{1 = 5.0}"],
    "core.supervised.sampling": ["'balanced'"],
    "generative.manga_faces.count": ["50"],
    "generative.manga_faces.size": ["48"],
    "generative.gaussian_ring.count": ["90"],
    "generative.autoencoder.hidden": ["[5]"],
    "generative.pixel_cnn.kernel": ["3"],
    "generative.vae.hidden": ["[5]"],
    "generative.vae.likelihood_std": ["0.5", "model.likelihood='gaussian'"],
    "generative.vae.warmup_steps": ["5"],
    "generative.gan.hidden": ["[5]"],
    "generative.dcgan.channels": ["3"],
    "generative.dcgan.smallest": ["4"],
    "generative.gan_trainer.generator_optimizer": ["{use='sgd', lr=0.3}"],
    "generative.gan_trainer.discriminator_optimizer": ["{use='sgd', lr=0.3}"],
    "generative.gan_trainer.gradient_penalty": ["1.0", "trainer.loss='wgan_gp'"],
    "generative.gan_trainer.ema_decay": ["0.5"],
    "generative.latent.limit": ["20"],
    "generative.modes.count": ["40"],
    "generative.samples.count": ["4"],
    "generative.gan_diagnostics.count": ["10"],
    "generative.gan_diagnostics.collapse_threshold": ["1.0"],
    "generative.gan_diagnostics.loss": ["'wgan_gp'"],
    "generative.quality.count": ["20"],
    "generative.quality.classifier_steps": ["5"],
    "generative.train_on_generated.count": ["20"],
    "generative.train_on_generated.classifier_steps": ["5"],
    "generative.attributes.count": ["50"],
    "generative.attributes.classifier_steps": ["5"],
    "generative.nearest.count": ["4"],
    "rl.environment.id": ["'Acrobot-v1'"],
    "rl.environment.arguments": ["{sutton_barto_reward=true}"],
    "rl.environment.wrappers": ["['time_aware_observation']"],
    "rl.environment.max_episode_steps": ["5"],
    "rl.atari.game": ["'ms_pacman'"],
    "rl.q_network.hidden": ["[5]"],
    "rl.policy_network.hidden": ["[5]"],
    "rl.actor_critic.hidden": ["[5]"],
    "rl.atari.clip_rewards": ["false", "data.game='ms_pacman'", "trainer.rollout_steps=40"],
    "rl.dqn.double": ["false", "trainer.optimizer={use='adam', lr=0.3}"],
    "rl.dqn.epsilon_start": ["0.5", "trainer.epsilon_timesteps=50"],
    "rl.dqn.epsilon_schedule": ["'exponential'", "trainer.epsilon_timesteps=50"],
    "rl.dqn.timesteps": ["30"],
    "rl.dqn.importance_beta": ["0.9", "trainer.priority_alpha=0.6"],
    "rl.dqn.batch_size": ["9"],
    "rl.dqn.replay_size": ["30"],
    "rl.dqn.learning_starts": ["30"],
    "rl.dqn.target_every": ["2"],
    "rl.dqn.tau": ["0.5", "trainer.target_every=2"],
    "rl.dqn.epsilon_end": ["0.9"],
    "rl.dqn.epsilon_timesteps": ["20"],
    "rl.soft_actor_critic.hidden": ["[5]"],
    "rl.sac.timesteps": ["30"],
    "rl.sac.batch_size": ["9"],
    "rl.sac.replay_size": ["30"],
    "rl.sac.learning_starts": ["30"],
    "rl.sac.target_every": ["2"],
    "rl.sac.tau": ["0.5"],
    "rl.sac.entropy_coef": ["0.5"],
    "rl.sac.target_entropy": ["-3.0"],
    "rl.reinforce.episodes": ["3"],
    "rl.a2c.timesteps": ["30"],
    "rl.ppo.timesteps": ["30"],
    "rl.ppo.batch_size": ["20"],
    "rl.ppo.clip_range": ["0.001", "trainer.optimizer={use='adam', lr=0.05}"],
    "rl.returns.episodes": ["3"],
    "text.iob.path": ["'@/iob2'"],
    "text.babi.path": ["'@/babi2'"],
    "text.babi.tasks": ["[1, 2]"],
    "text.babi.min_count": ["21"],
    "text.stories.kinds": ["['count']"],
    "text.stories.num_train": ["30"],
    "text.stories.num_dev": ["9"],
    "text.stories.num_test": ["9"],
    "text.memory_network.memory_size": ["2"],
    "text.question_answering.count": ["2"],
    "text.iob.train": ["'@/other/a.iob'"],
    "text.iob.dev": ["'@/other/b.iob'"],
    "text.iob.test": ["'@/other/c.iob'"],
    "text.iob.dev_size": ["7"],
    "text.atis.path": ["'@/atis2'"],
    "text.atis.dev_size": ["4"],
    "text.flights.num_train": ["30"],
    "text.flights.num_dev": ["9"],
    "text.flights.num_test": ["9"],
    "text.reviews.num_train": ["30"],
    "text.adding_problem.num_train": ["30"],
    "text.adding_problem.num_dev": ["9"],
    "text.adding_problem.num_test": ["9"],
    "text.adding_problem.length": ["7"],
    "text.impulse.length": ["7"],
    "text.sequence_regressor.recurrent_scale": ["0.5"],
    "text.gradient_by_lag.count": ["3"],
    "text.one_unit.weight": ["0.8"],
    "text.one_unit.path_length": ["2"],
    "text.error_surface.weight": ["[0.0, 1.0]"],
    "text.error_surface.bias": ["[0.0, 1.0]"],
    "text.reviews.num_dev": ["9"],
    "text.reviews.num_test": ["9"],
    "text.reviews.max_length": ["4"],
    "text.rnn_classifier.attention_dim": ["4", "model.pooling='attention'"],
    "text.rnn_classifier.word_dropout": ["0.9"],
    "text.labeled.path": ["'@/texts2.csv'"],
    "text.labeled.text": ["'other'"],
    "text.labeled.label": ["'class'"],
    "text.labeled.split": ["'split'"],
    "text.labeled.encoding": ["'cp1252'"],
    "text.labeled.fold": ["2"],
    "text.labeled.folds": ["5", "data.fold=2"],
    "text.labeled.test_size": ["0.3"],
    "text.labeled.dev_size": ["0.3"],
    "text.labeled.drop_copies": ["true", "data.split='split'"],
    "text.labeled.min_count": ["21"],
    "text.labeled.max_length": ["2"],
    "text.labeled.ngrams": ["2"],
    "text.labeled.char_ngrams": ["2"],
    "text.reviews.ngrams": ["2"],
    "text.ngram_fit.inverse_regularization": ["0.3", "trainer.method='logistic_regression'"],
    "text.ngram_fit.interpolation": ["0.5", "trainer.method='nbsvm'"],
    "text.cnn_classifier.widths": ["[2]"],
    "text.english_german.num_train": ["30"],
    "text.english_german.num_dev": ["9"],
    "text.english_german.num_test": ["9"],
    "text.parallel.path": ["'@/texts2.csv'"],
    "text.parallel.source": ["'class'"],
    "text.parallel.target": ["'label'"],
    "text.parallel.split": ["'split'"],
    "text.parallel.encoding": ["'cp1252'"],
    "text.parallel.test_size": ["0.3"],
    "text.parallel.dev_size": ["0.3"],
    "text.parallel.num_subwords": ["18", "data.unit='subword'"],
    "text.parallel.min_count": ["21"],
    "text.parallel.max_length": ["2"],
    "text.seq2seq.word_dropout": ["0.9"],
    "text.seq2seq.max_length": ["3"],
    "text.seq2seq.length_penalty": ["0.0", "model.beam_size=3"],
    "text.transformer.hidden_dim": ["8"],
    "text.transformer.num_layers": ["2"],
    "text.transformer.num_heads": ["1"],
    "text.transformer.feedforward_dim": ["5"],
    "text.transformer.word_dropout": ["0.9"],
    "text.transformer.max_length": ["3"],
    "text.transformer.length_penalty": ["0.0", "model.beam_size=3"],
    "text.translation.count": ["1"],
    "text.order_test.positive": ["'negative'"],
    "text.order_test.negative": ["'negative'"],
    "text.word_contributions.count": ["2"],
    "text.rnn_tagger.embedding": ["'one_hot'", "model.embed_dim=100"],
    "text.rnn_tagger.context_window": ["3"],
    "text.rnn_tagger.word_dropout": ["0.9"],
    "text.feedforward_tagger.word_dropout": ["0.9"],
    "text.analogy_corpus.num_sentences": ["300"],
    "text.analogy_corpus.language": ["'zh'"],
    "text.rnn_tagger.vectors": ["{stage='none'}"],
    "text.analogy_corpus.min_count": ["9"],
    "text.review_corpus.num_reviews": ["40"],
    "text.review_corpus.min_count": ["9"],
    "text.corpus.path": ["'@/corpus2.txt'"],
    "text.corpus.encoding": ["'cp1252'"],
    "text.corpus.unit": ["'char'"],
    "text.corpus.min_count": ["16"],
    "text.corpus.phrase_threshold": ["1000.0", "data.phrases=1"],
    "text.vector_file.path": ["'@/vectors2.txt'"],
    "text.vector_file.max_words": ["2"],
    "text.word_vectors.min_ngram": ["2", "model.subwords=true"],
    "text.word_vectors.max_ngram": ["4", "model.subwords=true"],
    "text.word_vectors.buckets": ["50", "model.subwords=true"],
    "text.gensim_word2vec.noise_exponent": ["0.1"],
    "text.gensim_word2vec.sample": ["0.0"],
    "text.gensim_word2vec.cbow_mean": ["false", "trainer.architecture='cbow'"],
    "text.gensim_word2vec.job_words": ["500"],
    "text.gensim_word2vec.loss_every": ["2"],
    "text.gensim_word2vec.min_learning_rate": ["0.01"],
    "text.skip_gram.batch_size": ["100"],
    "text.skip_gram.noise_exponent": ["0.1"],
    "text.skip_gram.sample": ["0.0"],
    "text.analogies.questions": ["'@/questions.txt'"],
    "text.word_similarity.pairs": ["'@/pairs2.txt'"],
    "text.nearest_neighbors.of": ["['Rome']"],
    "text.word_map.words": ["['Rome', 'Italy Berlin']"],
    "text.word_map.section": ["'man-woman'"],
    "vision.digits.path": ["'@/idx'"],
    "vision.textures.classes": ["['waves', 'rings']"],
    "vision.textures.train_size": ["30"],
    "vision.textures.test_size": ["10"],
    "vision.textures.dev_size": ["0.3"],
    "vision.textures.imbalance": ["5.0"],
    "vision.textures.augment": ["{shift=1}"],
    "vision.digits.imbalance": ["5.0"],
    "vision.idx.path": ["'@/idx2'"],
    "vision.idx.labels": ["['a', 'b', 'c']", "evaluators.loss.use='core.classification'"],
    "vision.mnist.path": ["'@/idx2'"],
    "vision.mnist.dev_size": ["6"],
    "vision.image_folder.path": ["'@/images2'"],
    "vision.image_folder.size": ["12"],
    "vision.image_folder.test_size": ["0.1"],
    "vision.image_folder.dev_size": ["0.2"],
    "vision.image_folder.color": ["'rgb'"],
    "vision.cifar.path": ["'@/cifar10'"],
    "vision.cifar.dev_size": ["0.4"],
    "vision.cifar10.path": ["'@/cifar10_2'"],
    "vision.cifar10.dev_size": ["0.4"],
    "core.mlp.hidden": ["[5]"],
    "core.mlp.hidden_dim": ["6"],
    "core.mlp.num_layers": ["3"],
    "core.mlp.maxout_pieces": ["3", "model.activation='maxout'"],
    "core.mlp.connection": ["'highway'"],
    "vision.residual_net.depth": ["14"],
    "vision.residual_net.gate_bias": ["-1.0", "model.connection='highway'"],
    "vision.cnn.layers": ["[{conv=3}]"],
    "vision.cnn.maxout_pieces": ["3", "model.activation='maxout'"],
    "vision.digits.classes": ["[3, 8]"],
    "vision.backbone.name": ["'resnet34'"],
    "core.supervised.bucket_by_length": ["false"],
    "rl.returns.gamma": ["0.5"],
    "vision.content_and_style.content": ["'@/images'"],
    "vision.content_and_style.styles": ["'@/images'"],
    "vision.content_and_style.held_out_kinds": ["['dots']"],
    "vision.stylization.optimization_steps": ["2"],
    "vision.error_gallery.per_cell": ["1"],
    "vision.error_gallery.worst": ["2"],
    "vision.robustness.noise": ["[0.3]"],
    "vision.robustness.shift": ["[4]"],
    "vision.robustness.rotate": ["[10]"],
    "vision.layer_pictures.layer": ["'layers.0.conv'"],
    "vision.deep_dream.layer": ["'layers.0.conv'"],
    "vision.deep_dream.channels": ["[1, 2]"],
    "vision.deep_dream.classes": ["['3', '8']"],
    "vision.deep_dream.octaves": ["1"],
    "vision.deep_dream.octave_scale": ["1.2"],
    "vision.deep_dream.judge": ["{run='elsewhere'}"],
    "vision.deep_dream.picture": [
        "'@/images/cat/0.png'",
        "evaluators.loss={start='picture', picture='@/images/dog/0.png'}",
    ],
}
for data in ("folder", "fsdd", "manifest", "frames", "digit_strings", "transcribed"):
    table = data in ("manifest", "transcribed")
    CHANGES[f"audio.{data}.path"] = ["'@/spoken2/words.csv'" if table else "'@/spoken2'"]
    CHANGES[f"audio.{data}.test_speakers"] = ["['ann', 'bob']"]
    CHANGES[f"audio.{data}.dev_speakers"] = ["['ann', 'bob']"]
    CHANGES[f"audio.{data}.dev_size"] = ["0.3"]
    CHANGES[f"audio.{data}.test_size"] = ["0.3"]
for data in ("folder", "fsdd", "manifest"):
    word = "'one'" if data == "fsdd" else "'1'"
    CHANGES[f"audio.{data}.test_words"] = [f"[{word}]"]
    CHANGES[f"audio.{data}.dev_words"] = [f"[{word}]"]
SPEECH = ("tone_words", "spoken_words", "tone_sentences", "folder", "fsdd", "manifest", "digit_strings", "transcribed")
for data in SPEECH:
    CHANGES[f"audio.{data}.augment"] = ["{noise=0.5}"]
for data in ("folder", "manifest", "transcribed"):
    CHANGES[f"audio.{data}.rate_hz"] = ["4000"]
for data in (*SPEECH, "frames"):
    CHANGES[f"audio.{data}.features"] = ["{deltas=1, hop_ms=40.0}"]
for trainer in ("dqn", "sac", "reinforce", "a2c", "ppo"):
    CHANGES[f"rl.{trainer}.optimizer"] = ["{use='sgd', lr=0.3}"]
    CHANGES[f"rl.{trainer}.schedule"] = ["{use='step', step_size=1}"]
    CHANGES[f"rl.{trainer}.max_grad_norm"] = ["0.01"]
CHANGES["rl.sac.optimizer"] = ["{use='sgd', lr=0.001}"]  # with 0.3, it diverges
for data in ("digits", "idx", "mnist", "image_folder", "cifar", "cifar10"):
    CHANGES[f"vision.{data}.limit"] = ["9"]
    CHANGES[f"vision.{data}.augment"] = ["{shift=1}"]
#: Parameters that must not change the result of a run, and what they are for.
SAME_RESULT = {
    "core.supervised.activation_checkpointing": "memory",
    "rl.environment.num_workers": "speed",
    "rl.atari.num_workers": "speed",
    "rl.dqn.replay_storage": "memory",
    "rl.sac.replay_storage": "memory",
    "vision.image_folder.resident_mb": "memory",
}
#: Parameters that a run here cannot show, and the tests that do.
TESTED_ELSEWHERE = {
    "core.lsuv.max_iterations": "test_lsuv.py",  # linear layers take one
    "text.gensim_word2vec.workers": "test_gensim_word2vec.py",  # by chance, the result may be the same
    "text.analogies.encoding": "test_word_evaluators.py",
    "text.word_similarity.encoding": "test_word_evaluators.py",
    "text.rnn_classifier.vectors": "test_pretrained.py",
    "text.labeled.segmenter": "test_segmenters.py",
    "text.parallel.files": "test_parallel_files.py",
    "text.corpus.segmenter": "test_segmenters.py",
    "text.rnn_classifier.freeze_vectors": "test_pretrained.py",
    "text.cnn_classifier.vectors": "test_pretrained.py",
    "text.cnn_classifier.freeze_vectors": "test_pretrained.py",
    "text.rnn_tagger.vectors": "test_pretrained.py",
    "text.rnn_tagger.freeze_vectors": "test_pretrained.py",
    "core.supervised.sync_batch_norm": "test_together.py",
    "core.ensemble.average": "test_ensemble.py",
    "core.logistic_regression.features": "test_classifiers.py",
    "core.nearest_neighbors.features": "test_classifiers.py",
    "core.random_forest.features": "test_classifiers.py",
    "core.ensemble.weights": "test_ensemble.py",
    "core.linear_regression.features": "test_numbers.py",
    "core.table.task": "test_targets.py",  # it follows from the target, or must be given
    "core.table.separator": "test_reading.py",
    "core.table.encoding": "test_reading.py",
    "core.table.decimal": "test_cells.py",
    "audio.tone_words.pairs": "test_models.py",
    "audio.spoken_words.pairs": "test_models.py",
    "audio.folder.pairs": "test_models.py",
    "audio.fsdd.pairs": "test_models.py",
    "audio.manifest.pairs": "test_models.py",
    "audio.folder.skip_bad": "test_recorded_words.py",
    "audio.frames.skip_bad": "test_frames.py",
    "audio.waveforms.skip_bad": "test_waveforms.py",
    "audio.fsdd.skip_bad": "test_recorded_words.py",
    "audio.manifest.skip_bad": "test_manifest.py",
    "audio.digit_strings.skip_bad": "test_transcripts.py",
    "audio.transcribed.skip_bad": "test_transcripts.py",
    "audio.transcribed.lowercase": "test_transcripts.py",
    "rl.reinforce.baseline": "test_policy_gradients.py",
    "text.atis.download": "test_tagged_files.py",
    "vision.mnist.download": "test_idx.py",
    "vision.deep_dream.judge": "test_deep_dream.py",
    "vision.cifar10.download": "test_cifar.py",
    "vision.image_folder.unreadable": "test_image_files.py",
}


def table_of(name: str) -> str:
    """Return the table of a component in its pipeline."""
    kind = COMPONENTS[name].spec.kind
    if kind != "evaluator":
        return kind
    return next(line for line in BASES[name][0].splitlines() if line.startswith("[evaluators."))[1:-1]


def own_parameters(name: str) -> dict[str, Parameter]:
    """Return the parameters of a component that a pipeline file can set."""
    spec = COMPONENTS[name].spec
    provided = PROVIDED.get(spec.kind, set())
    facts = spec.kind in TAKES_FACTS
    return {
        key: parameter
        for key, parameter in read_signature(spec.target).parameters.items()
        if key not in provided and not (facts and (parameter.required or key in FACTS))
    }


CASES = [
    (name, parameter)
    for name in COMPONENTS
    for parameter in own_parameters(name)
    if f"{name}.{parameter}" not in TESTED_ELSEWHERE
]


@pytest.fixture(autouse=True)
def short_games(monkeypatch) -> None:
    """Let games of Atari end early."""
    if importlib.util.find_spec("ale_py"):
        monkeypatch.setattr("dlpipe_rl.atari.MAX_FRAMES", FRAMES)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder with a few files in every format that a data component reads."""
    folder = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(0)
    for number in ("", "2"):
        write_idx(folder / f"idx{number}", random)
        write_images(folder / f"images{number}", random)
        write_sentences(folder, number, random)
        write_stories(folder / f"babi{number}", random)
        write_texts(folder / f"texts{number}.csv", random)
        write_spoken(folder / f"spoken{number}", 10 + len(number))
        write_people(folder, number, random)
    write_cifar(folder, random)
    write_words(folder, random)
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    torch.save(torchvision.models.squeezenet1_1().state_dict(), folder / "squeezenet.pth")
    write_features(folder)
    return folder


def write_features(folder: Path) -> None:
    file = folder / "features.toml"
    file.write_text(f'name = "features"\nseed = 1\ndevice = "cpu"\nthreads = 1\n{FEATURES}')
    run(load_pipeline(file, REGISTRY), REGISTRY, folder / "features")


def write_idx(folder: Path, random: np.random.Generator) -> None:
    folder.mkdir()
    for split, count in (("train", 40), ("t10k", 12)):
        images = random.integers(0, 256, (count, 6, 6), dtype=np.uint8)
        for kind, content, shape in (
            ("images-idx3", images.tobytes(), images.shape),
            ("labels-idx1", bytes(number % 3 for number in range(count)), (count,)),
        ):
            head = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
            (folder / f"{split}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + content))


PEOPLE_OF_STORIES, ENDS = ["Ann", "Bob", "Eve"], ["home", "out", "here"]


def write_stories(folder: Path, random: np.random.Generator) -> None:
    folder.mkdir()
    for task in (1, 2):
        for split, count in (("train", 20), ("valid", 6), ("test", 6)):
            stories = (
                f"1 {name} is {place}.\n2 Where is {name}?\t{place}\t1\n"
                for name, place in zip(random.choice(PEOPLE_OF_STORIES, count), random.choice(ENDS, count), strict=True)
            )
            (folder / f"qa{task}_{split}.txt").write_text("".join(stories))


def write_cifar(folder: Path, random: np.random.Generator) -> None:
    def rows(count: int, labels: Any) -> bytes:
        return b"".join(bytes(labels(number)) + random.bytes(3072) for number in range(count))

    hundred = folder / "cifar100"
    hundred.mkdir()
    for ten in (folder / "cifar10", folder / "cifar10_2"):
        ten.mkdir()
        (ten / "data_batch_1.bin").write_bytes(rows(40, lambda number: [number % 10]))
        (ten / "test_batch.bin").write_bytes(rows(10, lambda number: [number % 10]))
        (ten / "batches.meta.txt").write_text("".join(f"class{number}\n" for number in range(10)))
    for split in ("train", "test"):
        (hundred / f"{split}.bin").write_bytes(rows(200, lambda number: [number % 20, number % 100]))
    (hundred / "fine_label_names.txt").write_text("".join(f"fine{number}\n" for number in range(100)))
    (hundred / "coarse_label_names.txt").write_text("".join(f"coarse{number}\n" for number in range(20)))


def write_images(folder: Path, random: np.random.Generator) -> None:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def write_sentences(folder: Path, number: str, random: np.random.Generator) -> None:
    def text(count: int) -> str:
        words = [f"{'Word' if random.random() < 0.3 else 'word'}{random.integers(9)}" for _ in range(3 * count)]
        lines = ["BOS\tO" if index % 3 == 0 else f"{word}\tB-{word[-1]}" for index, word in enumerate(words)]
        return "\n".join("\n".join(lines[start : start + 3]) + "\n" for start in range(0, len(lines), 3))

    for name, splits in (("iob", ("train", "test")), ("atis", ("atis.train", "atis.test")), ("other", ("a", "b", "c"))):
        (folder / f"{name}{number}").mkdir()
        for split in splits:
            (folder / f"{name}{number}" / f"{split}.iob").write_text(text(30))


def write_spoken(folder: Path, takes: int) -> None:
    folder.mkdir()
    for name, content in digits(("0", "1"), ("ann", "bob", "cem", "dee"), takes).items():
        (folder / name).write_bytes(content)
    said = [(path.name, *path.stem.split("_")[:2]) for path in sorted(folder.glob("*.wav"))]
    rows = [",".join((*row, f"{row[1]} {row[1]}")) for row in said]
    (folder / "words.csv").write_text("\n".join(["path,word,speaker,text", *rows]))


def write_people(folder: Path, number: str, random: np.random.Generator) -> None:
    rows = [
        f"{random.integers(20, 70)},{('Oslo', 'Rome', 'Bonn')[row % 3]},{random.normal():.3f},"
        f"{('yes', 'no')[row * 7 % 2]},{('train', 'dev', 'test')[row % 5 % 3]}"
        for row in range(60)
    ]
    (folder / f"people{number}.csv").write_text("\n".join(["age,city,weight,ill,part", *rows]))
    gaps = [f"{'' if row % 9 == 0 else 20 + row % 4},{row},{('yes', 'no')[row % 2]}" for row in range(60)]
    (folder / f"gaps{number}.csv").write_text("\n".join(["age,weight,ill", *gaps]))


def write_texts(path: Path, random: np.random.Generator) -> None:
    rows, first = [",".join(("text", "other", "label", "class", "split"))], ""
    for number in range(60):
        text, second = (
            " ".join(f"{'Wörd' if random.random() < 0.3 else 'wörd'}{n}" for n in random.integers(9, size=4))
            for _ in "ab"
        )
        first = first if number else text
        text = first if number == 57 else text  # a test text that is also in train
        rows.append(f"{text},{second},{number % 2},{number % 3},{('train', 'dev', 'test')[number % 5 % 3]}")
    path.write_text("\n".join(rows), encoding="utf-8")


def write_words(folder: Path, random: np.random.Generator) -> None:
    for number in ("", "2"):
        lines = [
            " ".join(f"{'Wörd' if random.random() < 0.3 else 'wörd'}{n}." for n in random.integers(30, size=6))
            for _ in range(80)
        ]
        lines += ["new york"] * 10
        (folder / f"corpus{number}.txt").write_text("\n".join(lines), encoding="utf-8")
        vectors = "".join(f"w{word} {word + 1} {random.random()}\n" for word in range(4))
        (folder / f"vectors{number}.txt").write_text(vectors, encoding="utf-8")
        words = ["Rome", "Italy", "Berlin", "Paris", "king", "queen"]
        pairs = [(*random.choice(words, 2), random.integers(10)) for _ in range(9)]
        heading = "Wört\tWort\tZahl\n"
        rows = "".join(f"{first}\t{second}\t{score}\n" for first, second, score in pairs)
        (folder / f"pairs{number}.txt").write_text(heading + rows, encoding="utf-8")
    (folder / "questions.txt").write_text(": mine\nRome Italy Berlin Germany\n", encoding="utf-8")


def other(parameter: Parameter) -> str | None:
    """Return another value than the default, as TOML, or None if there is no obvious one."""
    kind, default = parameter.kind, parameter.default
    kinds = [kind, *typing.get_args(kind)]
    choices = [value for part in kinds if typing.get_origin(part) is typing.Literal for value in typing.get_args(part)]
    if isinstance(default, bool):
        return json.dumps(not default)
    if choices:
        return json.dumps(next(value for value in choices if value != default))
    if isinstance(default, int):
        return str(default + 1 if default < 2 else default // 2)
    if isinstance(default, float):
        return str(default / 2 if default else 0.25)
    return None


#: Columns of comparison.csv that differ from run to run.
MEASURED = ("ms_per_comparison", "times_faster_than_dtw")


def without_times(path: Path) -> bytes:
    """Return the content of a file that a run left behind, without the columns in which it measured a time."""
    if path.name != "comparison.csv":
        return path.read_bytes()
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{key: cell for key, cell in row.items() if key not in MEASURED} for row in csv.DictReader(file)]
    return json.dumps(rows).encode()


class Audit:
    """Runs pipelines and keeps what the unchanged ones leave behind."""

    def __init__(self, folder: Path, files: Path) -> None:
        self._folder, self._files = folder, files
        self._numbers, self._known = itertools.count(), {}

    def outcome(self, text: str, assignments: list[str]) -> dict[str, Any]:
        """Return what a run leaves behind, without what depends on the clock or merely repeats the pipeline."""
        key = text, *assignments
        if key not in self._known:
            self._known[key] = self.run(text, assignments)
        return self._known[key]

    def run(self, text: str, assignments: list[str]) -> dict[str, Any]:
        """Return what a run leaves behind, without looking whether there was one already."""
        place = self._folder / str(next(self._numbers))
        place.mkdir()
        (place / "pipeline.toml").write_text(f'name = "audit"\nseed = 1\ndevice = "cpu"\nthreads = 1\n{text}')
        changes = [change.replace("@", str(self._files)) for change in assignments]
        pipeline = load_pipeline(place / "pipeline.toml", REGISTRY, changes)
        folder = run(pipeline, REGISTRY, place / "runs", fresh=True).path
        left = {
            str(path.relative_to(folder)): hashlib.sha256(without_times(path)).hexdigest()
            for part in ("figures", "samples")
            for path in sorted((folder / part).rglob("*"))
            if path.is_file()
        }
        saved = Checkpoints(folder / "checkpoints", warn=print)
        weights = {
            path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((folder / "checkpoints").glob("step-*/*.safetensors"))
        }
        return {
            "metrics": comparable_metrics(folder),
            "weights": weights,
            "best": saved.best().name if saved.best() else None,
            "files": left,
            "warnings": json.loads((folder / "provenance.json").read_text()).get("warnings", []),
        }


@pytest.fixture(scope="module")
def audit(tmp_path_factory, files) -> Audit:
    return Audit(tmp_path_factory.mktemp("audit"), files)


#: A model for which there is a file of weights.
SQUEEZENET = [
    "data={use='vision.image_folder', path='@/images', size=32}",
    "model={use='vision.backbone', name='squeezenet1_1'}",
    "trainer.steps=1",
]
#: What a setting of the pipeline, an option of the model, of the loop or of every evaluator is changed to, and what it needs.
OPTION_CHANGES = {
    "model.start": ["{file='@/squeezenet.pth'}", *SQUEEZENET],
    "model.freeze": ["['layers.2']"],
    "seed": ["2"],
    "precision": ["'bfloat16'"],
    "trainer.epochs": ["1", "trainer.steps=9"],
    "trainer.steps": ["2"],
    "trainer.minutes": ["1e-9"],
    "trainer.log_every": ["2"],
    "trainer.evaluate_every": ["1"],
    "trainer.checkpoint_every": ["1"],
    "trainer.checkpoint_minutes": ["1e-9"],
    "trainer.keep": ["1", "trainer.checkpoint_every=1"],
    "trainer.monitor": ["'dev/second/accuracy'", *SECOND],
    "trainer.goal": ["'max'", "trainer.evaluate_every=1"],
    "trainer.patience": ["1", "trainer.evaluate_every=1", "trainer.steps=30", "trainer.optimizer={use='sgd', lr=50}"],
    "trainer.min_delta": ["9.0", "trainer.patience=1", "trainer.evaluate_every=1", "trainer.steps=5"],
    "trainer.ties": [
        "'first'",
        "trainer.evaluate_every=1",
        "trainer.monitor='dev/second/accuracy'",
        "trainer.optimizer={use='sgd', lr=1e-5}",
        *SECOND,
    ],
    "evaluators.loss.splits": ["['test']"],
    "evaluators.loss.train_examples": ["3", "evaluators.loss.splits=['train', 'test']"],
    "evaluators.loss.compare_baselines": ["false", "evaluators.loss.use='core.classification'"],
}
#: Those that a run here must not show.
OPTIONS_WITHOUT_EFFECT = {
    "name": "it names the folder",
    "device": "this pipeline computes on the CPU",
    "threads": "it decides the speed, and the order of sums on several cores",
    "deterministic": "the CPU is",
    "tf32": "the CPU has none; test_compute.py and test_compilation.py",
    "offline": "nothing here is downloaded",
    "parallel": "one process trains alone",
    "compile": "test_compilation.py; numbers are equal but for rounding",
    "evaluation_batch_size": "test_examples.py and test_prediction.py; numbers are equal but for rounding",
}
PLACES = {
    SETTINGS: "",
    OPTIONS["model"]: "model.",
    OPTIONS["trainer"]: "trainer.",
    OPTIONS["evaluator"]: "evaluators.loss.",
}
ALL_OPTIONS = [place + parameter for target, place in PLACES.items() for parameter in read_signature(target).parameters]


@pytest.mark.slow
@pytest.mark.parametrize("option", [option for option in ALL_OPTIONS if option not in OPTIONS_WITHOUT_EFFECT])
def test_a_changed_option_changes_what_a_run_leaves_behind(audit, option):
    value, *needed = OPTION_CHANGES[option]

    assert audit.outcome(IMAGES, needed) != audit.outcome(IMAGES, [*needed, f"{option}={value}"])


RELATED = [
    (name, parameter, relation)
    for name in COMPONENTS
    for parameter, known in own_parameters(name).items()
    for relation in known.relations
]


def without_effect(relation: Relation, parameters: Mapping[str, Parameter]) -> str:
    """Return an assignment to another parameter, as TOML, beside which a parameter has no effect."""
    name = relation.parameters()[0]
    allowed = relation.values.get(name, ())
    allowed = allowed if isinstance(allowed, tuple) else (allowed,)
    if isinstance(relation, NotWith):
        kind = parameters[name].kind
        kind = typing.get_origin(kind if typing.get_origin(kind) is Sequence else typing.get_args(kind)[0])
        examples = {typing.Annotated: "2", Sequence: "['a']"}
        value = json.dumps(allowed[0]) if allowed else examples.get(kind, "'@/other/b.iob'")
        return f"{name}={value}"
    if not allowed:
        default = parameters[name].default
        return f"{name}={'[]' if isinstance(default, tuple) else 'false' if isinstance(default, bool) else '0'}"
    if isinstance(allowed[0], bool):
        return f"{name}={json.dumps(not allowed[0])}"
    kind = parameters[name].kind
    if typing.get_origin(kind) is typing.Union:  # a number or a word
        return f"{name}=0.5"
    values = CHOICES.get(parameters[name].choice) or typing.get_args(kind)
    return f"{name}={json.dumps(next(v for v in values if v not in allowed))}"


@pytest.mark.parametrize(("name", "parameter", "relation"), RELATED, ids=lambda value: str(value))
def test_a_parameter_without_effect_beside_the_others_is_refused(tmp_path, name, parameter, relation):
    text, base = BASES[name]
    known, table = own_parameters(name), table_of(name)
    value = CHANGES.get(f"{name}.{parameter}", [other(known[parameter])])[0]
    changes = [without_effect(relation, known), f"{parameter}={value}"]
    (tmp_path / "pipeline.toml").write_text(f'name = "audit"\n{text}')

    with pytest.raises(PipelineError) as caught:
        load_pipeline(
            tmp_path / "pipeline.toml",
            REGISTRY,
            [*base, *(f"{table}.{change}" for change in changes)],
        )

    assert f"{table}] {parameter} = " in str(caught.value)
    assert "effect" in str(caught.value)


def test_every_component_has_a_pipeline_in_which_it_is_changed():
    assert {name for name, _ in CASES} <= set(BASES)


@pytest.mark.slow
@pytest.mark.parametrize("name", BASES)
def test_the_same_pipeline_leaves_the_same_behind(audit, name):
    needs_packages_of(name)

    assert audit.run(*BASES[name]) == audit.outcome(*BASES[name])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "parameter"), CASES, ids=lambda value: str(value))
def test_a_changed_parameter_changes_what_a_run_leaves_behind(audit, name, parameter):
    needs_packages_of(name)
    text, base = BASES.get(f"{name}.{parameter}", BASES[name])
    change, *needed = CHANGES.get(f"{name}.{parameter}", [None])
    value = change or other(own_parameters(name)[parameter])
    assert value is not None, f"say in CHANGES what to change {name}.{parameter} to"

    before = audit.outcome(text, [*base, *needed])
    after = audit.outcome(text, [*base, *needed, f"{table_of(name)}.{parameter}={value}"])

    if f"{name}.{parameter}" in SAME_RESULT:
        assert after == before
    else:
        assert after != before


@pytest.mark.slow
@pytest.mark.parametrize("name", BASES)
def test_a_rehearsal_finds_nothing_wrong_with_a_component(tmp_path, files, name, recwarn):
    needs_packages_of(name)
    text, base = BASES[name]
    (tmp_path / "pipeline.toml").write_text(f'name = "audit"\nseed = 1\ndevice = "cpu"\nthreads = 1\n{text}')
    changes = [change.replace("@", str(files)) for change in base]

    dry_run(load_pipeline(tmp_path / "pipeline.toml", REGISTRY, changes))

    assert [str(each.message) for each in recwarn if str(each.message).startswith("[")] == []
