"""``dlpipe serve``."""

from __future__ import annotations

from functools import partial
from importlib import util
from pathlib import Path

import click

from dlpipe.commands import options
from dlpipe.commands.terminal import echo
from dlpipe.errors import PluginError
from dlpipe.registry.installation import install_command
from dlpipe.registry.loading import Registry
from dlpipe.registry.targets import load_target

PACKAGES = ("starlette", "uvicorn")


@click.command(
    epilog="""\b
Examples:
  dlpipe serve runs/sentiment/latest
  curl http://127.0.0.1:8000/predict -H "Content-Type: application/json" -d '{"item": "not bad at all"}'"""
)
@options.run_folder
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free port.")
@click.option("--device", help='Device of the model, such as "cpu" or "cuda:1". By default, that of the run.')
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Most items that go through the model together; eight times as many may wait.",
)
@click.option(
    "--max-wait-ms",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="How long an item waits for others before it goes through the model, in milliseconds.",
)
@click.option(
    "--max-bytes", type=click.IntRange(1), default=10_000_000, show_default=True, help="Largest body of a request."
)
@click.option("--quiet", is_flag=True, help="Write no line for each request.")
@options.stage
@options.checkpoint
@options.local_plugins
@click.pass_obj
def serve(
    registry: Registry,
    run: Path,
    host: str,
    port: int,
    device: str | None,
    batch_size: int,
    max_wait_ms: int,
    max_bytes: int,
    quiet: bool,
    stage: str | None,
    checkpoint: str,
    allow_local_plugins: bool,
) -> None:
    """Answer requests over HTTP with the trained model of RUN.

    POST /predict takes JSON, {"item": …} or {"items": […]}, and returns what "dlpipe predict --json" prints.
    GET /health says what is served, and GET / is a page to try it by hand. There is no authentication: whoever
    reaches the port can use it.
    """
    missing = [name for name in PACKAGES if util.find_spec(name) is None]
    if missing:
        raise PluginError(
            f"dlpipe serve needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed; "
            f"install with: {install_command('dlpipe[serve]')}"
        )
    trained = load_target("dlpipe.engine.inference:open_run")(
        run,
        registry=registry,
        stage=stage,
        checkpoint=checkpoint,
        assignments=(f'device="{device}"',) if device else (),
        allow_local_plugins=allow_local_plugins,
    )
    write = partial(echo, err=True)
    load_target("dlpipe.serving.server:serve")(
        trained,
        host=host,
        port=port,
        batch_size=batch_size,
        max_wait_ms=max_wait_ms,
        max_bytes=max_bytes,
        notice=write,
        log=(lambda line: None) if quiet else write,
    )
