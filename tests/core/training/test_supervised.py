import io
import math
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.data import IterableDataset

from dlpipe.compute import Compute, derived_seed, randomness, restore_randomness, seed_everything
from dlpipe.config.settings import Budget
from dlpipe.data.batches import Batches
from dlpipe.data.columns import Columns, Ragged
from dlpipe.data.targets import IGNORE_INDEX, count_targets
from dlpipe.errors import InputError
from dlpipe.training.freezing import freeze_parts
from dlpipe.training.losses import BatchLoss, squared_error
from dlpipe.training.supervised import Supervised

CPU = Compute(torch.device("cpu"))
SGD = {"use": "sgd", "lr": 0.1, "momentum": 0.9}


class OneSplit:
    """Data with a training split."""

    splits = ("train", "dev", "test")
    facts: ClassVar = {"labels": ["a", "b", "c"]}

    def __init__(self, split):
        self._split = split

    def split(self, name):
        assert name == "train"
        return self._split


class Classifier(nn.Module):
    """Scores 3 classes for images of 5 numbers."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.hidden = nn.Linear(5, 7)
        self.norm = nn.BatchNorm1d(7)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(7, 3)

    def forward(self, images):
        return self.classify(self.dropout(torch.tanh(self.norm(self.hidden(images)))))


class Linear(nn.Linear):
    """Scores classes for images."""

    def forward(self, images):
        return super().forward(images)


class Tagger(nn.Module):
    """Scores 3 labels for every token of 11."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 5)
        self.classify = nn.Linear(5, 3)

    def forward(self, tokens):
        return self.classify(self.embed(tokens))


class Regressor(nn.Module):
    """Predicts one number, and learns from a loss of its own: the fourth power."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 1)

    def forward(self, images):
        return self.layer(images).squeeze(1)

    def loss(self, outputs, targets):
        return (outputs - targets).pow(4).mean()


class Autoencoder(nn.Module):
    """Reconstructs vectors of tokens; the loss is the mean over all tokens that are no padding, of `targets` or not."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 5)
        self.decode = nn.Linear(5, 5)

    def forward(self, tokens):
        return self.decode(self.embed(tokens).tanh())

    def loss(self, outputs, tokens, lengths):
        real = torch.arange(tokens.size(1)) < lengths[:, None]
        return ((outputs - tokens[..., None]).square().mean(2) * real).sum() / real.sum()

    def count_loss_terms(self, lengths):
        return lengths.sum()


class Stream(IterableDataset):
    """23 examples, one after the other."""

    def __iter__(self):
        columns = pictures()
        return ({name: column[row] for name, column in columns.columns.items()} for row in range(len(columns)))


class Nothing(IterableDataset):
    """A stream that is empty."""

    def __iter__(self):
        return iter(())


def pictures(count=23):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 5, generator=generator)
    return Columns({"images": images, "targets": (images.sum(1) * 2).long().remainder(3)})


def numbers():
    columns = pictures().columns
    return Columns({"images": columns["images"], "targets": columns["targets"] / 2})


def sentences():
    """Return 12 sentences of unequal lengths; some tokens have no target."""
    lengths = torch.arange(12) % 5 + 1
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(11, (int(lengths.sum()),), generator=generator)
    targets = (tokens % 3).masked_fill(tokens == 7, IGNORE_INDEX)
    return Columns({"tokens": Ragged(tokens, lengths), "targets": Ragged(targets, lengths, padding=IGNORE_INDEX)})


def trainer(split=None, model=None, **options):
    if model is None:
        torch.manual_seed(0)
        model = Classifier()
    return Supervised(model, OneSplit(pictures() if split is None else split), CPU, 3, **{"batch_size": 7} | options)


def take(trainer, count):
    """Take steps and return what each yielded."""
    steps = trainer.steps()
    return [next(steps) for _ in range(count)]


def losses(trainer, count):
    return torch.stack([metrics["loss"] for metrics in take(trainer, count)])


def by_hand(count, optimizer, *, clip=None, schedule=None, epochs=9):
    """Train `Classifier` by an ordinary loop; return it and the losses."""
    torch.manual_seed(0)
    model = Classifier()
    optimizer = optimizer(model.parameters())
    schedule = schedule(optimizer) if schedule else None
    columns, losses = pictures().columns, []
    for epoch in range(epochs):
        order = torch.randperm(23, generator=torch.Generator().manual_seed(derived_seed(3, "order", epoch)))
        for rows in order.split(7):
            loss = F.cross_entropy(model(columns["images"][rows]), columns["targets"][rows])
            optimizer.zero_grad()
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            if schedule:
                schedule.step()
            losses.append(loss.detach())
            if len(losses) == count:
                return model, torch.stack(losses)
    raise AssertionError("too few epochs")


def assert_same_weights(model, other):
    for (name, value), expected in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(value, expected), name


@pytest.mark.parametrize(
    ("options", "hand"),
    [
        ({"optimizer": SGD}, {"optimizer": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)}),
        ({"optimizer": {"use": "adam", "lr": 0.01}}, {"optimizer": lambda p: torch.optim.Adam(p, 0.01)}),
        (
            {"optimizer": SGD, "max_grad_norm": 0.5},
            {"optimizer": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), "clip": 0.5},
        ),
        (
            {"optimizer": SGD, "schedule": {"use": "cosine_annealing"}, "budget": Budget(epochs=3)},
            {
                "optimizer": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
                "schedule": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12),
            },
        ),
    ],
    ids=["sgd", "adam", "clipping", "cosine"],
)
def test_training_equals_an_ordinary_loop_bit_for_bit(options, hand):
    model, expected = by_hand(11, **hand)
    ours = trainer(**options)

    found = losses(ours, 11)

    assert torch.equal(found, expected)
    assert_same_weights(ours.model, model)


def test_training_learns_the_examples_by_heart():
    ours = trainer(optimizer={"use": "adam", "lr": 0.05}, batch_size="full")

    found = losses(ours, 150)

    assert found[0] > 0.9
    assert found[-1] < 0.1


class Inside(nn.Module):
    """A classifier as a layer."""

    def __init__(self):
        super().__init__()
        self.net = Classifier(dropout=0.5)

    def forward(self, images):
        return self.net(images)


def test_a_layer_that_is_computed_again_counts_a_batch_once():
    states = []
    for options in ({}, {"activation_checkpointing": "net"}):
        torch.manual_seed(0)
        model = Inside()
        take(trainer(model=model, gradient_accumulation_steps=2, **options), 5)
        states.append(model.state_dict())

    assert states[1]["net.norm.num_batches_tracked"] == 10  # a step has two batches
    assert_close(states[1], states[0], rtol=0, atol=0)


def test_no_name_at_all_is_no_pattern_of_layers():
    with pytest.raises(InputError, match=r'^activation_checkpointing = "": Inside has no such layer'):
        trainer(model=Inside(), activation_checkpointing="")


def test_an_epoch_has_as_many_steps_as_it_says():
    assert trainer().steps_per_epoch == 4
    assert trainer(gradient_accumulation_steps=3).steps_per_epoch == 2
    assert trainer(batch_size="full").steps_per_epoch == 1
    assert trainer(Stream()).steps_per_epoch is None


@pytest.mark.parametrize(
    ("split", "model"),
    [(sentences, Tagger), (numbers, Regressor), (sentences, Autoencoder)],
    ids=["unequal numbers of targets", "own loss", "own loss with its own number of terms"],
)
def test_accumulated_batches_make_the_step_of_a_large_one(split, model):
    def run(**options):
        torch.manual_seed(0)
        ours = trainer(split(), model(), optimizer=SGD, **options)
        return losses(ours, 3), ours.model.state_dict()

    assert_close(run(batch_size=5, gradient_accumulation_steps=5), run(batch_size="full"))


@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.2}, {"class_weights": {"a": 5.0}}, {"loss": "mse"}], ids=str
)
def test_a_part_without_targets_counts_nothing(options):
    columns = pictures(8).columns
    targets = columns["targets"].index_fill(0, torch.arange(2, 8), IGNORE_INDEX)

    def run(**more):
        torch.manual_seed(0)
        given = {"optimizer": SGD, **options, **more}
        ours = trainer(Columns({"images": columns["images"], "targets": targets}), Linear(5, 3), **given)
        return losses(ours, 3), ours.model.state_dict()

    assert_close(run(batch_size=2, gradient_accumulation_steps=4), run(batch_size="full"))


def test_accumulated_batches_of_weighted_classes_make_the_step_of_a_large_one():
    def run(**options):
        torch.manual_seed(0)
        ours = trainer(sentences(), Tagger(), optimizer=SGD, class_weights={"a": 5.0, "c": 0.1}, **options)
        return losses(ours, 3), ours.model.state_dict()

    assert_close(run(batch_size=5, gradient_accumulation_steps=5), run(batch_size="full"))


def test_classes_count_by_their_weights():
    ours = trainer(sentences(), Tagger(), batch_size="full", class_weights={"b": 4.0}, label_smoothing=0.2)
    tokens, targets = (sentences().columns[name].concatenated() for name in ("tokens", "targets"))
    kept = targets != IGNORE_INDEX
    weights = torch.tensor([1.0, 4.0, 1.0])

    expected = F.cross_entropy(ours.model(tokens[kept]), targets[kept], weights, label_smoothing=0.2)

    assert_close(losses(ours, 1)[0], expected.detach())


def test_a_weight_for_each_class_that_the_model_scores_is_needed():
    model = Classifier()
    model.classify = nn.Linear(7, 4)

    with pytest.raises(
        InputError, match="class_weights has 3 weights, but the model scores 4 classes; expected one for"
    ):
        losses(trainer(model=model, class_weights="balanced"), 1)


def test_the_options_of_a_models_own_loss_are_those_of_cross_entropy():
    class Own(Tagger):
        def loss(self, outputs, targets, label_smoothing=0.0, class_weights=None):
            flat = outputs.flatten(0, 1), targets.flatten(), class_weights
            return F.cross_entropy(*flat, label_smoothing=label_smoothing)

    def run(model, **options):
        torch.manual_seed(0)
        ours = trainer(sentences(), model(), optimizer=SGD, class_weights={"a": 5.0}, label_smoothing=0.3, **options)
        return losses(ours, 3), ours.model.state_dict()

    whole = run(Own, batch_size="full")

    assert_close(whole, run(Tagger, batch_size="full"))
    assert_close(run(Own, batch_size=5, gradient_accumulation_steps=5), whole)


def test_a_models_own_loss_gets_the_options_that_it_takes():
    class Own(Tagger):
        def loss(self, outputs, targets, label_smoothing=0.0, class_weights=None):
            self.seen = label_smoothing, class_weights
            return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    plain, other = Own(), Own()

    losses(trainer(sentences(), plain), 1)
    losses(trainer(sentences(), other, label_smoothing=0.3, class_weights={"c": 2.0}), 1)

    assert plain.seen == (0.0, None)
    assert other.seen[0] == 0.3
    assert other.seen[1].tolist() == [1.0, 1.0, 2.0]


def test_balanced_sampling_draws_each_class_equally_often():
    targets = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    points = torch.arange(1000.0)[:, None].expand(-1, 5)
    ours = trainer(Columns({"images": points, "targets": targets}), batch_size=100, sampling="balanced")
    batches = iter(ours._batches)

    drawn = torch.cat([batch["images"][:, 0] for _ in range(10) for (batch,) in [next(batches)]]).long()
    again = torch.cat([batch["images"][:, 0] for _ in range(10) for (batch,) in [next(batches)]]).long()

    counts = targets[drawn].bincount()
    assert ours.steps_per_epoch == 10
    assert (counts - 1000 / 3).abs().max() < 5 * (1000 * 2 / 9) ** 0.5  # five standard deviations
    assert len(targets[drawn][targets[drawn] == 2].unique()) == 1
    assert set(drawn[targets[drawn] == 2].tolist()) == set(range(990, 1000))
    assert drawn.tolist() != again.tolist()  # another epoch


def test_sampled_sentences_of_one_batch_have_nearly_one_length():
    lengths = torch.tensor([1, 9]).repeat(20)
    tokens = Ragged(torch.zeros(int(lengths.sum()), dtype=torch.int64), lengths)
    columns = Columns({"tokens": tokens, "targets": torch.tensor([0, 1, 1, 2] * 10)})
    batches = Batches(columns, 10, CPU, sample_weights=torch.ones(40, dtype=torch.float64))

    shapes = [batch["tokens"].shape for batch in batches.epoch(0)]

    assert sum(shape[0] for shape in shapes) == 40
    assert min(shape[1] for shape in shapes) == 1


def test_a_part_counts_by_its_targets():
    batch = {"targets": torch.tensor([[1, 2, IGNORE_INDEX], [0, IGNORE_INDEX, IGNORE_INDEX]])}

    assert count_targets(batch) == 3
    assert count_targets({"images": torch.zeros(5, 2)}) == 5
    assert count_targets({"targets": torch.tensor([[1.0, 2.0], [IGNORE_INDEX, 0.0]])}) == 4  # a number like any other


def test_the_average_follows_its_formula():
    ours = trainer(optimizer=SGD, ema_decay=0.75)
    live, expected = ours._live, None

    steps = ours.steps()
    for _ in range(6):
        next(steps)
        now = [live.classify.weight.detach().clone(), live.norm.running_mean.clone()]
        if expected is None:
            expected = now
        expected = [0.75 * before + 0.25 * value for before, value in zip(expected, now, strict=True)]

    assert ours.model is not live
    assert_close([ours.model.classify.weight.detach(), ours.model.norm.running_mean], expected)
    assert not torch.equal(ours.model.classify.weight, live.classify.weight)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"batch_size": 11}, "set drop_last = true, or choose a batch_size that leaves none or at least 2"),
        ({"batch_size": 22}, "set drop_last = true, or choose a batch_size that leaves none or at least 2"),
        ({"batch_size": 1}, "choose a batch_size of at least 2"),
        ({"batch_size": 1, "drop_last": True}, "choose a batch_size of at least 2"),
    ],
)
def test_a_last_batch_of_one_is_refused_as_batch_normalization_cannot_use_it(options, advice):
    message = (
        rf"^batch_size = {options['batch_size']}: the last batch of 23 training examples has 1, and Classifier cannot be "
        rf"trained on a single one \(Expected more than 1 value per channel .*\); {advice}$"
    )
    with pytest.raises(InputError, match=message):
        trainer(**options)


def test_a_last_batch_of_one_is_trained_on_where_it_can_be():
    torch.manual_seed(0)
    spatial, frozen = Classifier(), Classifier()
    spatial.norm = nn.Sequential(nn.Unflatten(1, (1, 7)), nn.BatchNorm1d(1), nn.Flatten())
    freeze_parts(frozen, ["norm"])
    before, randomness = {name: value.clone() for name, value in spatial.state_dict().items()}, torch.get_rng_state()

    trainers = [trainer(model=model, batch_size=11) for model in (spatial, frozen)]

    assert torch.equal(torch.get_rng_state(), randomness)
    assert_close(dict(spatial.state_dict()), before, rtol=0, atol=0)
    assert all(len(losses(each, 3)) == 3 for each in trainers)
    assert len(losses(trainer(batch_size=11, drop_last=True), 3)) == 3


def test_the_average_is_not_what_is_trained():
    plain, averaged = trainer(optimizer=SGD), trainer(optimizer=SGD, ema_decay=0.9)

    assert torch.equal(losses(plain, 6), losses(averaged, 6))


def test_a_loss_of_the_models_own_is_minimized():
    torch.manual_seed(0)
    ours = trainer(numbers(), Regressor(), batch_size="full")
    columns = numbers().columns
    expected = (ours.model(columns["images"]) - columns["targets"]).pow(4).mean()

    assert_close(losses(ours, 1)[0], expected.detach())


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("mse", F.mse_loss),
        ("l1", F.l1_loss),
        ("binary_cross_entropy", F.binary_cross_entropy_with_logits),
    ],
)
def test_a_named_loss_wins_over_the_models_own(name, measure):
    torch.manual_seed(0)
    ours = trainer(numbers(), Regressor(), batch_size="full", loss=name)
    columns = numbers().columns
    expected = measure(ours.model(columns["images"]), columns["targets"])

    assert_close(losses(ours, 1)[0], expected.detach())


def test_cross_entropy_is_the_mean_over_all_tokens_with_a_target():
    torch.manual_seed(0)
    ours = trainer(sentences(), Tagger(), batch_size="full", loss="cross_entropy", label_smoothing=0.2)
    tokens, targets = (sentences().columns[name].concatenated() for name in ("tokens", "targets"))
    kept = targets != IGNORE_INDEX
    expected = F.cross_entropy(ours.model(tokens[kept]), targets[kept], label_smoothing=0.2)

    assert_close(losses(ours, 1)[0], expected.detach())


def test_the_norm_of_clipped_gradients_is_told():
    ours = trainer(optimizer={"use": "sgd", "lr": 0.0}, max_grad_norm=0.01)

    metrics = take(ours, 1)[0]

    norm = torch.cat([weight.grad.flatten() for weight in ours.model.parameters()]).norm()
    assert list(metrics) == ["loss", "grad_norm"]
    assert_close(norm, torch.tensor(0.01), rtol=1e-3, atol=0)
    assert metrics["grad_norm"] > 0.01


def test_numbers_of_a_step_hold_no_graph():
    for options in ({}, {"gradient_accumulation_steps": 2}, {"max_grad_norm": 1.0}):
        assert not any(value.requires_grad for value in take(trainer(**options), 1)[0].values())


def test_lbfgs_comes_down_in_few_steps():
    ours = trainer(numbers(), Regressor(), optimizer={"use": "lbfgs"}, loss="mse", batch_size="full")
    columns = numbers().columns
    images = torch.cat([columns["images"], torch.ones(23, 1)], 1)
    best = torch.linalg.lstsq(images, columns["targets"][:, None]).solution.squeeze(1)

    take(ours, 5)

    assert_close(ours.model.layer.weight[0], best[:5], rtol=1e-3, atol=1e-4)


def test_lbfgs_reports_the_loss_and_the_gradient_from_before_its_step():
    ours = trainer(
        numbers(), Regressor(), optimizer={"use": "lbfgs"}, loss="mse", batch_size="full", max_grad_norm=100.0
    )
    columns = numbers().columns
    loss = F.mse_loss(ours.model(columns["images"]), columns["targets"])
    gradients = torch.autograd.grad(loss, list(ours.model.parameters()))

    (metrics,) = take(ours, 1)

    assert_close(metrics["loss"], loss.detach())
    assert_close(metrics["grad_norm"], torch.cat([each.flatten() for each in gradients]).norm())


def test_training_goes_on_after_an_evaluation():
    ours = trainer(model=Classifier(dropout=0.5))
    steps = ours.steps()
    next(steps)
    ours.model.eval()

    next(steps)

    assert ours.model.training


FEATURES = {
    "sgd": {"optimizer": SGD},
    "adam": {},
    "average": {"ema_decay": 0.9},
    "cosine": {"schedule": {"use": "cosine_annealing"}, "budget": Budget(epochs=3)},
    "warm-up": {"warmup_steps": 4},
    "warm-up and one cycle": {
        "warmup_steps": 3,
        "schedule": {"use": "one_cycle", "max_lr": 0.1},
        "budget": Budget(steps=11),
    },
    "cyclic": {"schedule": {"use": "cyclic", "base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3}},
    "warm restarts": {"schedule": {"use": "cosine_annealing_warm_restarts", "T_0": 3}},
    "plateau": {"schedule": {"use": "reduce_on_plateau", "patience": 1}},
    "accumulation": {"gradient_accumulation_steps": 3},
    "clipping": {"max_grad_norm": 0.1},
    "weighted classes": {"sampling": "balanced", "class_weights": "balanced"},
    "drawn and accumulated": {"sampling": {"a": 3.0}, "gradient_accumulation_steps": 2},
    "lbfgs": {"optimizer": {"use": "lbfgs", "max_iter": 3}, "batch_size": "full"},
    "everything": {
        "ema_decay": 0.9,
        "gradient_accumulation_steps": 2,
        "warmup_steps": 2,
        "schedule": {"use": "linear"},
        "max_grad_norm": 1.0,
        "budget": Budget(steps=11),
    },
}


def watched_steps(ours, first, last):
    """Take steps `first` up to `last`, with an evaluation after each; return all that was to be seen."""
    seen = []
    for step, metrics in zip(range(first, last), ours.steps(), strict=False):
        ours.on_score(abs(step - 4.0), "min")
        seen.append(([float(value) for value in metrics.values()], ours.log_values()))
    return seen


@pytest.mark.parametrize("stop", [1, 3, 4, 5, 8])
@pytest.mark.parametrize("feature", FEATURES)
def test_a_restored_trainer_goes_on_as_if_nothing_had_happened(feature, stop):
    def fresh(seed):
        seed_everything(seed)
        return trainer(model=Classifier(dropout=0.5), **FEATURES[feature])

    whole = fresh(seed=0)
    expected = watched_steps(whole, 0, 11)
    first = fresh(seed=0)
    watched_steps(first, 0, stop)
    file = io.BytesIO()
    torch.save((first.model.state_dict(), first.state_dict(), randomness()), file)

    weights, state, random_state = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    second = fresh(seed=99)
    second.model.load_state_dict(weights)
    second.load_state_dict(state)
    restore_randomness(random_state)
    rest = watched_steps(second, stop, 11)

    assert rest == expected[stop:]
    assert_same_weights(second.model, whole.model)
    assert_same_weights(second._live, whole._live)


def restored(first, **options):
    """Return a trainer with other options that continues from a checkpoint of `first`."""
    second = trainer(model=Classifier(), optimizer=SGD, **options)
    second.model.load_state_dict(first.model.state_dict())
    second.load_state_dict(first.state_dict())
    return second


@pytest.mark.parametrize(("before", "after"), [(None, 0.75), (0.75, None)])
def test_an_average_that_begins_or_ends_when_a_run_continues_does_not_change_what_is_trained(before, after):
    whole, first = (trainer(optimizer=SGD, ema_decay=before) for _ in range(2))
    losses(whole, 7)
    losses(first, 3)

    second = restored(first, ema_decay=after)
    losses(second, 4)

    assert_same_weights(second._live, whole._live)


def test_an_average_that_begins_when_a_run_continues_starts_with_the_weights_of_the_checkpoint():
    first = trainer(optimizer=SGD)
    losses(first, 3)
    start = {name: weight.clone() for name, weight in first.model.named_parameters()}

    second = restored(first, ema_decay=0.75)
    assert_same_weights(second.model, first.model)
    losses(second, 1)

    live = dict(second._live.named_parameters())
    for name, weight in second.model.named_parameters():
        assert_close(weight, 0.75 * start[name] + 0.25 * live[name])


def test_a_restored_stream_goes_on_where_it_was():
    whole = losses(trainer(Stream()), 9)
    first = trainer(Stream())
    take(first, 6)
    second = trainer(Stream(), first.model)

    second.load_state_dict(first.state_dict())

    assert torch.equal(losses(second, 3), whole[6:])


def test_a_schedule_ends_with_the_shorter_of_epochs_and_steps():
    ours = trainer(
        schedule={"use": "cosine_annealing"}, budget=Budget(epochs=2, steps=100), optimizer={"use": "sgd", "lr": 1.0}
    )

    take(ours, 8)

    assert ours.log_values()["lr"] == pytest.approx(0)


def test_a_plateau_lowers_the_rate_of_the_steps():
    ours = trainer(schedule={"use": "reduce_on_plateau", "patience": 0, "factor": 0.5}, optimizer=SGD)

    for score in (1.0, 2.0):
        ours.on_score(score, "min")

    assert ours.log_values() == {"lr": 0.05}


def test_an_evaluation_means_nothing_to_other_schedules():
    ours = trainer(schedule={"use": "exponential", "gamma": 0.5}, optimizer=SGD)

    ours.on_score(1.0, "max")

    assert ours.log_values() == {"lr": 0.1}


class Numbers(nn.Module):
    """Returns what it was given, times one, in bfloat16 under autocast."""

    def __init__(self, own_loss: bool) -> None:
        super().__init__()
        self.scale = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.scale.weight)
        if own_loss:
            self.loss = lambda outputs, targets: (outputs - targets).square().mean()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scale(images)


@pytest.mark.parametrize(("own_loss", "loss"), [(True, "auto"), (True, "mse"), (False, "mse"), (False, "l1")])
def test_a_loss_is_computed_in_float32_whatever_the_precision(own_loss, loss):
    half = Compute(torch.device("cpu"), torch.bfloat16)
    batch = {"images": torch.full((3000, 1), 1.0), "targets": torch.full((3000, 1), 0.9)}

    found = BatchLoss(Numbers(own_loss), tuple(batch), half, loss, 0.0)(batch, 0)

    assert found.dtype is torch.float32
    assert found.item() == pytest.approx(0.1 if loss == "l1" else 0.01, rel=1e-5)


def test_bfloat16_on_the_cpu_stays_near_float32():
    torch.manual_seed(0)
    half = Supervised(Classifier(), OneSplit(pictures()), Compute(torch.device("cpu"), torch.bfloat16), 3, batch_size=7)

    found = losses(half, 5)

    assert_close(found.float(), losses(trainer(), 5), rtol=0.05, atol=0.05)
    assert half.model.classify.weight.dtype is torch.float32
    assert all(map(math.isfinite, found.tolist()))


def test_an_average_of_a_frozen_layer_keeps_it():
    torch.manual_seed(0)
    model = Classifier()
    model.hidden.requires_grad_(False)
    before = model.hidden.weight.clone()
    ours = trainer(model=model, ema_decay=0.9, optimizer=SGD)

    take(ours, 3)

    assert_close(ours.model.hidden.weight, before)


def test_data_without_targets_is_an_error_that_tells_its_columns():
    with pytest.raises(InputError, match=r"the loss needs the column 'targets', but the data has images"):
        take(trainer(Columns({"images": torch.zeros(5, 5)})), 1)


def test_data_without_a_column_of_the_model_is_an_error():
    with pytest.raises(InputError, match=r"Classifier\.forward needs the column 'images', but the data has targets"):
        take(trainer(Columns({"targets": torch.zeros(5)})), 1)


def test_an_empty_stream_is_an_error_and_no_endless_loop():
    with pytest.raises(InputError, match="the training split makes no batch in epoch 0"):
        take(trainer(Nothing()), 1)


def test_an_empty_split_is_an_error_and_no_endless_loop():
    with pytest.raises(InputError, match="has no examples; expected at least one"):
        trainer(pictures(0))


def test_smoothing_a_loss_of_the_models_own_is_refused():
    with pytest.raises(
        InputError, match=r"label_smoothing = 0\.1: the loss of Regressor does not support it; leave it out"
    ):
        trainer(numbers(), Regressor(), label_smoothing=0.1)
    with pytest.raises(InputError, match=r'class_weights = "balanced": the loss of Regressor does not support it'):
        trainer(numbers(), Regressor(), class_weights="balanced")


def test_squared_errors_of_classes_compare_shares_as_keras_does():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])
    shares = [[math.exp(value) / sum(map(math.exp, row)) for value in row] for row in logits.tolist()]
    errors = [(shares[0][0] - 1) ** 2, shares[0][1] ** 2, shares[0][2] ** 2]

    loss = squared_error(logits, torch.tensor([0, IGNORE_INDEX]))

    assert_close(loss, torch.tensor(sum(errors) / 3))


def test_a_net_learns_classes_by_squared_errors():
    ours = trainer(loss="mse", batch_size="full", optimizer={"use": "adam", "lr": 0.05})

    first, *_, last = losses(ours, 300)

    assert last < first / 2
