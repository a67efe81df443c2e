"""A run that is stopped and resumed ends with the same weights as an uninterrupted one."""

import pytest

from dlpipe.testing import check_resume

pytestmark = pytest.mark.usefixtures("without_report")

DIGITS = ["data.limit=100", "trainer.steps=8", "trainer.evaluate_every=3"]
CASES = {
    "vae_digits": [*DIGITS, "model.hidden=[8]", "model.warmup_steps=20", "trainer.batch_size=30"],
    "autoencoder_digits": [*DIGITS, "model.noise=0.2", "trainer.batch_size=30", "trainer.ema_decay=0.9"],
    "dcgan_digits": [
        *DIGITS,
        "model.channels=4",
        "trainer.batch_size=30",
        "evaluators.balance.count=20",
        "evaluators.quality.classifier_steps=2",
        "evaluators.learned.classifier_steps=2",
        "evaluators.learned.count=20",
        "evaluators.nearest.count=20",
    ],
}
RING = ["data.count=600", "model.hidden=[8]", "trainer.batch_size=100", "evaluators.modes.count=50", *DIGITS[1:]]


@pytest.mark.parametrize("pipeline", CASES)
def test_a_resumed_run_on_digits_equals_an_uninterrupted_one(root, tmp_path, pipeline):
    check_resume(root / "pipelines" / f"{pipeline}.toml", tmp_path, assignments=CASES[pipeline], stops=[5])


@pytest.mark.parametrize(
    "changes", [["trainer.critic_steps=2"], ["trainer.loss=wgan_gp"]], ids=["critic steps", "gradient penalty"]
)
def test_a_resumed_run_on_the_ring_equals_an_uninterrupted_one(root, tmp_path, changes):
    check_resume(root / "pipelines" / "gan_ring.toml", tmp_path, assignments=[*RING, *changes], stops=[1, 5])
