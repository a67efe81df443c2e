"""A large state is saved a part at a time: what did not change is a second name of the same file."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from dlpipe.errors import CheckpointError, InputError, PluginError
from dlpipe.runs import checkpoint
from dlpipe.runs.checkpoint import MANIFEST, Checkpoints, StateBlock, load_state_blocks, verify


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def checkpoints(tmp_path, warnings):
    return Checkpoints(tmp_path / "checkpoints", keep=3, warn=warnings.append)


def block(version, value=0.0):
    return StateBlock(version, {"rewards": torch.full((5,), value), "frames": torch.full((2, 3), 7, dtype=torch.uint8)})


def save(checkpoints, step, **blocks):
    return checkpoints.save(step, nn.Linear(2, 3), {"loop": {}}, best=False, blocks=blocks)


def file_of(path, name):
    return path / f"block-{name}.safetensors"


def test_blocks_come_back_as_they_were_saved(checkpoints):
    path = save(checkpoints, 4, **{"part-0": block(5, 1.5), "part-1": block(2, -1.0)})

    found = dict(load_state_blocks(path))

    assert verify(path) == ""
    assert list(found) == ["part-0", "part-1"]
    assert found["part-0"]["rewards"].tolist() == [1.5] * 5
    assert found["part-1"]["frames"].dtype == torch.uint8


def test_only_blocks_of_another_version_are_written(checkpoints):
    first = save(checkpoints, 2, full=block(5), filling=block(1))

    second = save(checkpoints, 4, full=block(5), filling=block(3, 2.0))

    assert file_of(second, "full").samefile(file_of(first, "full"))
    assert not file_of(second, "filling").samefile(file_of(first, "filling"))
    assert dict(load_state_blocks(first))["filling"]["rewards"].tolist() == [0.0] * 5
    assert dict(load_state_blocks(second))["filling"]["rewards"].tolist() == [2.0] * 5
    assert verify(second) == ""


def test_a_block_outlives_the_checkpoint_that_wrote_it(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    for step in (2, 4, 6):
        save(checkpoints, step, full=block(5, 3.5))

    assert checkpoints.steps() == [6]
    assert dict(load_state_blocks(checkpoints.latest()))["full"]["rewards"].tolist() == [3.5] * 5


def test_another_process_links_only_to_the_checkpoint_that_it_went_on_from(checkpoints):
    first = save(checkpoints, 2, full=block(5))
    later = Checkpoints(checkpoints.folder, keep=5)

    unrelated = save(later, 4, full=block(5))
    later.continue_from(first)
    second = save(later, 6, full=block(5))

    assert not file_of(unrelated, "full").samefile(file_of(first, "full"))
    assert file_of(second, "full").samefile(file_of(first, "full"))


def test_a_disk_without_second_names_has_the_block_written(checkpoints, monkeypatch):
    first = save(checkpoints, 2, full=block(5))

    def refuse(self, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    second = save(checkpoints, 4, full=block(5))

    assert verify(second) == ""
    assert not file_of(second, "full").samefile(file_of(first, "full"))


def test_a_damaged_block_makes_the_checkpoint_a_damaged_one(checkpoints, warnings):
    save(checkpoints, 2, full=block(5))
    path = save(checkpoints, 4, full=block(6))
    content = bytearray(file_of(path, "full").read_bytes())
    content[-1] ^= 1
    file_of(path, "full").write_bytes(content)

    assert checkpoints.latest().name == "step-00000002"
    assert "block-full.safetensors is damaged" in warnings[0]


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/dev/zero", "block-a/b.safetensors", "other.pt"])
def test_a_manifest_that_names_other_files_is_refused_and_they_are_not_read(checkpoints, name):
    path = save(checkpoints, 2)
    manifest = json.loads((path / MANIFEST).read_text())
    manifest["files"][name] = {"size": 1, "sha256": "0"}
    (path / MANIFEST).write_text(json.dumps(manifest))

    assert verify(path) == f"its manifest names {name!r}, which does not belong to a checkpoint"


def test_a_block_that_is_no_safetensors_file_is_refused(checkpoints):
    path = save(checkpoints, 2, full=block(5))
    file_of(path, "full").write_bytes(b"\x80\x04 not one")

    with pytest.raises(CheckpointError, match=r"block-full\.safetensors cannot be loaded: "):
        list(load_state_blocks(path))


def test_a_block_needs_a_name_that_can_be_a_files(checkpoints):
    with pytest.raises(PluginError, match=r"a trainer's state block is named 'A/b'; expected lower-case letters"):
        save(checkpoints, 2, **{"A/b": block(5)})

    assert checkpoints.steps() == []
    assert not checkpoints.folder.exists()


def test_a_full_disk_while_a_block_is_written_costs_no_earlier_checkpoint(checkpoints, monkeypatch):
    save(checkpoints, 2, full=block(5))

    def fail(tensors, path):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(CheckpointError, match=r"step 4 could not be saved: No space left on device; the checkpoint of"):
        save(checkpoints, 4, full=block(6))

    assert verify(checkpoints.latest()) == ""
    assert checkpoints.steps() == [2]


@pytest.mark.parametrize(
    ("which", "text"),
    [
        ("worst", r'checkpoint "worst": expected best, last or one of the steps 2, 4'),
        ("3", r'checkpoint "3": expected best, last or one of the steps 2, 4'),
        ("4", r"step-00000004: state\.pt is missing; choose another of the steps 2, 4"),
    ],
)
def test_a_checkpoint_that_is_not_there_or_damaged_is_named(checkpoints, which, text):
    save(checkpoints, 2)
    (save(checkpoints, 4) / "state.pt").unlink()

    with pytest.raises(InputError, match=text):
        checkpoints.find(which)


def test_a_checkpoint_is_found_by_its_step_or_as_the_best_or_last_one(checkpoints):
    checkpoints.save(2, nn.Linear(2, 3), {}, best=True)
    checkpoints.save(4, nn.Linear(2, 3), {}, best=False)

    assert [checkpoints.find(which).name[-1] for which in ("best", "last", "2", "4")] == ["2", "4", "2", "4"]
