from __future__ import annotations

import pytest

from dlpipe_generative.gan_diagnostics import GANDiagnostics
from dlpipe_generative.modes import Modes

pytestmark = pytest.mark.usefixtures("without_report", "without_pictures")

RING = """
name = "patient"
threads = 1
[data]
use = "generative.gaussian_ring"
deviation = 0.2
count = 2000
[model]
use = "generative.gan"
hidden = [64, 64]
latent_dim = 2
[trainer]
use = "generative.gan_trainer"
batch_size = 128
steps = 300
generator_optimizer = { use = "adam", lr = 2e-3, betas = [0.0, 0.9] }
discriminator_optimizer = { use = "adam", lr = 2e-3, betas = [0.0, 0.9] }
ema_decay = 0.98
log_every = 20
evaluate_every = 100
[evaluators.modes]
use = "generative.modes"
count = 500
[evaluators.balance]
use = "generative.gan_diagnostics"
count = 200
"""
DIGITS = """
name = "patient"
threads = 1
[data]
use = "vision.digits"
normalize = "unit"
[model]
use = "generative.vae"
hidden = [64]
likelihood = "gaussian"
likelihood_std = 0.15
latent_dim = 8
[trainer]
use = "core.supervised"
steps = 200
batch_size = 64
log_every = 10
evaluate_every = 100
[evaluators.bound]
use = "generative.elbo"
"""
#: What is done to a pipeline, and the rules of this plugin that must find it.
SICK = {
    "a generator that hardly moves": (
        RING,
        ["trainer.generator_optimizer.lr=1e-6"],
        ["generative.discriminator-wins", "generative.mode-collapse"],
    ),
    "a generator that moves too far": (
        RING,
        [
            "trainer.generator_optimizer={use='adam',lr=1e-2,betas=[0.5,0.9]}",
            "trainer.discriminator_optimizer={use='adam',lr=1e-3,betas=[0.5,0.9]}",
            "trainer.ema_decay=0.5",
        ],
        ["generative.mode-collapse"],
    ),
    "a code that costs too much": (DIGITS, ["model.beta=100"], ["generative.posterior-collapse"]),
    "images that hardly matter": (DIGITS, ["model.likelihood_std=5.0"], ["generative.posterior-collapse"]),
}
SOUND = {"points": (RING, []), "images": (DIGITS, [])}


@pytest.fixture
def without_pictures(monkeypatch):
    """Draw nothing: that takes longer than these trainings."""
    monkeypatch.setattr(Modes, "sample", lambda self, *arguments: [])
    for kind in (Modes, GANDiagnostics):
        monkeypatch.setattr(kind, "write", lambda self, folder: [])


@pytest.mark.parametrize("name", SICK)
@pytest.mark.filterwarnings("ignore:.*collapse_threshold")
def test_a_training_with_a_fault_is_found_by_the_rules_for_it(name, patient):
    text, changes, rules = SICK[name]

    found = patient(text).trained(*changes)

    assert [each.rule for each in found if each.rule.startswith("generative.")] == rules
    assert all(each.remedies for each in found)


@pytest.mark.parametrize("name", SOUND)
def test_no_fault_is_found_in_a_sound_training(name, patient):
    text, changes = SOUND[name]

    found = patient(text).trained(*changes)

    assert [each.rule for each in found if not each.advice] == []


@pytest.fixture
def ring(patient):
    return patient(RING)


@pytest.fixture
def digits(patient):
    return patient(DIGITS)


def values(finding):
    """Return what all remedies set."""
    return {path: value for remedy in finding.remedies for path, value in remedy.values.items()}


def discriminated(loss, real, fake):
    return {
        f"train/{name}": [0.5] * 9 + [value] for name, value in (("d_loss", loss), ("d_real", real), ("d_fake", fake))
    }


def test_a_discriminator_that_always_wins(ring):
    wins = discriminated(0.01, 0.96, 0.05)

    (found,) = ring.asked(wins).values()

    assert found.rule == "generative.discriminator-wins"
    assert found.evidence == "in the last tenth of the training, d_loss is 0.01, d_real 0.96 and d_fake 0.05"
    assert values(found) == {"trainer.discriminator_optimizer.lr": 0.0002, "trainer.label_smoothing": 0.1}
    (slow,) = ring.asked(wins, "trainer.generator_optimizer.lr=1e-6").values()
    assert values(slow)["trainer.generator_optimizer.lr"] == 0.002
    assert ring.asked(discriminated(0.01, 0.94, 0.05)) == {}
    assert ring.asked({name: curve[1:] for name, curve in wins.items()}) == {}  # few points


def test_smoothed_labels_leave_the_discriminator_less_to_win(ring):
    smooth = "trainer.label_smoothing=0.2"

    assert "trainer.label_smoothing" not in values(*ring.asked(discriminated(0.5, 0.79, 0.05), smooth).values())
    assert ring.asked(discriminated(0.5, 0.76, 0.05), smooth) == {}


@pytest.mark.parametrize(
    ("name", "loss", "found"), [("hinge", 0.09, True), ("hinge", 0.1, False), ("wgan_gp", -50.0, False)]
)
def test_the_scores_of_other_losses_are_no_probabilities(ring, name, loss, found):
    asked = ring.asked(discriminated(loss, 10.0, -10.0), f"trainer.loss={name}")

    assert list(asked) == ["generative.discriminator-wins"] * found


def test_a_discriminator_of_images_may_be_limited(patient):
    text = RING.replace('use = "generative.gaussian_ring"\ndeviation = 0.2\ncount = 2000', 'use = "vision.digits"')
    images = patient(
        text.replace('"generative.gan"\nhidden = [64, 64]', '"generative.dcgan"').replace(
            "generative.modes", "generative.samples"
        )
    )

    (found,) = images.asked(discriminated(0.01, 0.99, 0.01), "data.normalize=symmetric").values()

    assert values(found)["model.discriminator_norm"] == "spectral"


def near(share, covered):
    return {"dev/modes/high_quality": [share] * 3, "dev/modes/covered_quality": [covered * share] * 3}


def test_a_generator_that_covers_few_modes(ring):
    slower = "trainer.discriminator_optimizer.lr=1e-3"

    (found,) = ring.asked(near(0.8, 0.5), slower).values()

    assert found.rule == "generative.mode-collapse"
    assert found.evidence == "at the end, 80% of the generated points are near a mode, and 50% of the modes are covered"
    assert [remedy.name for remedy in found.remedies] == [
        "the discriminator's rate for both",
        "a tenth of the generator's rate",
        "three times as long",
    ]
    (slow,) = ring.asked(near(0.8, 0.5), "trainer.generator_optimizer.lr=1e-6").values()
    assert values(slow)["trainer.generator_optimizer.lr"] == 0.002  # it is slow enough
    assert ring.asked(near(0.8, 0.75)) == {}
    assert ring.asked(near(0.09, 0.125)) == {}  # it has not learned yet


def test_a_generator_whose_samples_are_alike(ring):
    alike = {"dev/balance/diversity": [0.9, 0.8, 0.45]}

    assert [each.evidence for each in ring.asked(alike).values()] == [
        "the mean distance of two generated samples is 0.45 times that of two real ones"
    ]
    assert ring.asked(alike, "evaluators.balance.collapse_threshold=0.4") == {}


def test_the_momentum_and_the_weights_of_a_generator_that_runs_away(ring):
    optimizers = [f"trainer.{name}_optimizer.betas=[0.9,0.9]" for name in ("generator", "discriminator")]
    text = RING.replace("ema_decay = 0.98\n", "")

    ring.file.write_text(text)
    (found,) = ring.asked(near(0.8, 0.5), *optimizers).values()

    assert values(found)["trainer.discriminator_optimizer.betas"] == [0.0, 0.9]
    assert values(found)["trainer.ema_decay"] == 0.995


def test_codes_that_say_nothing(digits):
    silent = {"dev/bound/active_units": [3.0, 0.0], "dev/bound/kl": [2.0, 0.004]}

    (found,) = digits.asked(silent, "model.beta=4.0").values()

    assert found.rule == "generative.posterior-collapse"
    assert found.evidence == "none of 8 latent dimensions is active; the KL divergence is 0.004 nats"
    assert values(found) == {"model.beta": 1.0, "model.likelihood_std": 0.1, "model.warmup_steps": 500}
    assert digits.asked(silent | {"dev/bound/active_units": [0.0, 1.0]}) == {}
