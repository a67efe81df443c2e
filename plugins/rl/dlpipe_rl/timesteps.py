"""How many steps of a trainer make a number of timesteps."""

from __future__ import annotations

from dlpipe.errors import InputError


def steps_for(timesteps: int, *, first: int, each: int, why: str) -> int:
    """Return the number of steps that make exactly `timesteps`.

    Args:
        timesteps: of all environments together.
        first: timesteps of the first step.
        each: timesteps of every further step.
        why: the parameters that decide this, for the message.

    Raises:
        InputError: no number of steps makes exactly `timesteps`.
    """
    further, rest = divmod(timesteps - first, each)
    if further < 0:
        raise InputError(f"timesteps = {timesteps}: the first step takes {first} ({why}); expected at least {first}")
    if rest:
        below = timesteps - rest
        raise InputError(
            f"timesteps = {timesteps}: a step takes {each} ({why}), so {timesteps} cannot be met; expected {below} or "
            f"{below + each}"
        )
    return 1 + further
