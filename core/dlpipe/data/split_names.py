"""The names that files and folders of a split commonly have."""

from __future__ import annotations

import re

from dlpipe.splits import DEV, TEST, TRAIN

_NAMES = {
    TRAIN: ("train", "training", "trn"),
    DEV: ("dev", "devel", "development", "val", "valid", "validation"),
    TEST: ("test", "testing", "tst"),
}
_PATTERNS = {
    split: re.compile(rf"({'|'.join(names)})([ _-]?(set|data|split))?", re.IGNORECASE)
    for split, names in _NAMES.items()
}


def split_named(name: str) -> str | None:
    """Return "train", "dev" or "test" if that is what `name` stands for, such as "Training", "val" or "test_set"."""
    return next((split for split, pattern in _PATTERNS.items() if pattern.fullmatch(name)), None)
