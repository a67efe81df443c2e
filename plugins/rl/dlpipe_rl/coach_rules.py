"""Rules of ``dlpipe coach`` for agents, by what their trainers log and `dlpipe_rl.returns` measures.

Whether an agent does badly is known from its returns: a return has no perfect value that would do for all environments.
"""

from __future__ import annotations

from collections.abc import Iterator

from dlpipe.coach import Case, Curve, Finding, Remedy, lower_rate

#: An agent does badly if fewer of its episodes are a success.
SUCCESSES = 0.5
#: Values have exploded if they are this many times the largest return.
EXPLODED = 10.0
#: In nats: of two actions, one has 99 % of the probability, whatever is observed.
COLLAPSED = 0.05
#: Actions are hardly ever random below the first share, and mostly still random above the second one.
RARELY, OFTEN = 0.02, 0.3
#: A run has used its timesteps if it took this share of them.
OVER = 0.9
#: An agent has forgotten what it could if it lost this share of what it was better than a random policy.
FORGOTTEN = 0.5
#: How many evaluations tell that.
LEAST_EVALUATIONS = 5


def exploded_values(case: Case) -> Iterator[Finding]:
    """Find values of observations that no return comes near to."""
    if case.metric("train/entropy_coef").points:  # soft values include the entropy to come, which no return does
        return
    values, returns = _played(case, "value_mean"), _played(case, "return_mean")
    reached = [*returns.points, *_played(case, "random_return_mean").points]
    largest = max((abs(value) for _, value in reached), default=0.0)
    if 0 < EXPLODED * largest < abs(values.last):
        yield Finding(
            "the values of the agent have exploded",
            f"value_mean is {values.last:.3g} at step {values.points[-1][0]:,}, and no mean return was larger than "
            f"{largest:.3g}",
            "A discounted return is hardly larger than a whole one. Values that are learned from values grow with each "
            "other if steps are too large, or if a target network follows too quickly.",
            [*lower_rate(case), *_slower_target(case), *_huber(case), *_clipped(case)],
        )


def collapsed_entropy(case: Case) -> Iterator[Finding]:
    """Find a policy that takes the same actions long before it is any good."""
    entropy = case.metric("train/entropy")
    if not entropy.known or not _does_badly(case):
        return
    middle = entropy.tenths()[4]
    # That of continuous actions only passes through this range, and is negative where they are precise.
    if all(0 <= tenth < COLLAPSED for tenth in entropy.tenths()[4:]):
        yield Finding(
            "the policy does badly, and has stopped exploring",
            f"the entropy of its actions is {middle:.2g} nats in the fifth tenth of the training; {_return(case)}",
            "One action has nearly all of the probability, so nothing is learned about the others.",
            [*lower_rate(case), *_entropy_bonus(case), *_clipped(case)],
        )


def early_exploitation(case: Case) -> Iterator[Finding]:
    """Find an agent that hardly ever tried anything."""
    epsilon = case.metric("train/epsilon")
    if not epsilon.known or case.value("model.noisy") or not _does_badly(case):
        return
    first = epsilon.tenths()[0]
    if first < RARELY:
        yield Finding(
            "the agent has hardly explored",
            f"{first:.2%} of its actions were random in the first tenth of the training; {_return(case)}",
            "It learns about what it does, and what it believes to be best at the start is by chance.",
            _usual_exploration(case),
            advice=True,
        )


def late_exploitation(case: Case) -> Iterator[Finding]:
    """Find an agent that acted at random until the end."""
    epsilon = case.metric("train/epsilon")
    if not epsilon.known or not _has_used_its_timesteps(case) or not _does_badly(case):
        return
    last = epsilon.tenths()[-1]
    if last > OFTEN:
        yield Finding(
            "the agent has explored until the end",
            f"{last:.0%} of its actions were random in the last tenth of the training; {_return(case)}",
            "An agent that acts at random seldom gets to where only a good one gets to, and learns nothing about it.",
            _usual_exploration(case),
            advice=True,
        )


def forgotten(case: Case) -> Iterator[Finding]:
    """Find an agent that was much better before."""
    returns, chance = _played(case, "return_mean"), _played(case, "random_return_mean").last
    if len(returns.points) < LEAST_EVALUATIONS:
        return
    step, best = returns.best("max")
    # The interval tells a good policy from a few lucky episodes.
    low = dict(_played(case, "return_iqm_low").points).get(step, best)
    if low > max(chance, returns.end) and best - returns.end > FORGOTTEN * (best - chance):
        yield Finding(
            "the agent has forgotten what it could",
            f"its return was {best:.3g} at step {step:,}, and {returns.end:.3g} in the last three evaluations; that of "
            f"a random policy is {chance:.3g}",
            "What it does changes what it learns from. Smaller steps at the end, and targets that move slowly, keep a "
            "good policy. The best checkpoint is kept in any case.",
            [*_falling_rate(case), *_slower_target(case), *lower_rate(case), *_clipped(case)],
            advice=True,
        )


def _played(case: Case, metric: str) -> Curve:
    return case.evaluated("rl.returns", metric)


def _does_badly(case: Case) -> bool:
    """Return whether an agent is no better than before training or than chance, or mostly without success."""
    chance = _played(case, "return_mean").last <= _played(case, "random_return_mean").last
    return case.verdict == "not learned" or chance or _played(case, "success").last < SUCCESSES


def _return(case: Case) -> str:
    returns, chance = _played(case, "return_mean"), _played(case, "random_return_mean")
    return f"its return is {returns.last:.3g}, that of a random policy {chance.last:.3g}"


def _has_used_its_timesteps(case: Case) -> bool:
    """Return whether the run came to the end of its budget, so that the schedule of ε did, too."""
    planned, steps = case.value("trainer.timesteps"), case.stage.options.steps
    taken = case.metric("train/timesteps").last
    return not (planned and taken < OVER * planned) and not (steps and case.steps < OVER * steps)


def _usual_exploration(case: Case) -> list[Remedy]:
    """Let ε fall from 1 to 0.05 in a tenth of the timesteps."""
    timesteps = case.value("trainer.timesteps") or case.metric("train/timesteps").last
    if not timesteps >= 10:  # NaN, too
        return []
    values = {"schedule": "linear", "start": 1.0, "end": 0.05, "timesteps": int(timesteps) // 10}
    return [Remedy("exploration at the start", {f"trainer.epsilon_{key}": value for key, value in values.items()})]


def _slower_target(case: Case) -> list[Remedy]:
    if case.value("trainer.tau") != 1.0:  # it is slow already, or there is none
        return []
    return [Remedy("a target network that follows slowly", {"trainer.tau": 0.005, "trainer.target_every": 1})]


def _huber(case: Case) -> list[Remedy]:
    return [Remedy("Huber loss", {"trainer.loss": "huber"})] if case.value("trainer.loss") == "mse" else []


def _clipped(case: Case) -> list[Remedy]:
    """Limit the gradients."""
    return [] if case.value("trainer.max_grad_norm") else [Remedy("clipped gradients", {"trainer.max_grad_norm": 1.0})]


def _entropy_bonus(case: Case) -> list[Remedy]:
    """Reward entropy, or ten times as much as before; nothing where the weight is learned."""
    now = case.value("trainer.entropy_coef") or 0.0
    if isinstance(now, str):
        return []
    return [Remedy("a larger entropy bonus", {"trainer.entropy_coef": float(f"{max(0.01, 10 * now):.3g}")})]


def _falling_rate(case: Case) -> list[Remedy]:
    schedule = {"use": "linear", "start_factor": 1.0, "end_factor": 0.0}
    return [] if case.value("trainer.schedule") else [Remedy("a falling rate", {"trainer.schedule": schedule})]
