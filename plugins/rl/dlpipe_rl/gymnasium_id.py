"""Any Gymnasium environment, by its id."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import wrappers as offered

from dlpipe.errors import InputError
from dlpipe.fields import NonNegative, Positive
from dlpipe.messages import nearest
from dlpipe_rl.environments import Environments

#: The Gymnasium wrappers without state beyond an episode, so that an episode can be replayed.
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
    """Create any Gymnasium environment by its id.

    Args:
        id: such as "CartPole-v1".
        arguments: keyword arguments of that environment, such as ``{ sutton_barto_reward = true }``.
        wrappers: Gymnasium wrappers, the innermost first: ``"time_aware_observation"``, or with arguments
            ``{ use = "clip_reward", min_reward = -1, max_reward = 1 }``. A shape is a list; bounds may be one.
        max_episode_steps: truncate episodes after this many timesteps; by default the environment's own limit.
        frame_stack: number of frames per observation, concatenated along their first axis.
        num_workers: processes that step the training environments; 0 steps them in the main process.
    """
    _require_known(id)
    make = partial(_make, id, dict(arguments), tuple(map(_wrapper, wrappers)), max_episode_steps)
    parts = {"arguments": dict(arguments), "wrappers": list(wrappers), "max_episode_steps": max_episode_steps}
    settings = ", ".join(f"{name}={value}" for name, value in parts.items() if value)
    fingerprint = f"{id}({settings}), {frame_stack} frames, gymnasium {gym.__version__}"
    return Environments(id, make, frame_stack=frame_stack, fingerprint=fingerprint, num_workers=num_workers)


def _require_known(id: str) -> None:
    if ":" in id:
        module, _, own = id.partition(":")
        raise InputError(
            f'id = "{id}": a pipeline file cannot import a module. Write a plugin file that imports {module}, list it '
            f'as plugins = ["./mine.py"], set id = "{own}", and run with --allow-local-plugins'
        )
    try:
        gym.spec(id)
    except gym.error.Error as error:
        hint = nearest(id, gym.registry) or f" ({error})"
        raise InputError(f'id = "{id}": Gymnasium has no such environment.{hint}') from error


def _wrapper(entry: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    table = {"use": entry} if isinstance(entry, str) else dict(entry)
    name = table.pop("use", None)
    if name not in WRAPPERS:
        raise InputError(
            f"wrappers: {name!r} is not one of {', '.join(WRAPPERS)}.{nearest(str(name), WRAPPERS)} "
            "(Wrappers with state beyond an episode are not supported: a resumed run would differ)"
        )
    return name, table


def _without_lists(wrapper: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a wrapper, with lists as the arrays or tuples that it takes."""
    parameters = inspect.signature(wrapper).parameters
    arrays = {name for name, parameter in parameters.items() if "ndarray" in str(parameter.annotation)}
    return {
        name: value if not isinstance(value, list) else np.array(value) if name in arrays else tuple(value)
        for name, value in options.items()
    }


def _make(
    id: str,
    arguments: dict[str, Any],
    wrappers: tuple[tuple[str, dict[str, Any]], ...],
    max_episode_steps: int | None,
    render_mode: Literal["rgb_array"] | None,
) -> gym.Env[Any, Any]:
    rendering = {"render_mode": render_mode} if render_mode else {}
    try:
        # `CheckedEnv` makes the checks of Gymnasium's first step in every step, and begins with reset().
        spec = replace(gym.spec(id), order_enforce=False)
        env = gym.make(spec, max_episode_steps, disable_env_checker=True, **arguments, **rendering)
        for name, options in wrappers:
            env = WRAPPERS[name](env, **_without_lists(WRAPPERS[name], options))
    except Exception as error:  # an environment's own code may raise anything
        raise InputError(
            f'id = "{id}": the environment could not be created: {type(error).__name__}: {error}'
        ) from error
    return env
