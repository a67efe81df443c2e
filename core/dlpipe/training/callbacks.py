"""Calling the callbacks of a run, isolated from each other and from the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dlpipe.errors import with_place
from dlpipe.registry.hooks import RunView
from dlpipe.registry.loading import lifecycle_manager


class Callbacks:
    """The callbacks that a pipeline names, in the order of its file.

    Args:
        callbacks: by the name that the file gives them.
        report: called with what a callback does wrong; one that raised is disabled from then on.
    """

    def __init__(self, callbacks: Mapping[str, object], run: RunView, report: Callable[[str], None]) -> None:
        self._manager = lifecycle_manager(callbacks)
        self._order = list(callbacks)
        self._run, self._report = run, report

    def call(self, hook: str, **arguments: Any) -> None:
        """Call a lifecycle hook of every callback that is still enabled; each gets a copy of a dict."""
        arguments["run"] = self._run
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        for implementation in sorted(implementations, key=lambda item: self._order.index(item.plugin_name)):
            given = [_own(arguments[name]) for name in implementation.argnames]
            try:
                implementation.function(*given)
            except Exception as error:  # whatever it is, it must not end the run
                self._manager.unregister(name=implementation.plugin_name)
                self._report(
                    f"callback [callbacks.{implementation.plugin_name}] failed in {hook} and is disabled for the "
                    f"rest of the run: {with_place(error)}"
                )
                continue
            if given != [arguments[name] for name in implementation.argnames]:
                self._report(
                    f"callback [callbacks.{implementation.plugin_name}] changes what {hook} passes to it; only its own "
                    "copy changes, neither the log nor what other callbacks get"
                )


def _own(argument: Any) -> Any:
    """Return a copy of a dict, so that a callback cannot change what is logged."""
    return dict(argument) if isinstance(argument, dict) else argument
