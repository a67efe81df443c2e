from itertools import islice

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe_generative.gan import GAN
from dlpipe_generative.gan_losses import discriminator_loss, generator_loss
from dlpipe_generative.gan_trainer import GANTrainer
from dlpipe_generative.gaussian_ring import GaussianRing

CPU = Compute(torch.device("cpu"))
PLAIN = {"use": "sgd", "lr": 0.1}


def made(data, *, compute=CPU, seed=3, hidden=(7, 5), **options):
    torch.manual_seed(0)
    model = GAN(
        **{
            name: value
            for name, value in data.facts.items()
            if name not in ("labels", "mode_centers", "mode_deviation")
        },
        hidden=hidden,
        latent_dim=3,
        conditional=options.pop("conditional", False),
    )
    return GANTrainer(model, data, compute, seed, **{"batch_size": 20, **options})


def taken(trainer, count):
    return list(islice(trainer.steps(), count))


def test_a_step_is_what_the_paper_says(dark_stripes):
    trainer = made(dark_stripes, batch_size=60, generator_optimizer=PLAIN, discriminator_optimizer=PLAIN, hidden=(5,))
    other = made(dark_stripes, hidden=(5,)).model.train()
    (batch,) = next(iter(trainer._batches))
    trainer._batches.load_state_dict({"epoch": 0, "seen": 0})

    (metrics,) = taken(trainer, 1)

    fake = other.generator(torch.randn(60, 3, generator=trainer._rng.manual_seed(trainer._rng.initial_seed())))
    loss = discriminator_loss(
        "non_saturating", other.discriminator(batch["images"]), other.discriminator(fake.detach())
    )
    loss.backward()
    with torch.no_grad():
        for weight in other.discriminator.parameters():
            weight -= 0.1 * weight.grad
    lost = generator_loss("non_saturating", other.discriminator(fake))
    lost.backward()
    with torch.no_grad():
        for weight in other.generator.parameters():
            weight -= 0.1 * weight.grad
    assert_close(metrics["d_loss"], loss.detach())
    assert_close(metrics["g_loss"], lost.detach())
    assert_close(dict(trainer.model.state_dict()), dict(other.state_dict()))


def test_an_epoch_counts_updates_of_the_discriminator(dark_stripes):
    trainer = made(dark_stripes, critic_steps=2)

    taken(trainer, 2)

    assert trainer.steps_per_epoch == 2
    state = trainer.state_dict()
    assert (state["epoch"], state["seen"]) == (1, 0)


def test_the_last_step_of_an_epoch_has_fewer_updates_of_the_discriminator(dark_stripes):
    trainer = made(dark_stripes, batch_size=15, critic_steps=3)

    taken(trainer, trainer.steps_per_epoch)

    counts = [next(iter(each.state.values()))["step"] for each in trainer._optimizers.values()]
    assert [int(count) for count in counts] == [2, 4]


def test_the_discriminator_is_taught_more_often_than_the_generator(dark_stripes):
    trainer = made(dark_stripes, critic_steps=3)

    taken(trainer, 1)

    counts = [next(iter(each.state.values()))["step"] for each in trainer._optimizers.values()]
    assert [int(count) for count in counts] == [1, 3]


@pytest.mark.parametrize("loss", ["wgan_gp", "hinge"])
def test_other_losses_tell_scores(dark_stripes, loss):
    (metrics, *_) = taken(made(dark_stripes, loss=loss, conditional=True), 2)

    assert set(metrics) == {"d_loss", "g_loss", "d_real", "d_fake"}
    assert all(value.isfinite() and not value.requires_grad for value in metrics.values())


def test_the_penalty_reaches_the_discriminator(dark_stripes):
    with_penalty, without = (made(dark_stripes, loss="wgan_gp", gradient_penalty=weight) for weight in (10.0, 0.0))

    assert taken(with_penalty, 1)[0]["d_loss"] > taken(without, 1)[0]["d_loss"] + 1


def test_the_average_of_the_generator_is_shown_and_the_live_one_learns_on(dark_stripes):
    trainer = made(dark_stripes, ema_decay=0.5)
    live = trainer._nets.generator

    taken(trainer, 1)
    first = {name: weight.clone() for name, weight in live.named_parameters()}
    taken(trainer, 1)

    for name, weight in trainer.model.generator.named_parameters():
        assert_close(weight, 0.5 * first[name] + 0.5 * dict(live.named_parameters())[name])
    assert trainer.model.discriminator is trainer._nets.discriminator


def test_scales_of_bfloat16_are_left_to_the_nets(dark_stripes):
    trainer = made(dark_stripes, compute=Compute(torch.device("cpu"), torch.bfloat16), loss="wgan_gp")

    (metrics,) = taken(trainer, 1)

    assert {value.dtype for value in metrics.values()} == {torch.float32}
    assert {weight.dtype for weight in trainer.model.parameters()} == {torch.float32}


def test_the_discriminator_can_learn_again_after_the_generator_did(dark_stripes):
    trainer = made(dark_stripes)

    taken(trainer, 1)

    assert all(weight.requires_grad for weight in trainer.model.parameters())


def test_every_step_draws_other_things(dark_stripes):
    still = {"use": "sgd", "lr": 0.0}

    first, second = taken(made(dark_stripes, generator_optimizer=still, discriminator_optimizer=still), 2)

    assert first["g_loss"] != second["g_loss"]


def test_two_seeds_draw_other_things(dark_stripes):
    first, second = (taken(made(dark_stripes, seed=seed, batch_size=60), 1)[0] for seed in (3, 4))

    assert first["g_loss"] != second["g_loss"]


def test_label_smoothing_without_labels_is_refused(dark_stripes):
    with pytest.raises(InputError, match=r'label_smoothing = 0.1: the loss "hinge" does not support label smoothing'):
        made(dark_stripes, loss="hinge", label_smoothing=0.1)


def test_a_model_without_two_nets_is_refused(dark_stripes):
    with pytest.raises(InputError, match="needs a generator and a discriminator, such as .*; this model is Linear"):
        GANTrainer(nn.Linear(1, 1), dark_stripes, CPU, 0)


def test_points_are_learned_as_images_are():
    trainer = made(GaussianRing(count=100))

    assert set(taken(trainer, 1)[0]) == {"d_loss", "g_loss", "d_real", "d_fake"}
