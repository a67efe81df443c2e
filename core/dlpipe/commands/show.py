"""``dlpipe show``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import click
import tomli_w

from dlpipe.commands import options
from dlpipe.commands.terminal import echo, echo_wrapped
from dlpipe.config.application import flag
from dlpipe.config.application import options_of as application_options
from dlpipe.config.catalog import description_of, description_of_built_in, find_component, resolved_values
from dlpipe.config.check import load_pipeline
from dlpipe.config.pipeline import Pipeline
from dlpipe.config.shipped import shipped_pipelines
from dlpipe.config.signatures import read_signature
from dlpipe.config.torch_names import CHOICES
from dlpipe.errors import InputError
from dlpipe.json_text import finite, to_json
from dlpipe.messages import display_width, nearest, padded, shown
from dlpipe.registry.loading import Registry
from dlpipe.registry.specs import SELECTABLE, RegisteredComponent
from dlpipe.registry.targets import load_target
from dlpipe.runs.files import read_json
from dlpipe.runs.folder import ORIGINS, RESOLVED, RunFolder

#: Columns of a terminal.
WIDTH = 80


@click.command(
    epilog="""\b
Examples:
  dlpipe show text.rnn_tagger
  dlpipe show slot_filling --origins
  dlpipe show mine.toml --set model.cell=gru
  dlpipe show runs/slot-filling/latest
  dlpipe show runs/slot-filling/latest --layers"""
)
@click.argument("what")
@options.assignments
@options.local_plugins
@click.option("--origins", is_flag=True, help="Show what set each value: the default, FILE:LINE or --set.")
@click.option(
    "--layers", is_flag=True, help="Show the layers of the model: their names, sizes and shapes, and what is frozen."
)
@options.as_json
@click.pass_context
def show(
    context: click.Context,
    what: str,
    assignments: tuple[str, ...],
    allow_local_plugins: bool,
    origins: bool,
    layers: bool,
    as_json: bool,
) -> None:
    """Show a pipeline with all its defaults, the layers of its model, or the keys of a component.

    WHAT is a pipeline file, the name of a pipeline that comes with dlpipe, a run folder, or the name of a component.
    """
    registry: Registry = context.obj
    if origins:
        options.refuse_without_effect(context, ("layers", "as_json"), "with --origins")
    path: Path = options.PipelineFile().convert(what, None, None)
    components = {name: component for kind in SELECTABLE for name, component in registry.components[kind].items()}
    if not path.exists() and path.suffix != ".toml" and "/" not in what:
        registered = find_component(registry, what)
        if found := description_of(registered) if registered else description_of_built_in(what):
            if layers:
                raise InputError(f"{what} --layers: a component has no layers without data; give a pipeline or a run")
            options.refuse_without_effect(context, ("origins", "assignments"), "on a component")
            if found["name"] != what:
                echo(f'warning: {what} was renamed to "{found["name"]}"', err=True)
            _show_component(found, registered, as_json)
            return
        if what in registry.components["rule"]:
            raise InputError(
                f"{what} is a rule of `dlpipe coach`, and no component; `dlpipe list rules` says what it finds"
            )
        hint = nearest(what, [*components, *shipped_pipelines(), *chain(*CHOICES.values())])
        raise InputError(f"{what} is neither a pipeline, a run folder nor a component.{hint}")
    folder, recorded = None, dict[str, Any]()
    if path.is_dir():
        path = RunFolder.latest_in(path)
        folder = RunFolder.open(path)  # raises an error if it is not a run folder
        recorded = read_json(folder.path / ORIGINS) if (folder.path / ORIGINS).is_file() else {}
        path = path / RESOLVED
    pipeline = load_pipeline(path, registry, assignments, allow_local_plugins=allow_local_plugins)
    for warning in pipeline.warnings:
        echo(f"warning: {warning}", err=True)
    if layers:
        found_layers = load_target("dlpipe.engine.layers:layers_of")(pipeline, folder)
        echo(to_json(found_layers, indent=1) if as_json else "\n\n".join(map(_tree, found_layers.items())))
    elif as_json:
        echo(to_json(finite(pipeline.plain(), str), indent=1, default=str))  # JSON has no dates
    elif origins:
        rows = list(_origins(pipeline, recorded, f"{path}:"))
        width = min(max(display_width(text) for text, _ in rows), 60)
        for text, origin in rows:
            echo(f"{padded(text, width)}  # {origin}")
    else:
        echo(tomli_w.dumps(pipeline.plain()), nl=False)


def _origins(pipeline: Pipeline, recorded: Mapping[str, Any], resolved: str) -> Iterator[tuple[str, str]]:
    """Yield each value, and what set it.

    Args:
        recorded: of a run, what set the values of its pipeline.
        resolved: how the origin of a value starts that only the run's copy of the pipeline has set.
    """
    for key, value, origin in resolved_values(pipeline):
        from_run = recorded and origin.startswith(resolved)
        yield f"{key} = {shown(value)}", recorded.get(key, "default") if from_run else origin


def _tree(stage: tuple[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return a table of the layers of a stage's model, at most `WIDTH` columns wide if their names allow it."""
    name, layers = stage
    columns = [(layer["name"] or "(the model)", layer["kind"], f"{layer['parameters']:,}") for layer in layers]
    widths = [max(map(len, column)) for column in zip(*columns, strict=True)]
    lines = [f"stage {name}"] if name else []
    for layer, (title, kind, count) in zip(layers, columns, strict=True):
        shapes = [f"{key} {'×'.join(map(str, shape)) or '1'}" for key, shape in layer["shapes"].items()]
        if layer["trained"] < layer["parameters"]:
            shapes.insert(0, "partly frozen" if layer["trained"] else "frozen")
        line = f"{title:<{widths[0]}}  {kind:<{widths[1]}}  {count:>{widths[2]}} "
        start = len(line)
        for number, text in enumerate(shapes):
            if number and len(line) + 2 + len(text) > WIDTH:
                lines.append(line)
                line = " " * start
            line += f" {text}," if number + 1 < len(shapes) else f" {text}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _show_component(found: Mapping[str, Any], registered: RegisteredComponent[Any] | None, as_json: bool) -> None:
    """Show a component; one without a namespace is not registered."""
    if as_json:
        echo(to_json(finite(found, str), indent=1, default=str))
        return
    origin = f", {registered.distribution}" if registered else ""
    echo(f"{found['name']}  ({found['kind']}{origin})", bold=True)
    summary = read_signature(registered.spec.target).summary if registered else ""
    echo(f"  {summary or found['summary']}\n")
    if registered and (missing := registered.missing()):
        echo(f"  needs {', '.join(missing)}; install with: {registered.install_command()}\n")
    if found["needs"]:
        echo(f"  provided by dlpipe or by the data: {', '.join(found['needs'])}\n")
    if registered and (application := getattr(registered.spec, "application", "")):
        flags = " ".join(flag(name) for name in application_options(application))
        echo(f"  to use it after training:  dlpipe predict RUN {flags}\n")
    for parameter in found["parameters"]:
        default = "" if parameter["default"] is None else f" = {shown(parameter['default'])}"
        default = " (required)" if parameter["required"] else default
        echo(f"  {parameter['name']}{default}", bold=True)
        echo_wrapped(f"      {parameter['expects']}{': ' if parameter['text'] else ''}{parameter['text']}", 6)
