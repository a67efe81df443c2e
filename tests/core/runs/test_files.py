"""The files of a run folder: no link is followed, no pipe waited for, no JSON believed."""

from __future__ import annotations

import json
import math
import os

import pytest

from dlpipe.errors import RunFolderError
from dlpipe.runs.files import open_regular, open_text, read_json, require_contained, write_json
from dlpipe.runs.schemas import SCHEMAS

GOOD = {
    "metrics.jsonl": {"step": 1, "train/loss": 0.5, "train/lr": None},
    "status.json": {"state": "finished", "time": 1.5},
    "provenance.json": {
        "threads": 2,
        "fast": False,
        "versions": {"torch": "2.8"},
        "machine": {"gpus": []},
        "changed": [
            {
                "stage": "",
                "step": 6,
                "time": "2026-11-29T04:59:25+0000",
                "set": ["trainer.epochs=5"],
                "changes": [{"key": "trainer.epochs", "from": 3, "to": 5}],
                "restarts": ["best"],
            }
        ],
    },
    "data.json": {"fingerprint": "ab", "state": {"words": ["to"]}},
    "manifest.json": {"step": 4, "best": True, "files": {"state.pt": {"size": 3, "sha256": "ab"}}},
    "baselines.json": {
        "digits": {"core.mean": {"metrics": {"mae": 0.5, "r2": None}, "examples": 7}, "own": {"reason": "no"}}
    },
    "stage.json": {"ingredients": {"seed": 0}},
    "report_items.json": {"items": [{"file": "a.png", "title": "A", "caption": "", "kind": None}]},
    "export.json": {"format": "dlpipe", "run": "2026-11-23_081402-k3f9", "checkpoint": 12},
    "predictions.jsonl": {"metric": "digits/accuracy", "row": 3, "true": "2", "predicted": "3", "score": 0.0},
    "wandb.json": {"id": "ab", "steps": {"train/loss": 4}},
    "mlflow.json": {"id": "ab", "steps": {}},
}


def entry(path, kind):
    """Put something that is not a file or folder at `path`."""
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"link": "../secret", "dangling link": "nowhere"}[kind])


@pytest.mark.parametrize("kind", ["pipe", "link", "dangling link"])
@pytest.mark.parametrize(
    "place", ["log.txt", ".lock", "stages/pretrain/figures/loss.png", "checkpoints/best", "wandb/latest-run"]
)
def test_a_folder_with_an_entry_that_leads_elsewhere_is_refused(tmp_path, kind, place):
    path = tmp_path / "run" / place
    path.parent.mkdir(parents=True)
    entry(path, kind)

    found = "neither a file nor a folder" if kind == "pipe" else "a link"
    with pytest.raises(RunFolderError, match=rf"{path.name}.*: this entry of a run folder is {found}"):
        require_contained(tmp_path / "run")


def test_a_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere" / "step-00000001").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to("../elsewhere")

    with pytest.raises(RunFolderError, match=r"checkpoints → \.\./elsewhere: this entry of a run folder is a link"):
        require_contained(tmp_path / "run")


def test_the_links_of_dlpipe_itself_and_hard_links_are_accepted(tmp_path):
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    (tmp_path / "checkpoints" / "best").symlink_to("step-00000001")
    (tmp_path / "wandb" / "offline-run-1" / "logs").mkdir(parents=True)
    (tmp_path / "wandb" / "offline-run-1" / "logs" / "debug-core.log").symlink_to("/nowhere")  # left by a kill
    (tmp_path / "metrics.jsonl").write_text("")
    (tmp_path / "other.jsonl").hardlink_to(tmp_path / "metrics.jsonl")

    require_contained(tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "link", "dangling link"])
def test_such_an_entry_is_opened_neither_to_read_nor_to_write(tmp_path, kind):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "run").mkdir()
    entry(tmp_path / "run" / "log.txt", kind)

    for use in (open_regular, open_text, lambda path: open_text(path, "a+"), read_json):
        with pytest.raises(RunFolderError, match=r"log.txt.*: this entry of a run folder is"):
            use(tmp_path / "run" / "log.txt")
    assert (tmp_path / "secret").read_text() == "secret"


def test_json_is_not_written_through_a_link(tmp_path):
    (tmp_path / "secret").write_text("secret")
    for name in (".status.json", "status.json"):
        (tmp_path / name).symlink_to("secret")

    write_json(tmp_path / "status.json", {"state": "finished"})

    assert (tmp_path / "secret").read_text() == "secret"
    assert read_json(tmp_path / "status.json") == {"state": "finished"}


def test_a_name_that_is_not_utf_8_comes_back(tmp_path):
    write_json(tmp_path / "data.json", GOOD["data.json"] | {"state": {"labels": ["caf\udce9"]}})

    assert read_json(tmp_path / "data.json")["state"] == {"labels": ["caf\udce9"]}


@pytest.mark.parametrize("name", SCHEMAS)
def test_json_as_dlpipe_writes_it_is_accepted(tmp_path, name):
    write_json(tmp_path / name, GOOD[name])

    assert read_json(tmp_path / name) == GOOD[name]


def test_a_number_that_is_not_finite_is_written_as_null(tmp_path):
    write_json(tmp_path / "baselines.json", {"regression": {"core.mean": {"metrics": {"r2": math.nan}}}})

    assert read_json(tmp_path / "baselines.json") == {"regression": {"core.mean": {"metrics": {"r2": None}}}}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("status.json", {"state": 7}, r'"state" is 7: Input should be a valid string; it was not written by dlpipe'),
        ("provenance.json", {"threads": 10**9}, r'"threads\S*" is 1000000000: Input should be less than or equal to'),
        ("provenance.json", {"warnings": "none"}, r'"warnings" is "none": Input should be a valid list'),
        ("provenance.json", {"caveats": [1]}, r'"caveats" is \[1\]: Input should be a valid dictionary'),
        ("provenance.json", {"changed": [{"stage": ""}]}, r'the key "changed.0.step" is missing'),
        ("provenance.json", {"pending": {"stage": "", "resolved": 1}}, r'"pending.resolved" is 1'),
        ("data.json", {"state": None}, r'"state" is null: Input should be a valid dictionary'),
        ("manifest.json", {"files": {"state.pt": 3}}, r'"files.state.pt" is 3: Input should be a valid dictionary'),
        ("manifest.json", {"step": -1}, r'"step" is -1'),
        ("baselines.json", {"digits": {"core.mean": []}}, r'"digits.core.mean" is \[\]: Input should be a valid dict'),
        ("stage.json", {"ingredients": []}, r'"ingredients" is \[\]'),
        ("wandb.json", {"steps": {"train/loss": "4"}}, r'"steps.train/loss" is "4"'),
    ],
)
def test_json_of_another_form_is_refused_with_the_key(tmp_path, name, change, message):
    (tmp_path / name).write_text(json.dumps(GOOD[name] | change))

    with pytest.raises(RunFolderError, match=rf"{name}: {message}"):
        read_json(tmp_path / name)


def test_a_missing_key_is_named(tmp_path):
    (tmp_path / "data.json").write_text("{}")

    with pytest.raises(RunFolderError, match=r'data.json: the key "fingerprint" is missing'):
        read_json(tmp_path / "data.json")


def test_deep_json_is_refused(tmp_path):
    (tmp_path / "data.json").write_text('{"fingerprint": "", "state": {"a": ' + "[" * 200 + "]" * 200 + "}}")

    with pytest.raises(RunFolderError, match=r"data.json is nested more than 60 levels deep"):
        read_json(tmp_path / "data.json")


def test_a_large_file_is_not_read(tmp_path):
    with (tmp_path / "status.json").open("wb") as file:
        file.truncate(2**40)  # a sparse file

    with pytest.raises(RunFolderError, match=r"status.json has more than 16,777,216 bytes"):
        read_json(tmp_path / "status.json")


def test_json_is_written_whole_and_read_back(tmp_path):
    write_json(tmp_path / "status.json", {"state": "finished", "reason": "é"})

    assert read_json(tmp_path / "status.json") == {"state": "finished", "reason": "é"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"is not a run folder: it has no data.json; expected a folder created by `dlpipe run`"),
        (b"{", r"data.json cannot be read: Expecting property name"),
        (b"\xff", r"data.json cannot be read: 'utf-8' codec can't decode"),
        (b"[1]", r"data.json holds a list; expected an object"),
        (b"[" * 100_000, r"data.json cannot be read"),
    ],
)
def test_a_file_of_a_run_that_cannot_be_read_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "data.json").write_bytes(content)

    with pytest.raises(RunFolderError, match=message):
        read_json(tmp_path / "data.json")
