"""Python files that a pipeline names as its plugins, as modules: also in a process that another one has started.

A new process cannot import them by their names. The one that starts it hands over what `local_plugins` returns, and
the new one calls `import_local_plugin` for each before it unpickles anything that refers to them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["import_local_plugin", "local_plugins"]

_PREFIX = "dlpipe_local_"


def module_of(path: Path) -> str:
    """Return the name of the module of a local plugin; the digest keeps two files of one name apart."""
    digest = hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()[:8]
    return f"{_PREFIX}{path.stem}_{digest}"


def local_plugins() -> dict[str, str]:
    """Return the name of the module of each local plugin of this process, by file; of a changed file, the last one."""
    files = {str(module.__file__): name for name, module in sys.modules.items() if name.startswith(_PREFIX)}
    return {file: name for file, name in files.items() if Path(file).is_file()}


def import_local_plugin(path: str | Path, name: str) -> ModuleType:
    """Import a Python file as the module of that name.

    Args:
        name: as `local_plugins` returns it.

    Raises:
        FileNotFoundError: there is no such Python file.
    """
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise FileNotFoundError(f"{path} is not a Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # its components are imported from here later
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
