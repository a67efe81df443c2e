"""Answers of a trained model in Python."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dlpipe.config.application import application_of, check_options, takes_items
from dlpipe.errors import InputError
from dlpipe.items import FailedItem, Item, unusable
from dlpipe.registry.targets import load_target


def predictions(
    trained: Any, run: str, items: Iterable[str | Path] | None, options: Mapping[str, Any], *, strict: bool
) -> list[dict[str, Any]]:
    """Return the answers of a trained stage.

    Args:
        run: what messages call it.
        items: texts and files; None for a run that needs none.
        options: those of the application of the run, or ``top`` for items.
        strict: raise an error for an item that cannot be used; else its answer says why, and a warning how many.

    Raises:
        InputError: an option, or an item with `strict`, cannot be used.
    """
    given = [_item_of(number, item) for number, item in enumerate(items or (), start=1)]
    target = application_of(trained.stage)
    applied = bool(target) and (takes_items(target) or items is None)
    if applied:
        values = check_options(target, options, str)
        if takes_items(target):
            values["items"] = [item.text for item in given]
        found = list(load_target("dlpipe.engine.inference:apply")(trained, target, values))
    elif unknown := next((name for name in options if name != "top"), None):
        raise InputError(f"{unknown}: {run} has no such option for items; leave it out")
    else:
        found = list(load_target("dlpipe.engine.prediction:predict")(trained, given, **options))
    failed = [answer for answer in found if isinstance(answer, FailedItem)]
    if failed and strict:
        raise InputError(str(failed[0])) from failed[0].error
    if failed:
        told = unusable(len(failed), None if applied else len(found))
        warnings.warn(f"{told}; their answers say why. The first is {failed[0]}", stacklevel=3)
    return [answer.plain() if isinstance(answer, FailedItem) else answer for answer in found]


def _item_of(number: int, item: Any) -> Item:
    if not isinstance(item, (str, Path)):
        raise InputError(
            f"item {number} is a {type(item).__name__}; expected a text or the path of a file; for tensors, run.model"
        )
    # A text is never taken for the name of a folder, a path is.
    is_folder = isinstance(item, Path) and item.is_dir()
    return Item(f"item {number}", f"{item}/" if is_folder else str(item), argument=is_folder)
