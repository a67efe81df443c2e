import random
import time
from pathlib import Path

import pytest

from dlpipe.errors import InputError, Interrupted
from dlpipe.registry.hooks import RunView
from dlpipe.runs.files import require_contained
from dlpipe.training.callbacks import Callbacks

pytest.importorskip("wandb", reason="wandb is not installed; pip install '.[wandb]'")
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from dlpipe.training.wandb import WandB

PIPELINE = {"name": "slots", "trainer": {"use": "core.supervised", "optimizer": {"lr": 0.1}}}


def process(folder: Path, steps, resumed_step=0, *, error=None, **options):
    """Do what a run does with its callbacks."""
    folder.mkdir(exist_ok=True)
    run = RunView("slots", folder, 7, resumed_step, lambda reason: None, pipeline=PIPELINE)
    failures = []
    watchers = Callbacks({"curves": WandB(**{"mode": "offline", **options})}, run, failures.append)
    watchers.call("dlpipe_run_start")
    for step in steps:
        watchers.call("dlpipe_step_logged", step=step, metrics={"train/loss": 1 / step})
    watchers.call("dlpipe_evaluated", step=steps[0], split="test", metrics={"test/slots/f1": 0.5})
    if error:
        watchers.call("dlpipe_run_failed", step=steps[-1], error=error)
    watchers.call("dlpipe_run_end", step=steps[-1])
    assert failures == []


def records(folder, processes=1):
    """Return what the files of wandb hold; its own process writes the last record shortly after the end of a run."""
    deadline = time.monotonic() + 20
    while True:
        found = list(read(folder))
        if sum(record.HasField("exit") for record in found) == processes or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def read(folder):
    """Yield the records: protobuf, in the log format of LevelDB with blocks of 32 KiB."""
    for path in sorted(folder.glob("wandb/*/*.wandb")):
        content, position, parts = path.read_bytes(), 7, b""
        while position + 7 <= len(content):
            size, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
            parts += content[position + 7 : position + 7 + size]
            position += 7 + size
            if -position % 32768 < 7:
                position += -position % 32768
            if kind in (1, 4):
                yield Record.FromString(parts)
                parts = b""


def history(found):
    rows = [
        {".".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
        for record in found
        if record.HasField("history")
    ]
    return [(int(row["step"]), name, float(value)) for row in rows for name, value in row.items() if "/" in name]


def test_what_a_run_logs_offline_can_be_read_from_its_folder(tmp_path):
    before = random.getstate()

    process(tmp_path / "run", [2, 5])

    found = records(tmp_path / "run")
    assert history(found) == [(2, "train/loss", 0.5), (5, "train/loss", 0.2), (2, "test/slots/f1", 0.5)]
    started = next(record.run for record in found if record.HasField("run"))
    assert (started.project, started.display_name, list(started.tags)) == ("slots", "run", ["slots", "run"])
    config = {item.key: item.value_json for item in started.config.update}
    assert config["trainer"] == '{"use":"core.supervised","optimizer":{"lr":0.1}}'
    assert random.getstate() == before  # the numbers of the run are the same with it
    require_contained(tmp_path / "run")  # otherwise the run could not be opened any more


def test_a_resumed_run_continues_and_sends_no_step_twice(tmp_path):
    process(tmp_path / "run", [1, 2, 3], error=Interrupted("stopped"))

    process(tmp_path / "run", [2, 3, 4], resumed_step=1)

    found = records(tmp_path / "run", processes=2)
    assert [step for step, name, _ in history(found) if name == "train/loss"] == [1, 2, 3, 4]
    assert len({record.run.run_id for record in found if record.HasField("run")}) == 1
    assert [record.exit.exit_code for record in found if record.HasField("exit")] == [1, 0]


def test_a_run_that_is_killed_while_wandb_starts_can_be_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(WandB, "_remove_links", lambda self: None)
    process(tmp_path / "run", [1])
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_symlink()] != []
    require_contained(tmp_path / "run")
    monkeypatch.undo()

    process(tmp_path / "run", [2], resumed_step=1)

    assert [path for path in (tmp_path / "run").rglob("*") if path.is_symlink()] == []


def test_disabled_writes_nothing_of_wandb(tmp_path):
    process(tmp_path / "run", [1], mode="disabled")

    assert not (tmp_path / "run/wandb").exists()


def test_without_an_account_nothing_waits_for_an_answer(monkeypatch, tmp_path):
    for variable in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))

    with pytest.raises(InputError, match=r"no API key here; log in with `wandb login`, set WANDB_API_KEY, or write"):
        WandB()


def test_a_pipeline_that_never_uses_the_network_cannot_be_online(tmp_path):
    with pytest.raises(InputError, match='mode = "online", but the pipeline has offline = true'):
        WandB(mode="online", offline=True)

    assert WandB(offline=True)._mode == "offline"
