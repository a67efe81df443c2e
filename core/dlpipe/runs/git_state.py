"""The commit of the working directory, without running anything that its repository configures.

``git status`` executes commands that ``.git/config`` names (``core.fsmonitor``, filters, hooks), and git has no option
to ignore that file; git(1), section SECURITY, advises against any command in a foreign ``.git``. So git is given a
folder of ours as ``.git``: its configuration is empty, it has no hooks, and it refers to the objects, the index and
the branches of the repository. The configuration of the user is still in effect; what the
repository says about line endings or file modes is not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from dlpipe.errors import RunFolderError
from dlpipe.runs.files import read_text

TIMEOUT_S = 20
#: What git reads of a repository besides its configuration: that of a worktree, and that which worktrees share.
_OWN, _SHARED = ("index",), ("objects", "refs", "packed-refs")


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit and whether files differ from it, or None if that is not known.

    It is not known if `folder` is not in a repository with a commit, if git is missing or too slow, and for a
    repository whose branches are not files (reftable).
    """
    if shutil.which("git") is None or (root := _root(folder.resolve())) is None:
        return None
    try:
        with tempfile.TemporaryDirectory(prefix="dlpipe-git-") as place:
            _describe(root, Path(place))
            commit = _git(root, place, "rev-parse", "--verify", "HEAD")
            status = _git(root, place, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
    except (OSError, RunFolderError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(status)}


def _root(folder: Path) -> Path | None:
    """Return the folder around `folder` with a ``.git``."""
    return next((path for path in (folder, *folder.parents) if (path / ".git").exists()), None)


def _describe(root: Path, place: Path) -> None:
    """Make `place` a git directory without configuration that refers to the content of the repository at `root`."""
    own = root / ".git"
    if own.is_file():  # a worktree or a submodule: the file says where its git directory is
        own = root / read_text(own).removeprefix("gitdir:").strip()
    common = own / read_text(own / "commondir").strip() if (own / "commondir").exists() else own
    for source, names in ((own, _OWN), (common, _SHARED)):
        for name in names:
            if (source / name).is_file() or (source / name).is_dir():
                (place / name).symlink_to((source / name).resolve())
    (place / "HEAD").write_text(read_text(own / "HEAD"))
    sha256 = re.search(r"(?im)^\s*objectformat\s*=\s*sha256\s*$", read_text(common / "config"))
    config = "[core]\nrepositoryformatversion = 1\n" + ("[extensions]\nobjectformat = sha256\n" if sha256 else "")
    (place / "config").write_text(config)


def _git(root: Path, place: str, *arguments: str) -> str:
    # No lock: the index is not ours to update.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", f"--git-dir={place}", f"--work-tree={root}", *arguments]
    result = subprocess.run(
        command,
        cwd=root,
        env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return result.stdout.strip()
