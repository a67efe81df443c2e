"""What `dlpipe doctor` finds out about an installation and a pipeline. Imports torch only to ask it for its devices."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from dlpipe import figures
from dlpipe.config.check import check_source
from dlpipe.config.source import read_source
from dlpipe.errors import InputError, PipelineError
from dlpipe.launch import usable_cores
from dlpipe.messages import shell_path, shown_size
from dlpipe.registry.installation import install_command
from dlpipe.registry.loading import PREFIX, Registry
from dlpipe.runs.code_digests import distribution_version
from dlpipe.runs.file_manifest import cache_folder
from dlpipe.runs.files import nearest_existing

#: A run folder with its checkpoints is rarely larger.
FEW_BYTES = 2_000_000_000
#: Extras of those who work on dlpipe, and that of all others together.
_NOT_USED = ("test", "dev", "all")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        status: "note" is not what it could be, "problem" keeps something from working.
        advice: the next step; empty if all is well.
    """

    area: str
    status: Literal["ok", "note", "problem"]
    text: str
    advice: str = ""


def diagnose(registry: Registry, runs: Path) -> Iterator[Finding]:
    """Yield what is found out about the installation."""
    yield from _environment()
    yield from _devices()
    yield from _dependencies()
    yield from _folders(runs)
    yield _font()
    yield from _plugins(registry)


def diagnose_pipeline(registry: Registry, file: Path, *, allow_local_plugins: bool) -> Iterator[Finding]:
    """Yield what keeps a pipeline from running: its mistakes, what is not installed, data that is not there."""
    try:
        pipeline = check_source(read_source(file), registry, allow_local_plugins=allow_local_plugins)
    except PipelineError as error:
        for problem in error.problems:
            yield Finding("pipeline", "problem", str(problem), f"edit the file, then: dlpipe check {shell_path(file)}")
        return
    except InputError as error:
        yield Finding("pipeline", "problem", str(error), "name a pipeline file; see: dlpipe list pipelines")
        return
    absent = [
        (stage.data.table, key, path)
        for stage in pipeline.stages.values()
        if stage.data is not None
        for key, value in stage.data.values.items()
        for path in (value if isinstance(value, list | tuple) else [value])
        if isinstance(path, Path) and not path.exists()
    ]
    for table, key, path in absent:
        yield Finding(
            "pipeline", "problem", f"{table} {key} = {path}: does not exist", f"create it, or set {key} to your data"
        )
    if not absent:
        yield Finding("pipeline", "ok", f"{file}: no mistakes, everything that it needs is installed")


def _environment() -> Iterator[Finding]:
    yield Finding("environment", "ok", f"Python {platform.python_version()}, {sys.executable}")
    yield Finding("environment", "ok", platform.platform())
    package = Path(figures.__file__).resolve().parent
    yield Finding(
        "environment", "ok", f"dlpipe {distribution_version('dlpipe') or 'without metadata'}, imported from {package}"
    )
    places = [Path(place or ".").resolve() / "dlpipe" for place in sys.path]
    others = {str(place) for place in places if (place / "__init__.py").is_file() and place != package}
    for other in sorted(others):
        advice = "uninstall one of them, or remove its folder from PYTHONPATH"
        yield Finding("environment", "problem", f"there is another copy of dlpipe in {other}", advice)


def _devices() -> Iterator[Finding]:
    cores = usable_cores()
    memory = ""
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not on every system
        memory = f", {shown_size(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))} of memory"
    yield Finding("devices", "ok", f"{cores} CPU cores for this process{memory}")
    try:
        torch = importlib.import_module("torch")
    except (Exception, SystemExit) as error:
        reason = f"torch cannot be imported: {type(error).__name__}: {error}"
        yield Finding("devices", "problem", reason, "install it again; see https://pytorch.org/get-started/locally")
        return
    threads = torch.get_num_threads()
    unit = "thread" if threads == 1 else "threads"
    yield Finding("devices", "ok", f"torch {torch.__version__} uses {threads} {unit} unless a pipeline says otherwise")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            text = f"cuda:{index}: {device.name}, {shown_size(device.total_memory)}, CUDA {torch.version.cuda}"
            yield Finding("devices", "ok", text)
    elif torch.backends.mps.is_available():
        yield Finding("devices", "ok", "mps: the GPU of this Mac")
    elif torch.version.cuda or torch.version.hip:
        text = f"torch was built for CUDA {torch.version.cuda or torch.version.hip} and finds no GPU"
        yield Finding("devices", "note", text, "for a GPU, look at its driver (nvidia-smi); pipelines run on the CPU")
    else:
        advice = "for an NVIDIA GPU, install a build with CUDA; see https://pytorch.org/get-started/locally"
        yield Finding("devices", "note", "torch was built without CUDA; pipelines run on the CPU", advice)


def _dependencies() -> Iterator[Finding]:
    """Compare the installed versions with the bounds that the metadata of dlpipe has."""
    try:
        requirements = metadata.requires("dlpipe") or []
    except metadata.PackageNotFoundError:
        yield Finding("dependencies", "note", "dlpipe has no metadata, so its bounds are unknown", "pip install -e .")
        return
    absent: dict[str, list[str]] = {}
    fitting = 0
    for extra, requirement in _used_requirements(requirements):
        name, version = requirement.name, distribution_version(requirement.name)
        if version is None and extra:
            absent.setdefault(extra, []).append(name)
        elif version is None or not requirement.specifier.contains(version, prereleases=True):
            wanted = f"{name}{requirement.specifier}"
            text = f"{name} {version or 'is not installed'}; dlpipe needs {wanted}"
            yield Finding("dependencies", "problem", text, f'pip install "{wanted}"')
        else:
            fitting += 1
    yield Finding("dependencies", "ok", f"{fitting} installed packages have versions that dlpipe supports")
    for extra, names in absent.items():
        text = f"the extra {extra} is not installed completely: without {', '.join(names)}"
        yield Finding("dependencies", "note", text, install_command(f"dlpipe[{extra}]"))


def _folders(runs: Path) -> Iterator[Finding]:
    cache = cache_folder()
    yield _folder(
        "cache", cache, f", {shown_size(_used(cache))} used", "set DLPIPE_CACHE to a folder that you can write to"
    )
    yield _folder("runs", runs, "", "choose another folder with --runs")


def _folder(area: str, folder: Path, more: str, advice: str) -> Finding:
    """Say whether a folder can be written to, or created."""
    there = nearest_existing(folder)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Finding(area, "problem", f"{folder} cannot be written to", advice)
    free = shutil.disk_usage(there).free
    text = f"{folder}{'' if there == folder.absolute() else ' (not there yet)'}{more}, {shown_size(free)} free"
    if free < FEW_BYTES:
        return Finding(area, "note", text, f"free some space, or {advice}")
    return Finding(area, "ok", text)


def _font() -> Finding:
    try:
        missing = figures.missing_font(["\u6c49\u5b57"])
    except Exception as error:  # matplotlib is not there, or broken
        advice = install_command("dlpipe[report]")
        return Finding("fonts", "note", f"figures cannot be drawn: {type(error).__name__}: {error}", advice)
    if missing is None:
        return Finding("fonts", "ok", "an installed font has Chinese characters")
    text, _, advice = missing.partition(". ")
    return Finding("fonts", "note", text, advice[:1].lower() + advice[1:])


def _plugins(registry: Registry) -> Iterator[Finding]:
    for plugin in registry.plugins:
        if plugin.status == "ok":
            yield Finding("plugins", "ok", f"{plugin.namespace} ({plugin.distribution})")
        elif plugin.status == "disabled":
            advice = "unset DLPIPE_PLUGINS and DLPIPE_DISABLE_PLUGINS to use it"
            yield Finding("plugins", "note", str(plugin), advice)
        else:
            name = plugin.distribution.partition(" ")[0]
            advice = f"dlpipe plugins --check {plugin.namespace}; upgrade or uninstall {name}"
            yield Finding("plugins", "problem", str(plugin), advice)
    told = {str(plugin) for plugin in registry.plugins}
    for warning in registry.warnings:
        if warning not in told:
            yield Finding("plugins", "note", warning, f"see: dlpipe plugins; packages are named {PREFIX}…")


def _used_requirements(requirements: Iterable[str]) -> Iterator[tuple[str, Requirement]]:
    """Yield the requirements that concern this Python, each with its extra; without one, that is empty."""
    extras = metadata.metadata("dlpipe").get_all("Provides-Extra") or []
    for requirement in map(Requirement, requirements):
        for extra in ("", *(name for name in extras if name not in _NOT_USED)):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                yield extra, requirement
                break


def _used(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # removed meanwhile
                total += (Path(place) / name).lstat().st_size
    return total
