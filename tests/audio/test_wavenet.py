"""WaveNet: what a sample depends on, and what is drawn from it."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe_audio.mu_law import to_levels, to_wave
from dlpipe_audio.wavenet import Conditions, WaveNet
from dlpipe_audio.wavenet_sampling import Stepper, draw_recordings

WORDS, SPEAKERS = ("no", "yes", "go"), ("ann", "bob")
#: Sizes that are all different.
SMALL = {"stacks": 2, "layers": 3, "channels": 4, "skip_channels": 6, "condition_dim": 5}


def network(num_levels=7, **options):
    torch.manual_seed(1)
    model = WaveNet(num_levels, WORDS, SPEAKERS, **{**SMALL, **options}).double()
    for parameter in model.parameters():  # the biases, too, and no number near 0
        nn.init.normal_(parameter, std=0.7)
    return model.eval()


def told(batch, length, starts=0, durations=None):
    """The arguments that say who says what, where."""
    return {
        "lengths": torch.full((batch,), length),
        "words": torch.arange(batch) % 3,
        "speakers": torch.arange(batch) % 2,
        "starts": torch.full((batch,), starts),
        "durations": torch.full((batch,), durations or length),
    }


def test_a_level_depends_on_the_samples_before_it_as_far_as_the_network_reaches_and_on_no_other():
    model = network()
    field = model.receptive_field
    samples = torch.randint(7, (2, field + 9), generator=torch.Generator().manual_seed(0))
    changed = samples.clone()
    changed[:, 4] = (changed[:, 4] + 3) % 7

    difference = (model(changed, **told(2, field + 9)) - model(samples, **told(2, field + 9))).abs()

    assert field == 15  # the sample before, and in each stack 1, 2 and 4 before what is seen there
    assert difference[:, :4].max() == 0
    assert difference[:, 4 : 4 + field + 1].min() > 1e-9
    assert difference[:, 4 + field + 1 :].max() == 0


def test_the_likelihood_is_that_of_a_network_written_as_loops():
    model = network(stacks=1, layers=2)
    samples, arguments = torch.tensor([[3, 0, 6, 2, 5]]), told(1, 5)

    nats = model(samples, **arguments)[0]

    conditions = model.conditions(arguments["words"], arguments["speakers"])[0]
    seen = [[], []]  # by layer, what it got at each time
    for time, level in enumerate(samples[0].tolist()):
        place = time / 5 * 15
        low = int(place)
        condition = (1 - place + low) * conditions[low] + (place - low) * conditions[min(low + 1, 15)]
        hidden, skips = model.embed.weight[samples[0, time - 1]] if time else torch.zeros(4).double(), 0
        for layer, dilation, past in zip(model.layers, (1, 2), seen, strict=True):
            past.append(hidden)
            before = past[time - dilation] if time >= dilation else torch.zeros(4).double()
            gates = layer.gates(torch.cat([before, hidden, condition]))
            found = layer.outputs(torch.tanh(gates[:4]) * torch.sigmoid(gates[4:]))
            hidden, skips = hidden + found[:4], skips + found[4:]
        first, second = model.output[1], model.output[3]
        logits = second(first(skips.relu()).relu())
        assert_close(nats[time], -logits.log_softmax(0)[level])


def test_the_probabilities_of_all_recordings_of_a_length_add_up_to_one():
    model = network(num_levels=3)
    samples = torch.tensor(list(itertools.product(range(3), repeat=4)))
    arguments = {**told(81, 4), "words": torch.full((81,), 1), "speakers": torch.full((81,), 0)}

    nats = model(samples, **arguments)

    assert_close((-nats.sum(1)).exp().sum(), torch.tensor(1.0, dtype=torch.float64))


def test_padding_changes_nothing_and_is_no_term_of_the_loss():
    model = network()
    samples = torch.tensor([[3, 0, 6, 2, 5], [1, 1, 4, 0, 0]])
    arguments = {**told(2, 5), "lengths": torch.tensor([5, 3]), "durations": torch.tensor([5, 3])}

    nats = model(samples, **arguments)
    shorter = model(samples[1:, :3], **{name: values[1:] for name, values in arguments.items()})

    assert_close(nats[1], F.pad(shorter[0], (0, 2)))
    assert_close(model.loss(nats, arguments["lengths"]), nats.sum() / 8)
    assert model.count_loss_terms(arguments["lengths"]) == 8


def test_a_part_of_a_recording_is_told_where_in_the_recording_it_is():
    model = network(stacks=1, layers=1)
    samples = torch.randint(7, (1, 30), generator=torch.Generator().manual_seed(0))
    whole = model(samples, **told(1, 30))

    part = model(samples[:, 20:26], **told(1, 6, starts=20, durations=30))
    elsewhere = model(samples[:, 20:26], **told(1, 6, starts=0, durations=30))

    # Before the beginning of a part there is nothing, so its first samples have less to go by.
    assert_close(part[0, model.receptive_field :], whole[0, 20 + model.receptive_field : 26])
    assert not torch.allclose(part, elsewhere)


@pytest.mark.parametrize(
    ("conditions", "matter"),
    [
        (("word", "speaker", "position"), {"words", "speakers", "durations"}),
        (("word",), {"words"}),
        (("position", "speaker"), {"speakers", "durations"}),
        ((), set()),
    ],
)
def test_only_what_the_network_is_told_matters(conditions, matter):
    model = network(conditions=conditions)
    samples, arguments = torch.tensor([[3, 0, 6, 2, 5]]), told(1, 5, durations=20)
    nats = model(samples, **arguments)

    others = {"words": torch.tensor([2]), "speakers": torch.tensor([1]), "durations": torch.tensor([6])}
    found = {
        name for name, other in others.items() if not torch.equal(model(samples, **{**arguments, name: other}), nats)
    }

    assert found == matter


def test_a_condition_that_is_named_twice_is_refused():
    with pytest.raises(ValueError, match=r"conditions = \['word', 'word'\]: expected each of them once"):
        network(conditions=("word", "word"))


def test_conditions_are_interpolated_between_their_points():
    conditions = Conditions(("position",), 3, 2, 5).double()
    points = conditions(torch.tensor([0, 1]), torch.tensor([1, 0]))

    found = conditions.at(points, torch.tensor([[0.0, 1.0, 2.25 / 15], [0.5, 1 / 15, 1.0]], dtype=torch.float64))

    assert_close(found[0, :2], points[0, [0, 15]])
    assert_close(found[0, 2], 0.75 * points[0, 2] + 0.25 * points[0, 3])
    assert_close(found[1, 0], (points[1, 7] + points[1, 8]) / 2)


@pytest.mark.parametrize("conditions", [("word", "speaker", "position"), ("speaker",), ()])
def test_samples_are_drawn_with_the_probabilities_of_the_whole_pass(conditions):
    model = network(conditions=conditions)
    arguments = told(3, 40)

    levels = draw_recordings(model, arguments["words"], arguments["speakers"], arguments["durations"], seed=5)
    step, nats, last = Stepper(model, 3), [], None
    with torch.inference_mode():
        for time in range(40):
            at = None
            if model.conditions:
                points = model.conditions(arguments["words"], arguments["speakers"])
                at = model.conditions.at(points, torch.full((3, 1), time / 40))[:, 0]
            logits, last = step(last, at), levels[:, time]
            nats.append(F.cross_entropy(logits, last, reduction="none"))

    assert_close(torch.stack(nats, 1), model(levels, **arguments))


def test_levels_are_drawn_as_often_as_they_are_probable():
    model = network(conditions=("word",))
    count = 4000
    words = torch.full((count,), 2)

    levels = draw_recordings(model, words, words, torch.ones(count).long(), seed=3)[:, 0]

    probable = Stepper(model, 1)(None, model.conditions(words[:1], words[:1])[:, 0]).softmax(1)[0]
    deviation = (probable * (1 - probable) / count).sqrt()
    assert ((levels.bincount(minlength=7) / count - probable).abs() < 4 * deviation + 1e-9).all()


@pytest.mark.parametrize("temperature", [1e-6, 5e-324])
def test_a_low_temperature_draws_what_is_most_probable(temperature):
    model = network()
    arguments = told(2, 20)
    who = arguments["words"], arguments["speakers"], arguments["durations"]

    levels = draw_recordings(model, *who, seed=5, temperature=temperature)

    for time in range(20):  # each is the most probable one, given those before
        others = levels[:, : time + 1].repeat_interleave(7, 0)
        others[:, time] = torch.arange(7).repeat(2)
        rows = torch.tensor([0, 1]).repeat_interleave(7)
        nats = model(
            others,
            **{
                name: values[rows]
                for name, values in {**arguments, "lengths": arguments["lengths"] * 0 + time + 1}.items()
            },
        )
        assert torch.equal(nats[:, time].view(2, 7).argmin(1), levels[:, time])


def test_a_recording_depends_on_its_row_and_the_seed_but_not_on_the_others():
    model = network()
    arguments = told(4, 30)
    who = arguments["words"], arguments["speakers"], arguments["durations"]

    levels = draw_recordings(model, *who, seed=5)

    assert torch.equal(levels, draw_recordings(model, *who, seed=5))
    assert torch.equal(levels[:2], draw_recordings(model, *(each[:2] for each in who), seed=5))
    assert not torch.equal(levels, draw_recordings(model, *who, seed=6))
    same = torch.zeros(2).long()
    two = draw_recordings(model, same, same, same + 30, seed=5)
    assert not torch.equal(two[0], two[1])


def test_it_learns_a_tone_and_goes_on_with_it():
    torch.manual_seed(2)
    pattern = torch.tensor([1, 4, 6, 4])
    samples = torch.stack([pattern.roll(shift).repeat(6) for shift in range(4)])
    model = WaveNet(7, WORDS, SPEAKERS, conditions=(), **{k: v for k, v in SMALL.items() if k != "conditions"})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    arguments = told(4, 24)
    for _ in range(100):
        optimizer.zero_grad()
        model.loss(model(samples, **arguments), arguments["lengths"]).backward()
        optimizer.step()

    drawn = draw_recordings(model, torch.zeros(3).long(), torch.zeros(3).long(), torch.full((3,), 60), seed=1)

    assert torch.equal(drawn[:, 10:-4], drawn[:, 14:])
    assert set(drawn[0, 20:24].tolist()) == {1, 4, 6}


def test_levels_are_finer_where_it_is_quiet_and_a_wave_survives_them():
    wave = torch.linspace(-1, 1, 1001)

    levels = to_levels(wave)
    again = to_wave(levels)

    assert levels.min() == 0
    assert levels.max() == 255
    assert torch.equal(to_levels(to_wave(torch.arange(256))), torch.arange(256))
    assert ((again - wave).abs() <= 0.0005 + 0.025 * wave.abs()).all()
