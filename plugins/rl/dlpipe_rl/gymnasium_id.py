"""Any environment of gymnasium, by its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import gymnasium as gym
from gymnasium import wrappers as offered

from dlpipe.errors import InputError
from dlpipe.fields import NonNegative, Positive
from dlpipe.messages import nearest
from dlpipe_rl.environments import Environments

#: gymnasium's wrappers whose whole state belongs to one episode, so that an episode can be played again.
WRAPPERS: dict[str, type[gym.Wrapper[Any, Any, Any, Any]]] = {
    "clip_action": offered.ClipAction,
    "clip_reward": offered.ClipReward,
    "delay_observation": offered.DelayObservation,
    "dtype_observation": offered.DtypeObservation,
    "filter_observation": offered.FilterObservation,
    "flatten_observation": offered.FlattenObservation,
    "grayscale_observation": offered.GrayscaleObservation,
    "rescale_action": offered.RescaleAction,
    "rescale_observation": offered.RescaleObservation,
    "resize_observation": offered.ResizeObservation,
    "sticky_action": offered.StickyAction,
    "time_aware_observation": offered.TimeAwareObservation,
}


def environment(
    *,
    id: str = "CartPole-v1",
    arguments: Mapping[str, Any] = {},
    wrappers: Sequence[str | Mapping[str, Any]] = (),
    max_episode_steps: Positive | None = None,
    frame_stack: Positive = 1,
    num_workers: NonNegative = 0,
) -> Environments:
    """Offer any environment of gymnasium, by its id.

    Args:
        id: such as "CartPole-v1".
        arguments: of that environment, such as ``{ sutton_barto_reward = true }``.
        wrappers: gymnasium's, the innermost first: ``"time_aware_observation"``, or with arguments
            ``{ use = "clip_reward", min_reward = -1, max_reward = 1 }``.
        max_episode_steps: cut episodes off after so many timesteps; the environment's own limit if not given.
        frame_stack: an observation is so many of the last ones, joined along their first axis.
        num_workers: processes that play; 0 plays in this one.
    """
    _require_known(id)
    make = partial(_make, id, dict(arguments), tuple(map(_wrapper, wrappers)), max_episode_steps)
    parts = {"arguments": dict(arguments), "wrappers": list(wrappers), "max_episode_steps": max_episode_steps}
    told = ", ".join(f"{name}={value}" for name, value in parts.items() if value)
    fingerprint = f"{id}({told}), {frame_stack} frames, gymnasium {gym.__version__}"
    return Environments(id, make, frame_stack=frame_stack, fingerprint=fingerprint, num_workers=num_workers)


def _require_known(id: str) -> None:
    if ":" in id:
        module, _, own = id.partition(":")
        raise InputError(
            f'[data] id = "{id}": a pipeline file imports no module. Let a plugin do it: write a file that imports '
            f'{module}, name it by plugins = ["./mine.py"], say id = "{own}", and run with --allow-local-plugins'
        )
    try:
        gym.spec(id)
    except gym.error.Error as error:
        hint = nearest(id, gym.registry) or f" ({error})"
        raise InputError(f'[data] id = "{id}": gymnasium has no such environment.{hint}') from error


def _wrapper(asked: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    table = {"use": asked} if isinstance(asked, str) else dict(asked)
    name = table.pop("use", None)
    if name not in WRAPPERS:
        raise InputError(
            f"[data] wrappers: {name!r} is not one of {', '.join(WRAPPERS)}.{nearest(str(name), WRAPPERS)} "
            "(Those with a memory beyond the episode are left out: a resumed run would not be the same)"
        )
    return name, table


def _make(
    id: str,
    arguments: dict[str, Any],
    wrappers: tuple[tuple[str, dict[str, Any]], ...],
    max_episode_steps: int | None,
    render_mode: Literal["rgb_array"] | None,
) -> gym.Env[Any, Any]:
    rendering = {"render_mode": render_mode} if render_mode else {}
    try:
        # What gymnasium would check in the first step, `Episodes` checks in every one, and it begins with reset().
        spec = replace(gym.spec(id), order_enforce=False)
        env = gym.make(spec, max_episode_steps, disable_env_checker=True, **arguments, **rendering)
        for name, options in wrappers:
            env = WRAPPERS[name](env, **options)
    except Exception as error:  # an environment's own code may raise anything
        raise InputError(f'[data] id = "{id}": it cannot be made: {type(error).__name__}: {error}') from error
    return env
