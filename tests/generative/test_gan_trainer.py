from itertools import islice

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe_generative.dcgan import DCGAN
from dlpipe_generative.gan import GAN
from dlpipe_generative.gan_losses import discriminator_loss, generator_loss
from dlpipe_generative.gan_trainer import GANTrainer
from dlpipe_generative.gaussian_ring import GaussianRing

from .conftest import Stripes

CPU = Compute(torch.device("cpu"))
PLAIN = {"use": "sgd", "lr": 0.1}


def make_trainer(data, *, compute=CPU, seed=3, hidden=(7, 5), **options):
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


def take_steps(trainer, count):
    return list(islice(trainer.steps(), count))


def test_a_step_equals_the_algorithm_of_the_paper(dark_stripes):
    trainer = make_trainer(
        dark_stripes, batch_size=60, generator_optimizer=PLAIN, discriminator_optimizer=PLAIN, hidden=(5,)
    )
    other = make_trainer(dark_stripes, hidden=(5,)).model.train()
    (batch,) = next(iter(trainer._batches))
    trainer._batches.load_state_dict({"epoch": 0, "seen": 0})

    (metrics,) = take_steps(trainer, 1)

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


def test_what_is_frozen_in_the_discriminator_stays_frozen_after_a_step_of_the_generator(dark_stripes):
    trainer = make_trainer(dark_stripes)
    frozen, *others = trainer.model.discriminator.parameters()
    frozen.requires_grad_(False)

    take_steps(trainer, 2)

    assert not frozen.requires_grad
    assert frozen.grad is None
    assert all(parameter.requires_grad for parameter in others)


def test_an_epoch_is_one_pass_of_the_discriminator_over_the_data(dark_stripes):
    trainer = make_trainer(dark_stripes, critic_steps=2)

    take_steps(trainer, 2)

    assert trainer.steps_per_epoch == 2
    state = trainer.state_dict()
    assert (state["epoch"], state["seen"]) == (1, 0)


def test_the_last_step_of_an_epoch_has_fewer_updates_of_the_discriminator(dark_stripes):
    trainer = make_trainer(dark_stripes, batch_size=15, critic_steps=3)

    take_steps(trainer, trainer.steps_per_epoch)

    counts = [next(iter(each.state.values()))["step"] for each in trainer._optimizers.values()]
    assert [int(count) for count in counts] == [2, 4]


def test_a_step_updates_the_discriminator_critic_steps_times(dark_stripes):
    trainer = make_trainer(dark_stripes, critic_steps=3)

    take_steps(trainer, 1)

    counts = [next(iter(each.state.values()))["step"] for each in trainer._optimizers.values()]
    assert [int(count) for count in counts] == [1, 3]


@pytest.mark.parametrize("loss", ["wgan_gp", "hinge"])
def test_other_losses_report_scores(dark_stripes, loss):
    (metrics, *_) = take_steps(make_trainer(dark_stripes, loss=loss, conditional=True), 2)

    assert set(metrics) == {"d_loss", "g_loss", "d_real", "d_fake"}
    assert not any(value.requires_grad for value in metrics.values())
    if loss == "wgan_gp":  # scores, and not probabilities; the penalty is what is left of the loss
        assert metrics["d_loss"] > metrics["d_fake"] - metrics["d_real"]
    else:  # within the margin of hinge, where an untrained discriminator is
        assert_close(metrics["d_loss"], 2 - metrics["d_real"] + metrics["d_fake"])


def test_the_penalty_reaches_the_discriminator(dark_stripes):
    with_penalty, without = (
        make_trainer(dark_stripes, loss="wgan_gp", gradient_penalty=weight) for weight in (10.0, 0.0)
    )

    assert take_steps(with_penalty, 1)[0]["d_loss"] > take_steps(without, 1)[0]["d_loss"] + 1


def test_the_average_of_the_generator_is_the_model_and_the_live_generator_is_trained(dark_stripes):
    trainer = make_trainer(dark_stripes, ema_decay=0.5)
    live = trainer._nets.generator

    take_steps(trainer, 1)
    first = {name: weight.clone() for name, weight in live.named_parameters()}
    take_steps(trainer, 1)

    for name, weight in trainer.model.generator.named_parameters():
        assert_close(weight, 0.5 * first[name] + 0.5 * dict(live.named_parameters())[name])
    assert trainer.model.discriminator is trainer._nets.discriminator


def test_running_statistics_are_part_of_the_average(dark_stripes):
    trainer = make_trainer(dark_stripes, ema_decay=0.75)
    live = trainer._nets.generator

    take_steps(trainer, 1)
    first = {name: buffer.clone() for name, buffer in live.named_buffers()}
    take_steps(trainer, 1)

    averaged = dict(trainer.model.generator.named_buffers())
    means = [name for name in first if name.endswith(("running_mean", "running_var"))]
    assert len(means) >= 2
    for name in means:
        assert_close(averaged[name], 0.75 * first[name] + 0.25 * dict(live.named_buffers())[name])
        assert not torch.equal(averaged[name], first[name])


@pytest.mark.parametrize(("before", "after"), [(None, 0.75), (0.75, None)])
def test_an_average_that_begins_or_ends_when_a_run_continues_does_not_change_what_is_trained(
    dark_stripes, before, after
):
    whole, first, second = (make_trainer(dark_stripes, ema_decay=decay) for decay in (before, before, after))
    take_steps(whole, 5)
    take_steps(first, 2)

    second.model.load_state_dict(first.model.state_dict())
    second.load_state_dict(first.state_dict())
    take_steps(second, 3)

    assert_close(dict(second._nets.state_dict()), dict(whole._nets.state_dict()), rtol=0, atol=0)


def test_each_update_of_a_conditional_discriminator_uses_the_classes_of_its_own_batch(dark_stripes, monkeypatch):
    trainer, seen = make_trainer(dark_stripes, conditional=True, critic_steps=3, batch_size=20), []
    discriminator, generator = trainer._nets.discriminator, trainer._nets.generator
    discriminator.register_forward_pre_hook(lambda _, given: seen.append((given[0].detach(), given[1])))
    asked = []
    generator.register_forward_pre_hook(lambda _, given: asked.append(given[1]))

    take_steps(trainer, 1)

    def positions(images):
        return images.mean(2)[:, 0].view(-1, 3, 2).mean(2).argmax(1)  # of the stripe, the class in train

    *updates, (of_generator, last) = seen
    real, fake = updates[0::2], updates[1::2]
    assert len(real) == len(fake) == len(asked) == 3
    for (images, classes), (_, same), wanted in zip(real, fake, asked, strict=True):
        assert torch.equal(positions(images), classes)
        assert torch.equal(classes, same)
        assert torch.equal(classes, wanted)
    assert torch.equal(last, asked[-1])
    assert torch.equal(of_generator, fake[-1][0])  # the samples of the last update
    assert len({tuple(classes.tolist()) for classes in asked}) == 3


def test_bfloat16_is_used_inside_the_networks_only(dark_stripes):
    trainer = make_trainer(dark_stripes, compute=Compute(torch.device("cpu"), torch.bfloat16), loss="wgan_gp")

    (metrics,) = take_steps(trainer, 1)

    assert {value.dtype for value in metrics.values()} == {torch.float32}
    assert {weight.dtype for weight in trainer.model.parameters()} == {torch.float32}


def test_the_discriminator_is_trainable_after_a_step(dark_stripes):
    trainer = make_trainer(dark_stripes)

    take_steps(trainer, 1)

    assert all(weight.requires_grad for weight in trainer.model.parameters())


def test_every_step_generates_other_samples(dark_stripes):
    still = {"use": "sgd", "lr": 0.0}

    first, second = take_steps(make_trainer(dark_stripes, generator_optimizer=still, discriminator_optimizer=still), 2)

    assert first["g_loss"] != second["g_loss"]


def test_two_seeds_generate_other_samples(dark_stripes):
    first, second = (take_steps(make_trainer(dark_stripes, seed=seed, batch_size=60), 1)[0] for seed in (3, 4))

    assert first["g_loss"] != second["g_loss"]


def test_a_model_without_a_discriminator_is_rejected(dark_stripes):
    with pytest.raises(
        InputError, match="needs a model with a generator and a discriminator, such as .*; the model is Linear"
    ):
        GANTrainer(nn.Linear(1, 1), dark_stripes, CPU, 0)


@pytest.mark.parametrize("name", ["generator_optimizer", "discriminator_optimizer"])
def test_an_optimizer_that_computes_the_loss_again_is_rejected(dark_stripes, name):
    with pytest.raises(
        InputError, match="optimizer lbfgs computes the loss several times per step, which this trainer"
    ):
        make_trainer(dark_stripes, **{name: {"use": "lbfgs"}})


@pytest.mark.parametrize(
    ("count", "batch_size", "advice"),
    [(41, 20, "that leaves none or at least 2"), (1, 20, "that leaves none or at least 2"), (60, 1, "of at least 2")],
)
@pytest.mark.parametrize("conditional", [False, True])
def test_a_last_batch_of_one_image_is_rejected_as_batch_normalization_cannot_use_it(
    count, batch_size, advice, conditional
):
    message = (
        rf"^batch_size = {batch_size}: the last batch of {count} training examples has 1, and GAN cannot be trained on a "
        rf"single one \(Expected more than 1 value per channel .*\); choose a batch_size {advice}$"
    )

    with pytest.raises(InputError, match=message):
        make_trainer(Stripes(-1.0, count), batch_size=batch_size, conditional=conditional)


def test_a_last_batch_of_one_is_trained_on_where_batch_normalization_averages_over_positions():
    model = DCGAN((1, 4, 6), (-1.0, 1.0), latent_dim=3, channels=2, smallest=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    randomness = torch.get_rng_state()

    trainer = GANTrainer(model, Stripes(-1.0, 41), CPU, 0, batch_size=20)

    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), randomness)
    assert len(take_steps(trainer, 3)) == 3


def test_a_generator_of_points_can_be_trained():
    trainer = make_trainer(GaussianRing(count=100))

    assert set(take_steps(trainer, 1)[0]) == {"d_loss", "g_loss", "d_real", "d_fake"}
