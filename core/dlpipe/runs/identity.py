"""What decides the result of a run or of a stage, as one flat table, and how two such tables differ.

Two results are the same if their identities are: for stages that are not run again, for trials of a sweep, for
``resume`` and for ``--resume auto``.

Left out, since it does not decide the result: ``name`` and ``offline``; ``device``, as the accelerator that is used
counts; the places of data, which is compared by content; the folders of runs, of the checkout and of local plugins; the
machine, apart from its accelerator; the git state; the installed plugins that the pipeline does not use. Everything
else in the tables counts, also what only affects the log (``log_every``) or the speed (``num_workers``): whether such a
key decides anything is known to its component only.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from dlpipe.config.pipeline import ComponentConfig, Pipeline, Reference, Stage, Start, as_toml, each_of
from dlpipe.config.settings import Settings
from dlpipe.config.source import key_path
from dlpipe.config.tables import Selected, renamed_keys
from dlpipe.errors import InputError, RunFolderError
from dlpipe.json_text import finite, to_json
from dlpipe.messages import relative, shown
from dlpipe.runs.checkpoint import WEIGHTS, Checkpoints
from dlpipe.runs.code_digests import CORE_DISTRIBUTIONS, code_identity, distribution_version
from dlpipe.runs.file_digests import file_digests
from dlpipe.runs.files import read_json
from dlpipe.runs.folder import DATA_STATE, RunFolder
from dlpipe.runs.manifests import MANIFEST

#: How the names of digests start; their values say nothing to a person.
CODE, CONTENT, MODEL = "the code of", "the content of", "the trained model of"
#: Settings that count only where they are not the default, which older runs do not name.
LATER = ("compile", "evaluation_batch_size")


def identity(
    pipeline: Pipeline,
    stages: Iterable[Stage],
    device: torch.device,
    folder: RunFolder | None = None,
    begun: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what decides the result of some stages, apart from the content of their data: plain values by name.

    Args:
        device: that the run uses.
        folder: if given, the trained models of its stages count too, where others start from them.
        begun: digests of the weights that stages with a checkpoint started from, which need not be there any more;
            see `start_names`.

    Raises:
        InputError: a file that a parameter names cannot be read, or a run that a stage starts from is not there.
    """
    stages, settings = list(stages), pipeline.settings
    found: dict[str, Any] = {
        "seed": settings.seed,
        "precision": settings.precision,
        "deterministic": settings.deterministic,
        **{name: value for name in LATER if (value := getattr(settings, name)) != getattr(Settings, name)},
        **({"tf32": settings.tf32} if device.type == "cuda" else {}),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        **_code(pipeline, stages),
    }
    for stage in stages:
        for config in _components(stage):
            found |= _table(config, folder, begun or {})
        options = {name: value for name, value in vars(stage.options).items() if value is not None}
        found |= dict(_leaves(stage.trainer.table[1:-1], options))
    return dict(json.loads(to_json(finite(found, str))))  # as it will be read back


def content_name(stage: Stage) -> str:
    """Return the name, in an identity, of the content of a stage's data."""
    return f"{CONTENT} {stage.data.table}"


def start_names(stage: Stage) -> list[str]:
    """Return the names, in an identity, of the digests of what the model of a stage starts from."""
    if stage.model is None or "start" not in stage.model.references:
        return []
    name = f"{stage.model.table[1:-1]}.start"
    return [f"{MODEL} {name}", f"{CONTENT} {name}"]


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say how two identities differ, one sentence for each name."""
    return [
        f"{name} has changed"
        if name.startswith((CODE, CONTENT, MODEL)) and name in then and name in now
        else f"{name} was {_in_words(name, then)} and is {_in_words(name, now)} now"
        for name in {**then, **now}
        if then.get(name) != now.get(name)
    ]


def in_current_form(pipeline: Pipeline, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded identity as this version would have recorded it.

    Components and keys that were renamed since have their current names, and keys that the version did not have their
    defaults, as for `dlpipe.runs.same_settings.is_of`.

    Args:
        now: the identity of a run that would start now.
    """
    found = dict(recorded)
    for config in (config for stage in pipeline.stages.values() for config in _components(stage)):
        prefix = config.table[1:-1]
        if found.get(use := f"{prefix}.use") in config.component.former_names():
            found[use] = config.component.name
        for former, current in renamed_keys(config.component.spec).items():
            old = re.compile(rf"({CONTENT} |{MODEL} |)({re.escape(f'{prefix}.{former}')})(?=$|\.|\[)")
            for name in [name for name in found if former not in config.values and old.match(name)]:
                found[old.sub(rf"\g<1>{prefix}.{current}", name)] = found.pop(name)
        given = {".".join(map(str, path)) for path in pipeline.source.origins}
        table = ".".join(key_path(prefix))  # without quotation marks
        for name in [name for name in now.keys() - found.keys() if name.startswith(f"{prefix}.")]:
            if f"{table}{name.removeprefix(prefix)}" not in given:
                found[name] = now[name]
    return found


def model_digest(folder: Path, stage: str | None) -> str:
    """Return a digest of a trained model: its best weights, what it was built from, and what its data learned.

    Args:
        folder: of a run.
        stage: of the run; None for the last one.
    """
    run = RunFolder.open(folder)
    tables = run.resolved()
    stages = tables.get("stages", {"": tables})
    name = stage or [*stages][-1]
    if name not in stages:
        raise InputError(f"{relative(run.path)} has no stage {shown(name)}; it has {', '.join(map(shown, stages))}")
    place = run.stage(name)
    best = Checkpoints(place / "checkpoints").best()
    weights = read_json(best / MANIFEST)["files"][WEIGHTS]["sha256"] if best else None  # None is an error later
    learned = read_json(place / DATA_STATE).get("state") if (place / DATA_STATE).is_file() else None
    parts = [weights, stages[name].get("model", stages[name].get("trainer")), learned]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _in_words(name: str, known: Mapping[str, Any]) -> str:
    if name not in known:
        return "absent" if name.startswith("the ") else "not set"
    return "there" if name.startswith((CODE, CONTENT, MODEL)) else shown(known[name])


def _components(stage: Stage) -> Iterator[ComponentConfig[Any]]:
    yield from (config for config in (stage.data, stage.model, stage.trainer) if config)
    yield from (*stage.evaluators.values(), *stage.callbacks.values())


def _code(pipeline: Pipeline, stages: Iterable[Stage]) -> dict[str, Any]:
    """Return versions and digests of the code that the stages use."""
    local = {str(path) for path in pipeline.local_plugins}
    configs = [config for stage in stages for config in _components(stage)]
    chosen = [value.component for config in configs for value in config.values.values() if isinstance(value, Selected)]
    used = [*(config.component for config in configs), *chosen]
    installed = [each for each in used if each.distribution not in local and each.namespace != "core"]
    names = {*CORE_DISTRIBUTIONS, *(name for each in installed for name in each.spec.requires)}
    versions = {f"the version of {name}": distribution_version(name) for name in sorted(names)}
    packages = {(each.namespace, each.spec.target.partition(":")[0].partition(".")[0]) for each in installed}
    return {
        "the version of python": platform.python_version(),
        **{name: version for name, version in versions.items() if version},
        **{f"the version of plugin {each.namespace}": each.distribution for each in installed},
        **code_identity(sorted(packages), pipeline.local_plugins),
    }


def _table(config: ComponentConfig[Any], folder: RunFolder | None, begun: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a table, the content of the files that it names, and the models that it starts from."""
    prefix = config.table[1:-1]
    found: dict[str, Any] = {f"{prefix}.use": config.component.name}
    for name, value in _leaves(prefix, config.values):
        # What a callback names is what it writes.
        if isinstance(value, Path) and value.is_file() and config.component.spec.kind != "callback":
            found[f"{CONTENT} {name}"] = _file_digest(name, value)
        elif not (isinstance(value, Path) and value.exists() and config.component.spec.kind == "data"):
            found[name] = as_toml(value)
    for key, named in config.references.items():
        for number, reference in enumerate(each_of(named)):
            name = f"{prefix}.{key}" if isinstance(named, Reference) else f"{prefix}.{key}[{number}]"
            found |= _reference(name, reference, folder, begun)
    return {name: value for name, value in found.items() if value is not None}


def _reference(name: str, reference: Reference, folder: RunFolder | None, begun: Mapping[str, Any]) -> dict[str, Any]:
    """Return which trained model or file of weights something starts from, and a digest of it."""
    found: dict[str, Any] = {}
    if isinstance(reference, Start):
        found |= {f"{name}.skip": list(reference.skip) or None, f"{name}.sha256": reference.sha256 or None}
        if reference.file:
            content = f"{CONTENT} {name}"
            found[content] = begun[content] if content in begun else _file_digest(f"{name}.file", reference.file)
        if reference.file or reference.url:
            return found
    if reference.run is None:
        found[name] = str(reference)
    model = f"{MODEL} {name}"
    if model in begun:
        found[model] = begun[model]
    elif place := reference.run or (folder and folder.path):
        try:
            found[model] = model_digest(place, reference.stage or None)
        except RunFolderError as error:
            raise InputError(f"{name}: {error}; train that run first, or start from another one") from error
    return found


def _file_digest(name: str, path: Path) -> str:
    try:
        return file_digests([path])[path]
    except OSError as error:
        raise InputError(f'{name} = "{path}" cannot be read: {error.strerror}') from error


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values of a table and of the tables in it by dotted name; of a list with paths, each one."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(f"{prefix}.{key}", part)
    elif isinstance(value, (list, tuple)) and any(isinstance(part, Path) for part in value):
        for number, part in enumerate(value):
            yield f"{prefix}[{number}]", part
    else:
        yield prefix, value
