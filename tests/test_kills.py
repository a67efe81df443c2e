"""Real processes, killed at random moments, end with the same bits as one that nobody disturbed: every trainer.

Trainers that the table does not know are an error, so that none is forgotten.
"""

from __future__ import annotations

import pytest

from dlpipe.registry.loading import load_plugins
from dlpipe.testing import check_kills

from .conftest import needs_atari

EAGER = ["threads=1", "trainer.checkpoint_every=3", "trainer.log_every=4"]
SENTENCES = ["data.num_train=120", "data.num_dev=30", "data.num_test=30", "trainer.epochs=12"]
PLAYED = ["trainer.evaluate_every=10", "evaluators.play.episodes=3"]
#: By trainer: a name, a pipeline, and what makes a run of seconds of it that uses all that has a state.
RUNS = {
    "core.supervised": [
        ("recurrent", "slot_filling.toml", SENTENCES),
        (
            "everything",
            "slot_filling.toml",
            [
                *SENTENCES,
                "model.inputs=both",
                "model.output=crf",
                "trainer.ema_decay=0.9",
                "trainer.gradient_accumulation_steps=2",
                "trainer.warmup_steps=5",
                "trainer.schedule={use='one_cycle',max_lr=0.01}",
                "trainer.patience=50",
            ],
        ),
        (
            "momentum",
            "slot_filling_feedforward.toml",
            [*SENTENCES, "trainer.optimizer={use='sgd',lr=0.1,momentum=0.9}"],
        ),
        (
            "augmented images",
            "logistic_digits.toml",
            [
                "trainer.epochs=6",
                "data.limit=300",
                "data.augment={rotate=10,shift=1}",
                "model.hidden=[20]",
                "evaluators.digits.use=core.loss",
            ],
        ),
    ],
    "core.no_training": [
        (
            "a model as it is",
            "logistic_digits.toml",
            ["trainer={use='core.no_training'}", "evaluators.digits.use=core.loss"],
        ),
    ],
    "core.lsuv": [
        ("initial weights", "logistic_digits.toml", ["trainer={use='core.lsuv'}", "evaluators.digits.use=core.loss"]),
    ],
    "core.fit": [
        ("a forest", "baselines_digits.toml", ["model.num_trees=300", "evaluators.digits.use=core.loss"]),
    ],
    "text.ngram_fit": [
        ("a fit in one step", "sentiment_naive_bayes.toml", ["data.num_train=200"]),
    ],
    "text.gensim_word2vec": [
        (
            "jobs of gensim",
            "word_vectors.toml",
            ["data.num_sentences=3000", "trainer.epochs=12", "trainer.job_words=900"],
        ),
    ],
    "text.skip_gram": [
        (
            "batches in torch",
            "word_vectors.toml",
            ["data.num_sentences=1000", "data.min_count=1", "trainer={use='text.skip_gram',epochs=12,batch_size=400}"],
        ),
    ],
    "text.load_vectors": [
        (
            "a file of vectors",
            "word_vectors.toml",
            [
                "data={use='text.vector_file',path='tests/text/vectors.txt'}",
                "model.vector_size=2",
                "trainer={use='text.load_vectors'}",
                "evaluators.analogies.use=text.nearest_neighbors",
                "evaluators.map={use='text.nearest_neighbors'}",
            ],
        ),
    ],
    "generative.gan_trainer": [
        (
            "two nets",
            "gan_ring.toml",
            ["data.count=2000", "trainer.steps=90", "trainer.evaluate_every=20", "trainer.critic_steps=2"],
        ),
    ],
    "rl.dqn": [
        (
            "an agent with a memory",
            "dqn_catch.toml",
            [
                "trainer.timesteps=400",
                "trainer.learning_starts=60",
                "trainer.replay_size=150",
                "trainer.n_step=3",
                "trainer.priority_alpha=0.6",
                "trainer.batch_size=8",
                "trainer.target_every=5",
                "trainer.evaluate_every=60",
                "evaluators.play.episodes=3",
            ],
        ),
        (
            "two agents on CartPole",
            "dqn_cartpole.toml",
            [
                "trainer.timesteps=900",
                "trainer.num_envs=2",
                "trainer.learning_starts=100",
                "trainer.batch_size=8",
                *PLAYED,
            ],
        ),
        (
            "two agents on Pong",
            "dqn_pong.toml",
            [
                "device=cpu",
                "data.screen_size=42",
                "data.num_workers=0",
                "model.hidden=[16]",
                "trainer.steps=60",
                "trainer.num_envs=2",
                "trainer.learning_starts=60",
                "trainer.replay_size=150",
                "trainer.batch_size=8",
                "trainer.target_every=20",
                "trainer.evaluate_every=30",
                "evaluators.play.episodes=1",
            ],
        ),
    ],
    "rl.sac": [
        (
            "continuous actions",
            "sac_pendulum.toml",
            [
                "trainer.timesteps=600",
                "trainer.learning_starts=100",
                "trainer.replay_size=300",
                "trainer.batch_size=8",
                "trainer.evaluate_every=60",
                "data.max_episode_steps=30",
                "model.hidden=[8]",
                "evaluators.play.episodes=3",
            ],
        )
    ],
    "rl.reinforce": [
        ("whole episodes", "reinforce_cartpole.toml", ["trainer.steps=20", "trainer.episodes=4", *PLAYED])
    ],
    "rl.a2c": [("a few moves", "a2c_cartpole.toml", ["trainer.steps=60", *PLAYED])],
    "rl.ppo": [
        ("several passes", "ppo_cartpole.toml", ["trainer.timesteps=12_032", "trainer.update_epochs=3", *PLAYED])
    ],
}
CASES = [case for cases in RUNS.values() for case in cases]


def test_no_trainer_is_forgotten():
    assert set(RUNS) == set(load_plugins().components["trainer"])


@pytest.mark.slow
def test_ten_kills_cost_nothing(root, tmp_path):
    _, file, settings = CASES[0]

    moments = check_kills(root / "pipelines" / file, tmp_path, assignments=[*EAGER, *settings], kills=10)

    assert moments.total() >= 10
    assert moments["in a save"]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "settings"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_fifty_kills_over_all_trainers_cost_nothing(root, tmp_path, file, settings):
    if file == "dqn_pong.toml":
        needs_atari()
    each = -(-50 // len(CASES))

    moments = check_kills(root / "pipelines" / file, tmp_path, assignments=[*EAGER, *settings], kills=each, seed=1)

    assert moments.total() >= each
