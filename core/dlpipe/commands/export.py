"""``dlpipe export``."""

from __future__ import annotations

from pathlib import Path

import click

from dlpipe.commands import options
from dlpipe.commands.terminal import echo
from dlpipe.json_text import to_json
from dlpipe.messages import relative, shell_path, shown_size
from dlpipe.registry.loading import Registry
from dlpipe.registry.targets import load_target


@click.command(
    epilog="""\b
Examples:
  dlpipe export runs/cnn-digits/latest
  dlpipe export runs/slot-filling/latest --format onnx --output tagger
  dlpipe export runs/slot-filling/latest --format dlpipe --output tagger    (then: dlpipe predict tagger …)"""
)
@options.run_folder
@click.option(
    "--format",
    "form",
    type=click.Choice(["torch", "onnx", "safetensors", "dlpipe"]),
    default="torch",
    show_default=True,
    help="A program of torch.export (model.pt2), ONNX (model.onnx), the weights alone (model.safetensors), or a folder "
    "that dlpipe uses like a run.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Create this folder. By default, exports/FORMAT in the run (with several stages, exports/STAGE/FORMAT).",
)
@options.stage
@options.checkpoint
@options.assignments_for_use
@options.local_plugins
@options.as_json
@click.pass_obj
def export(
    registry: Registry,
    run: Path,
    form: str,
    output: Path | None,
    stage: str | None,
    checkpoint: str,
    assignments: tuple[str, ...],
    allow_local_plugins: bool,
    as_json: bool,
) -> None:
    """Export the trained model of RUN for use without dlpipe, or without the run.

    The exported model is loaded again and compared with that of the run on batches of the dev split, of other sizes
    and lengths than it was exported with. If the outputs differ, nothing is exported. The folder also holds
    export.json: inputs and outputs with their types and shapes, what the data learned (vocabulary, labels), the
    versions, and the differences.

    With --format dlpipe, the folder has what predict, evaluate and serve need, and nothing of training: they use it
    like RUN, and need neither RUN nor, to predict, its data.
    """
    trained = load_target("dlpipe.engine.inference:open_run")(
        run,
        registry=registry,
        stage=stage,
        checkpoint=checkpoint,
        assignments=(load_target("dlpipe.engine.export:ON_CPU"), *assignments),
        allow_local_plugins=allow_local_plugins,
    )
    folder = output or load_target("dlpipe.engine.export:default_folder")(trained, form)
    if form == "dlpipe":
        size = load_target("dlpipe.engine.export_folder:export_folder")(trained, folder)
        if as_json:
            echo(to_json({"folder": str(folder), "bytes": size}))
        else:
            echo(f"exported {trained.checkpoint.name} to {relative(folder)} ({shown_size(size)})")
            echo(f"use it:  dlpipe predict {shell_path(folder)}")
        return
    exported, difference = load_target("dlpipe.engine.export:export_run")(trained, form, folder)
    if as_json:
        echo(to_json({"folder": str(folder), **difference._asdict()}))
        return
    for title, shapes in (("inputs", exported.inputs), ("outputs", exported.outputs)):
        shown = ", ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in shapes.items())
        echo(f"{title}: {shown}")
    echo(
        f"{len(exported.batches)} batches of {exported.split}: largest difference {difference.absolute:.1e}, "
        f"{difference.relative:.1e} of the largest output"
    )
    echo(f"exported {trained.checkpoint.name} to {relative(folder)}")
