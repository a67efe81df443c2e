"""What the reinforcement learning plugin offers. Imports no torch."""

from __future__ import annotations

from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, TrainerSpec, hookimpl

DLPIPE_API = (1, 0)
FACTS = ("obs_shape", "obs_dtype", "num_actions", "action_shape", "reward_range", "reward_threshold", "time_limit")
NEEDS = ("gymnasium",)
DRAWS = (*NEEDS, "matplotlib", "pillow")
EXTRA = "dlpipe[rl]"


@hookimpl
def dlpipe_data():
    return [
        _environment("environment", "dlpipe_rl.gymnasium_id:environment", "any environment of gymnasium, by its id"),
        _environment("catch", "dlpipe_rl.catch:catch", "a ball falls, a paddle is to be under it; seen as pixels"),
        _environment("atari", "dlpipe_rl.atari:atari", "Atari games", ("ale-py", "pillow"), "dlpipe[rl,atari]"),
    ]


def _environment(name: str, target: str, summary: str, needs: tuple[str, ...] = (), extra: str = EXTRA) -> DataSpec:
    return DataSpec(
        name, target, summary, requires=(*NEEDS, *needs), extra=extra, facts=FACTS, application="dlpipe_rl.play:play"
    )


@hookimpl
def dlpipe_models():
    return [
        ModelSpec("q_network", "dlpipe_rl.q_network:QNetwork", "action values, of numbers or of images"),
        ModelSpec("policy_network", "dlpipe_rl.policy_network:PolicyNetwork", "probabilities of actions"),
        ModelSpec(
            "actor_critic", "dlpipe_rl.actor_critic:ActorCritic", "probabilities of actions, and values beside them"
        ),
    ]


@hookimpl
def dlpipe_trainers():
    return [
        TrainerSpec(
            "dqn",
            "dlpipe_rl.dqn:DQN",
            "learns action values from replayed moves (double, n-step, prioritised)",
            requires=NEEDS,
            extra=EXTRA,
            budget=("timesteps",),
        ),
        TrainerSpec(
            "reinforce",
            "dlpipe_rl.reinforce:reinforce",
            "follows the gradient of a policy, whole episodes at a time, with a baseline or without",
            requires=NEEDS,
            extra=EXTRA,
        ),
        TrainerSpec(
            "a2c",
            "dlpipe_rl.a2c:a2c",
            "advantage actor-critic: follows the gradient of a policy, a few moves at a time",
            requires=NEEDS,
            extra=EXTRA,
            budget=("timesteps",),
        ),
        TrainerSpec(
            "ppo",
            "dlpipe_rl.ppo:ppo",
            "proximal policy optimization: several passes over the same moves, near the old policy",
            requires=NEEDS,
            extra=EXTRA,
            budget=("timesteps",),
        ),
    ]


@hookimpl
def dlpipe_evaluators():
    return [
        EvaluatorSpec(
            "returns",
            "dlpipe_rl.returns:Returns",
            "plays whole episodes with fixed seeds, greedily, and shows the best of them",
            requires=DRAWS,
            extra=EXTRA,
        ),
    ]
