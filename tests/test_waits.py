"""Between two log points, no step waits for a GPU, except for what must be known on the CPU.

What waits is a value that is read (``.item()``, a mask used as an index, lengths on the GPU), and a copy to the GPU
without ``non_blocking``. The GPU is pretended; a real one has not been tried.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import dlpipe.engine.build
from dlpipe.compute import Compute
from dlpipe.config.check import load_pipeline
from dlpipe.config.pipeline import Reference
from dlpipe.engine.build import build_for_training
from dlpipe.engine.starting_weights import TrainedModel
from dlpipe.ranks import Ranks
from dlpipe.registry.loading import load_plugins
from dlpipe.training.batch_norm import SyncedBatchNorm
from dlpipe.training.sharding import Sharding
from dlpipe_vision.cnn import CNN

from .pretend_gpu import GPU, pretend_gpu
from .test_option_audit import BASES

STEPS = 3
SMALL = "trainer.batch_size=4"  # so that all steps are in the first epoch: at its start the order is copied
MIXED = [SMALL, "trainer.bucket_by_length=false"]  # sentences of different lengths in a batch
GREEDY = ["trainer.epsilon_start=0.0", "trainer.epsilon_end=0.0"]
#: Of each case: the component whose pipeline of the option audit is taken, changes to it, and how often a step waits.
#: An agent in environments on the CPU waits for its actions, once for all environments.
CASES: dict[str, tuple[str, list[str], int]] = {
    "mlp": ("core.supervised", [SMALL, "trainer.ema_decay=0.9", "trainer.max_grad_norm=1.0"], 0),
    "tagger-crf": ("text.rnn_tagger", [*MIXED, "model.output='crf'"], 0),
    "ppo": ("rl.ppo", [], 15),
    "accumulation": ("generative.vae", ["trainer.batch_size=2", "trainer.gradient_accumulation_steps=2"], 0),
    "schedule": ("core.supervised", [SMALL, "trainer.warmup_steps=2", "trainer.schedule={use='cosine_annealing'}"], 0),
    "augmented": (
        "core.supervised",
        [SMALL, "data.augment={shift=1, rotate=3.0, scale=0.1, flip=true, crop=1, erase=0.5, noise=0.1}"],
        0,
    ),
    "cnn": ("vision.cnn", [SMALL], 0),
    "highway": ("vision.residual_net", [SMALL, "model.connection='highway'"], 0),
    "style-transfer": ("vision.style_transfer", ["trainer.batch_size=2"], 0),
    "autoencoder": ("generative.autoencoder", [SMALL], 0),
    "vae": ("generative.vae", [SMALL, "model.warmup_steps=5"], 0),
    "pixel-cnn": ("generative.pixel_cnn", [SMALL, "model.conditional=true"], 0),
    "tagger-lstm": ("text.rnn_tagger", MIXED, 0),
    "tagger-jordan": ("text.rnn_tagger", [*MIXED, "model.cell='jordan'"], 0),
    "tagger-feedforward": ("text.feedforward_tagger", MIXED, 0),
    "classifier-last": ("text.rnn_classifier", MIXED, 0),
    "classifier-attention": ("text.rnn_classifier", [*MIXED, "model.pooling='attention'"], 0),
    "classifier-cnn": ("text.cnn_classifier", MIXED, 0),
    "translator": ("text.seq2seq", MIXED, 0),
    "translator-feeding": ("text.seq2seq", [*MIXED, "model.input_feeding=true", "model.cell='lstm'"], 0),
    "transformer": ("text.transformer", MIXED, 0),
    "memory-network": ("text.memory_network", MIXED, 0),
    "regressor": ("text.sequence_regressor", [SMALL], 0),
    "words": ("audio.seq2seq_autoencoder", MIXED, 0),
    # The length of a partner that is drawn on the GPU must be known on the CPU, and so must that of a stretched word.
    "words-pairs": ("audio.seq2seq_autoencoder", [SMALL, "data.pairs='same_word'", "model.target='same_word'"], 1),
    "words-speed": ("audio.seq2seq_autoencoder", [SMALL, "data.augment={speed=0.1, time_mask=2}"], 1),
    "recognizer": ("audio.ctc_recognizer", [SMALL, "data.sentences=4"], 0),
    "wavenet": ("audio.wavenet", [SMALL], 0),
    "gan": ("generative.gan_trainer", [SMALL, "trainer.ema_decay=0.9"], 0),
    "wgan": (
        "generative.gan_trainer",
        ["trainer.batch_size=2", "trainer.critic_steps=2", "trainer.loss='wgan_gp'", "model.conditional=true"],
        0,
    ),
    "dcgan": ("generative.dcgan", [SMALL], 0),
    "dqn": ("rl.dqn", ["trainer.num_envs=2", *GREEDY], 1),
    # Priorities are kept on the CPU.
    "dqn-priorities": ("rl.dqn", ["trainer.priority_alpha=0.6", "trainer.n_step=3", *GREEDY], 2),
    "sac": ("rl.sac", ["trainer.num_envs=2", "trainer.max_grad_norm=1.0"], 1),
    "a2c": ("rl.a2c", [], 15),
    "ppo-continuous": ("rl.ppo", ["data.id='Pendulum-v1'"], 15),
    "reinforce": ("rl.reinforce", ["data.max_episode_steps=5"], 5),
}
FAST = {"tagger-crf", "ppo"}


def trained_model(reference: Reference) -> TrainedModel:
    """Return the network whose layers the style transfer uses; nothing else here refers to a trained model."""
    assert "features" in str(reference.run)
    return TrainedModel(CNN((3, 12, 12), 10, layers=[{"conv": 3}, {"pool": 2}, {"conv": 4}]), {"pixel_range": (0, 1)})


@pytest.mark.parametrize(
    "case", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_a_step_waits_for_the_gpu_only_where_it_must(monkeypatch, tmp_path: Path, case):
    base, changes, expected = CASES[case]
    text, needed = BASES[base]
    (tmp_path / "pipeline.toml").write_text(f'name = "waits"\nthreads = 1\n{text}')
    pipeline = load_pipeline(tmp_path / "pipeline.toml", load_plugins(), [*needed, *changes])
    stage = pipeline.stages[""]
    monkeypatch.setattr(dlpipe.engine.build, "configure_torch", lambda _: Compute(GPU))

    with pretend_gpu() as waits:
        components = build_for_training(pipeline.settings, stage, trained_model)
        steps = components.trainer.steps()
        next(steps)
        waits.clear()
        for _ in range(STEPS):
            next(steps)
        found = dict(waits)
        components.close()

    assert sum(found.values()) == expected * STEPS, found


class Alone(Ranks):
    """One of two ranks, whose other one never has any example."""

    def total(self, tensor):
        return tensor


@pytest.mark.parametrize("momentum", [0.1, None])
def test_synced_batch_normalization_does_not_wait(momentum):
    with pretend_gpu() as waits:
        layer = torch.nn.BatchNorm2d(3, momentum=momentum).to(GPU)
        SyncedBatchNorm(layer, Alone(0, 2))
        images = torch.rand(5, 3, 2, 4).to(GPU)
        waits.clear()

        layer(images).sum().backward()

        assert not waits


def test_the_norm_of_gradients_that_are_cut_stays_on_the_gpu(monkeypatch):
    class Cut:
        def full_tensor(self):
            return torch.ones((), device=GPU)

    monkeypatch.setattr("dlpipe.training.sharding.DTensor", Cut)

    with pretend_gpu() as waits:
        norm = Sharding.whole_tensor(SimpleNamespace(_compute=Compute(GPU)), Cut())

    assert norm.device == GPU
    assert not waits


def test_what_waits_is_counted_with_its_line():
    with pretend_gpu() as waits:
        values = torch.arange(6.0).to(GPU, non_blocking=True)
        assert not waits
        values[values > 2]
        values.sum().item()
        values.cpu()
        torch.tensor([1.0], device=GPU)
        values[torch.tensor([1])]

    assert sorted(wait.split(" ", 1)[1] for wait in waits) == [
        "copies from the GPU",
        "copies indices to the GPU",
        "copies to the GPU",
        "indexes by a mask",
        "reads a number",
    ]
