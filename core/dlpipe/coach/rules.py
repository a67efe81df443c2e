"""The rules, in the order of the recipe: faults first, then what to try if the model is not good.

Each takes a `Case` and yields what it finds. A remedy that the components of the pipeline do not take is left out
later, so that rules need not know them.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator

from dlpipe.coach import remedies
from dlpipe.coach.case import Case, Finding
from dlpipe.coach.examination import Examination
from dlpipe.messages import counted, shown, shown_number

_NOT_FINITE = re.compile(r"\bNaN\b|\bnan\b|\binf\b|not finite")
#: Of the gradient in the layer where it is largest, what the first layer gets if gradients vanish on their way there.
VANISHED = 1e-4
#: Fewer layers do not make gradients vanish.
DEEP = 3
#: Share of the units of an activation that are silent, or of its outputs that are at a bound, if that is a fault.
MANY_SILENT, MANY_SATURATED = 0.5, 0.9
#: Inputs are not scaled if they are further from 0, or vary by more, than this.
UNSCALED = 10.0
#: A loss has not moved if it has fallen by less than this share of its start.
STUCK = 0.01
#: Weights have hardly moved if they are nearer than this, as a share of their size, to where they began.
HARDLY_MOVED = 0.03
#: A loss still falls if this share of all that it has fallen is that of the last tenth of the training.
STILL_FALLING = 0.02
#: A score on dev still rises if its end is better than the second half before it by this share of its range.
STILL_RISING = 0.1
#: What the largest class has of all examples, if the classes are not balanced.
IMBALANCED = 0.8
#: Fewer steps than this are too few, if an epoch has at most this number of them, of larger batches than this.
FEW_STEPS, SHORT_EPOCH, SMALL_BATCH = 200, 2, 32


def failed(case: Case) -> Iterator[Finding]:
    """Find a training that stopped at a NaN."""
    if _NOT_FINITE.search(case.problem):
        yield Finding(
            "the loss became NaN",
            case.problem,
            "Steps that are too large make weights that are larger and larger, until they are no numbers.",
            [*remedies.lower_rate(case), *remedies.clipped(case)],
        )


def diverged(case: Case) -> Iterator[Finding]:
    """Find a training loss that grows."""
    if case.diverged:
        yield Finding(
            "the training loss grows",
            _course(case, "first", "last"),
            "Small steps against the gradient lower the loss; these are too large.",
            [*remedies.lower_rate(case), *remedies.clipped(case)],
        )


def unscaled_inputs(case: Case) -> Iterator[Finding]:
    """Find inputs that are large numbers."""
    for each in case.first.inputs if case.first and case.verdict != "good" else ():
        if max(abs(each.mean), each.std) > UNSCALED:
            yield Finding(
                f"the numbers in {each.name} are not scaled",
                f"mean {each.mean:.3g}, standard deviation {each.std:.3g}, lowest {each.lowest:.3g}, highest "
                f"{each.highest:.3g}",
                "Initial weights and learning rates are made for inputs around 0 with a standard deviation near 1.",
                remedies.scaled_inputs(case),
            )


def vanishing_gradients(case: Case) -> Iterator[Finding]:
    """Find first layers that get hardly any gradient."""
    layers = case.first.weights if case.first else []
    if len(layers) < DEEP or case.verdict == "good":
        return
    first, largest = layers[0], max(layers, key=lambda layer: layer.gradient)
    if 0 < first.gradient < VANISHED * largest.gradient:
        bounded = case.value("model.activation") in ("sigmoid", "tanh")
        slope = ", and that of a sigmoid is at most 0.25, of a tanh at most 1" if bounded else ""
        yield Finding(
            "the gradients vanish on their way to the first layers",
            f"before training, the gradient of {first.layer} is {first.gradient / largest.gradient:.1e} times that of "
            f"{largest.layer} (root mean squares)",
            "In every layer, the gradient is multiplied by the weights and by the slope of the activation"
            f"{slope}. The first layers hardly learn.",
            [
                *(remedies.relu(case) if bounded else remedies.he_weights(case)),
                *remedies.batch_normalization(case),
                *remedies.adam(case),
            ],
        )


def silent_units(case: Case) -> Iterator[Finding]:
    """Find rectified units that are 0 for every example."""
    layers = [each for each in case.last.units if each.silent > MANY_SILENT] if case.last else []
    if case.last and layers and case.verdict != "good":
        shares = ", ".join(f"{each.silent:.0%} of {counted(each.count, 'unit')} of {each.layer}" for each in layers)
        yield Finding(
            f"most units of {counted(len(layers), 'layer')} are dead",
            f"after training, 0 for every training example of {counted(case.last.steps, 'step')}: {shares}",
            "No gradient passes through them, so they stay as they are. A step that was too large, or inputs that are "
            "not scaled, pushed them there.",
            [*remedies.lower_rate(case), *remedies.leaky_relu(case)],
        )


def saturated_units(case: Case) -> Iterator[Finding]:
    """Find activations whose outputs are at their bounds."""
    layers = [each for each in case.last.units if each.saturated > MANY_SATURATED] if case.last else []
    if layers and case.verdict != "good":
        shares = ", ".join(f"{each.saturated:.0%} of {each.layer} ({each.kind})" for each in layers)
        yield Finding(
            f"the units of {counted(len(layers), 'layer')} are saturated",
            f"after training, outputs at a bound of the activation: {shares}",
            "The slope there is nearly 0, and hardly any gradient passes through.",
            [*remedies.lower_rate(case), *remedies.batch_normalization(case)],
        )


def no_gradient(case: Case) -> Iterator[Finding]:
    """Find parameters that are to be trained, but have no gradient."""
    idle = _without_gradient(case.first) & _without_gradient(case.last) if case.last else set()
    if idle:
        names = sorted(idle)
        listed = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
        yield Finding(
            f"{counted(len(names), 'parameter')} of the model {'has' if len(names) == 1 else 'have'} no gradient",
            f"{listed}: none, or 0, in all steps that were watched, before training and after it",
            "The loss does not depend on them: they are not used, or something between them and the loss stops the "
            "gradient.",
        )


def classes_by_squared_error(case: Case) -> Iterator[Finding]:
    """Find a classifier that learns badly, and minimizes the squared error."""
    loss = case.value("trainer.loss")
    is_classifier = any(config.component.name == "core.classification" for config in case.stage.evaluators.values())
    if case.is_poor_on_train and is_classifier and loss in ("mse", "l1"):
        yield Finding(
            "the loss does not suit classes",
            f'loss = "{loss}", and the model is not good on its training examples',
            "The gradient of the squared error of a softmax is near 0 where the model is sure and wrong; that of the "
            "cross-entropy is largest there.",
            remedies.cross_entropy(case),
            advice=True,
        )


def few_steps(case: Case) -> Iterator[Finding]:
    """Find epochs of so few steps that training is over before it has begun."""
    size, per_epoch = case.value("trainer.batch_size"), case.steps_per_epoch
    is_large = size == "full" or (isinstance(size, int) and size > SMALL_BATCH)
    if not case.is_poor_on_train or not per_epoch or per_epoch > SHORT_EPOCH or not is_large:
        return
    if case.steps < FEW_STEPS and (case.train_examples or 0) > 2 * SMALL_BATCH:
        yield Finding(
            "there are few steps",
            f"batch_size = {shown(size)} makes {counted(per_epoch, 'step')} per epoch, {counted(case.steps, 'step')} "
            "in all",
            "A step with all examples is hardly better than one with a few of them, and takes many times as long.",
            remedies.small_batches(case),
            advice=True,
        )


def stuck(case: Case) -> Iterator[Finding]:
    """Find a training in which the loss has hardly fallen, or the weights have hardly moved."""
    if not _is_stuck(case):
        return
    moved = "" if case.moved is None else f"; the weights have moved by {case.moved:.2g} times their size (median)"
    slow = _is_slow(case)
    why = "The steps are too small." if slow else "The steps are too large, or the loss carries no signal."
    yield Finding(
        "training makes hardly any progress",
        _course(case, "first", "last") + moved,
        f"{why} `dlpipe plan FILE --find-lr` tests a range of rates.",
        [*remedies.adam(case), *(remedies.rate_that_moves(case) if slow else remedies.lower_rate(case))],
        advice=True,
    )


def unfinished(case: Case) -> Iterator[Finding]:
    """Find a training loss that was still falling when the budget was used."""
    if _still_falls(case):
        yield Finding(
            "the training ended while it made progress",
            _course(case, "last but one", "last"),
            "More steps, or larger ones, would have gone further.",
            [*remedies.longer(case), *remedies.adam(case), *remedies.higher_rate(case)],
            advice=True,
        )


def plateau(case: Case) -> Iterator[Finding]:
    """Find a loss that has stopped falling, of a model that is not good on its training examples."""
    stops = case.verdict == "underfitting" and case.curves.loss.known and not case.diverged
    if stops and not _is_stuck(case) and not _still_falls(case):
        less = [*remedies.falling_rate(case), *remedies.lower_rate(case)]
        yield Finding(
            "the training loss has stopped falling",
            _course(case, "last but one", "last"),
            "What is regularized less, or larger, fits the training examples better; smaller steps at the end do, too. "
            "The rest may be noise: wrong labels, or what the inputs do not say.",
            [
                *remedies.less_regularization(case),
                *remedies.adam(case),
                *(remedies.longer(case) if case.schedule else less),
                *remedies.larger(case),
            ],
            advice=True,
        )


def rising(case: Case) -> Iterator[Finding]:
    """Find a score on dev that was still getting better, of a learner without a training loss to look at."""
    dev, goal = case.curves.dev, case.curves.goal
    if case.first is not None or not dev.known or case.verdict in ("not learned", "good"):
        return
    step, best = dev.best(goal)
    values = [value for _, value in dev.points]
    middle = statistics.fmean(values[len(values) // 2 : -3])
    gained = (dev.end - middle if goal == "max" else middle - dev.end) / ((max(values) - min(values)) or 1.0)
    # A score that was reached in the first half is one that it keeps.
    if gained > STILL_RISING and step >= dev.points[len(values) // 2][0]:
        yield Finding(
            "the training ended while the score on dev got better",
            f"{shown_number(dev.end)} in the last three evaluations, {shown_number(middle)} in those of the second "
            f"half before them; the best, {shown_number(best)}, is that of step {step:,}",
            "More steps would have gone further.",
            remedies.longer(case),
            advice=True,
        )


def imbalanced(case: Case) -> Iterator[Finding]:
    """Find classes of which one has most examples."""
    share = case.first.largest_class if case.first else None
    if share and IMBALANCED <= share < 1 and case.verdict != "good":
        yield Finding(
            "one class has most training examples",
            f"{share:.0%} of those in the steps that were watched",
            "A model that always gives this class has a small loss. The others count more with weights; accuracy_macro "
            "of core.classification counts all classes the same.",
            remedies.balanced_classes(case),
            advice=True,
        )


def late(case: Case) -> Iterator[Finding]:
    """Find a score on dev that was better before."""
    if not case.is_late or not case.scores or case.scores.train is None or case.scores.at_end is None:
        return
    dev = case.curves.dev
    step, best = dev.best(case.curves.goal)
    yield Finding(
        "the score on dev was best long before the end",
        f"on dev {shown_number(best)} at step {step:,} and {shown_number(dev.end)} at the end, step "
        f"{dev.points[-1][0]:,}; on train {shown_number(case.scores.train)} and {shown_number(case.scores.at_end)}",
        "What was learned after it holds for the training examples only. The best checkpoint is kept in any case; the "
        "others took time.",
        remedies.early_stopping(case),
        advice=True,
    )


def overfitted(case: Case) -> Iterator[Finding]:
    """Find a model that learns what only its training examples have."""
    if case.verdict != "overfitting" or not case.scores:
        return
    yield Finding(
        "the model learns what only its training examples have",
        case.scores.words(),
        "That includes wrong labels and noise. More examples help most; the rest in the order of the recipe.",
        [*remedies.dropout(case), *remedies.weight_decay(case), *remedies.smaller(case)],
        advice=True,
    )


def no_gain(case: Case) -> Iterator[Finding]:
    """Find a learner that has learned nothing, for a reason that no other rule knows."""
    if case.verdict == "not learned" and case.scores:
        yield Finding(
            "the score is no better than without training, and no other rule says why",
            case.scores.words(),
            "It may need more steps, or smaller or larger ones. Agents often learn nothing for a long time.",
            [*remedies.longer(case), *remedies.lower_rate(case), *remedies.higher_rate(case)],
            advice=True,
        )


def _still_falls(case: Case) -> bool:
    """Return whether a model that is not good on its training examples was still learning at the end."""
    loss = case.curves.loss
    if not case.is_poor_on_train or not loss.known or _is_stuck(case):
        return False
    return loss.last_fall() > max(STILL_FALLING * loss.fall(), loss.noise)


def _is_stuck(case: Case) -> bool:
    """Return whether the loss of such a model has hardly fallen, or its weights have hardly moved."""
    loss = case.curves.loss
    if not case.is_poor_on_train or not loss.known or case.diverged:
        return False
    return loss.fall() <= STUCK * abs(loss.tenths()[0]) or (_is_slow(case) and case.verdict == "not learned")


def _is_slow(case: Case) -> bool:
    return case.moved is not None and case.moved < HARDLY_MOVED


def _course(case: Case, *which: str) -> str:
    """Return the means of two tenths of the training loss in words."""
    first, *_, before, last = case.curves.loss.tenths()
    means = {"first": first, "last but one": before, "last": last}
    return (
        "train/loss is "
        + " and ".join(f"{shown_number(means[each])} in the {each} tenth" for each in which)
        + (" of the training")
    )


def _without_gradient(found: Examination | None) -> set[str]:
    return set(found.without_gradient) if found else set()
