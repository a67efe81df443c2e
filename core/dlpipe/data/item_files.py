"""The files in a folder that are items of a data component."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from dlpipe.data.file_store import FolderFiles
from dlpipe.errors import InputError


def expand_folder(item: str, suffixes: Collection[str], what: str) -> list[str]:
    """Return the files in a folder and its subfolders, if `item` is a folder; any other item is returned as it is.

    How many files do not end in one of `suffixes` is said in a warning.

    Args:
        what: a file that does is, for messages: "image".

    Raises:
        InputError: the folder contains none.
        DataError: a link leads to nothing or back.
    """
    folder = Path(item)
    is_folder = item != "" and folder.is_dir()  # the path of an empty item is the current folder
    return list(map(str, files_below(folder, suffixes, what))) if is_folder else [item]


def files_below(folder: Path, suffixes: Collection[str], what: str) -> list[Path]:
    """Return the files in a folder and its subfolders that end in one of `suffixes`, sorted; how many do not is said.

    Args:
        what: such a file is, for messages: "image".

    Raises:
        InputError: there is none.
        DataError: a link leads to nothing or back.
    """
    names = FolderFiles.open(folder).sizes
    found = sorted(name for name in names if PurePosixPath(name).suffix.lower() in suffixes)
    expected = ", ".join(sorted(suffixes))
    if not found:
        there = f"; there are {len(names)} files of other kinds" if names else "; it is empty"
        raise InputError(f"{folder}: this folder contains no {what} ({expected}){there}")
    if left := len(names) - len(found):
        kinds = Counter(PurePosixPath(name).suffix.lower() or "no ending" for name in set(names).difference(found))
        shown = ", ".join(kind for kind, _ in kinds.most_common(5))
        warnings.warn(
            f"{folder}: left out {left} of {len(names)} files: no {what}s ({shown}); expected {expected}",
            stacklevel=2,
        )
    return [folder / name for name in found]
