"""Components of the reinforcement learning plugin. This module does not import torch."""

from __future__ import annotations

from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, RuleSpec, TrainerSpec, hookimpl

DLPIPE_API = (1, 0)
FACTS = (
    "obs_shape",
    "obs_dtype",
    "num_actions",
    "action_shape",
    "action_bounds",
    "reward_range",
    "reward_threshold",
    "time_limit",
)
NEEDS = ("gymnasium",)
DRAWS = (*NEEDS, "matplotlib", "pillow")
EXTRA = "dlpipe[rl]"
APPLICATION = "dlpipe_rl.play:play"
RULES = "dlpipe_rl.coach_rules"
#: What may change while a run of a policy gradient continues.
POLICY_GRADIENT = ("optimizer", "schedule", "max_grad_norm", "gamma", "value_coef", "entropy_coef")


#: Former names of parameters and their current names; a pipeline file with a former name gets the current one.
RENAMED_ENVIRONMENT = {"workers": "num_workers"}
RENAMED_ATARI = {**RENAMED_ENVIRONMENT, "sticky": "repeat_action_probability", "size": "screen_size"}
RENAMED_DQN = {
    "prioritised": "priority_alpha",
    "importance": "importance_beta",
    "target_rate": "tau",
    "updates": "gradient_steps",
}
RENAMED_REINFORCE = {
    "normalize": "normalize_advantages",
    "value_weight": "value_coef",
    "entropy_weight": "entropy_coef",
}
RENAMED_A2C = {**RENAMED_REINFORCE, "moves": "rollout_steps", "trace": "gae_lambda"}
RENAMED_PPO = {
    "moves": "rollout_steps",
    "trace": "gae_lambda",
    "passes": "update_epochs",
    "clip": "clip_range",
    "value_weight": "value_coef",
    "entropy_weight": "entropy_coef",
}


@hookimpl
def dlpipe_data():
    return [
        DataSpec(
            "environment",
            "dlpipe_rl.gymnasium_id:environment",
            "any Gymnasium environment, by its id",
            requires=NEEDS,
            extra=EXTRA,
            facts=FACTS,
            application=APPLICATION,
            renamed=RENAMED_ENVIRONMENT,
        ),
        DataSpec(
            "catch",
            "dlpipe_rl.catch:catch",
            "move a paddle under a falling ball; observed as pixels",
            requires=NEEDS,
            extra=EXTRA,
            facts=FACTS,
            application=APPLICATION,
        ),
        DataSpec(
            "atari",
            "dlpipe_rl.atari:atari",
            "Atari games",
            requires=(*NEEDS, "ale-py", "pillow"),
            extra="dlpipe[rl,atari]",
            facts=FACTS,
            application=APPLICATION,
            renamed=RENAMED_ATARI,
        ),
    ]


@hookimpl
def dlpipe_models():
    return [
        ModelSpec("q_network", "dlpipe_rl.q_network:QNetwork", "action values for vector or image observations"),
        ModelSpec("policy_network", "dlpipe_rl.policy_network:PolicyNetwork", "a policy without a value function"),
        ModelSpec("actor_critic", "dlpipe_rl.actor_critic:ActorCritic", "a policy and a value function"),
        ModelSpec(
            "soft_actor_critic",
            "dlpipe_rl.soft_actor_critic:SoftActorCritic",
            "a policy of continuous actions, and the values of actions",
        ),
    ]


@hookimpl
def dlpipe_trainers():
    return [
        TrainerSpec(
            "dqn",
            "dlpipe_rl.dqn:DQN",
            "deep Q-learning with a replay buffer (double, n-step, prioritized)",
            requires=NEEDS,
            extra=EXTRA,
            budget=("timesteps",),
            changeable=(
                "timesteps",
                "optimizer",
                "schedule",
                "max_grad_norm",
                "loss",
                "double",
                "batch_size",
                "target_every",
                "tau",
                "importance_beta",
                "epsilon_start",
                "epsilon_end",
                "epsilon_timesteps",
                "epsilon_schedule",
            ),
            renamed=RENAMED_DQN,
        ),
        TrainerSpec(
            "reinforce",
            "dlpipe_rl.reinforce:reinforce",
            "Monte Carlo policy gradient on whole episodes, with or without a baseline",
            requires=NEEDS,
            extra=EXTRA,
            changeable=(*POLICY_GRADIENT, "normalize_advantages"),
            renamed=RENAMED_REINFORCE,
        ),
        TrainerSpec(
            "a2c",
            "dlpipe_rl.a2c:a2c",
            "advantage actor-critic on short rollouts",
            requires=NEEDS,
            extra=EXTRA,
            budget=("timesteps",),
            changeable=(*POLICY_GRADIENT, "timesteps", "gae_lambda", "normalize_advantages"),
            renamed=RENAMED_A2C,
        ),
        TrainerSpec(
            "ppo",
            "dlpipe_rl.ppo:ppo",
            "proximal policy optimization: several epochs over each rollout, with a clipped objective",
            requires=NEEDS,
            extra=EXTRA,
            budget=("timesteps",),
            changeable=(
                *POLICY_GRADIENT,
                "timesteps",
                "gae_lambda",
                "update_epochs",
                "batch_size",
                "clip_range",
            ),
            renamed=RENAMED_PPO,
        ),
        TrainerSpec(
            "sac",
            "dlpipe_rl.sac:SAC",
            "soft actor-critic: continuous actions, with a replay buffer",
            requires=NEEDS,
            extra=EXTRA,
            budget=("timesteps",),
            changeable=(
                "timesteps",
                "optimizer",
                "schedule",
                "max_grad_norm",
                "batch_size",
                "target_every",
                "tau",
                "target_entropy",
            ),
        ),
    ]


@hookimpl
def dlpipe_evaluators():
    return [
        EvaluatorSpec(
            "returns",
            "dlpipe_rl.returns:Returns",
            "plays whole episodes greedily with fixed seeds and records the best one",
            requires=DRAWS,
            extra=EXTRA,
            from_trainer=("gamma",),
            baselines=("random_return_mean",),
            not_on_train="it plays episodes that an agent never trained on; those of the training are train/return",
        ),
    ]


@hookimpl
def dlpipe_rules():
    return [
        RuleSpec("exploding-values", f"{RULES}:exploded_values", "values far beyond any return"),
        RuleSpec("entropy-collapsed", f"{RULES}:collapsed_entropy", "a poor policy that takes the same actions early"),
        RuleSpec("little-exploration", f"{RULES}:early_exploitation", "a poor agent that hardly acted at random"),
        RuleSpec("late-exploitation", f"{RULES}:late_exploitation", "a poor agent that acted at random to the end"),
        RuleSpec("forgotten", f"{RULES}:forgotten", "an agent that was much better before"),
    ]
