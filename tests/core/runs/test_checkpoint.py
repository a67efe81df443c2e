import contextlib
import errno
import io
import json
import os
import pickle
import re
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from dlpipe.errors import CheckpointError
from dlpipe.runs import checkpoint
from dlpipe.runs.checkpoint import (
    STATE,
    WEIGHTS,
    Checkpoints,
    StateBlock,
    copy_weights,
    link,
    load_state,
    load_weights,
    verify,
)
from dlpipe.runs.manifests import MANIFEST


class TiedModel(nn.Module):
    """Two layers that share their weight, and a buffer."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.embed = nn.Embedding(7, 5)
        self.classify = nn.Linear(5, 7)
        self.classify.weight = self.embed.weight
        self.register_buffer("seen", torch.tensor(scale))
        nn.init.constant_(self.embed.weight, scale)
        nn.init.constant_(self.classify.bias, -scale)


class Payload:
    """What would make a folder if it were unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def checkpoints(tmp_path, warnings):
    return Checkpoints(tmp_path / "checkpoints", keep=3, warn=warnings.append)


def save(checkpoints, *steps, best=()):
    for step in steps:
        checkpoints.save(step, TiedModel(float(step)), {"loop": {"step": step}}, best=step in best)


def names(checkpoints):
    return sorted(path.name for path in checkpoints.folder.iterdir())


def truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def fill_with_garbage(path):
    path.write_bytes(b"\xff{]")


def test_what_was_saved_comes_back(checkpoints):
    state = {"loop": {"step": 5, "best": None}, "trainer": {"moments": [torch.arange(3)], "betas": (0.9, 0.5)}}
    saved, model = TiedModel(2.0), TiedModel()

    path = checkpoints.save(5, saved, state, best=False)
    load_weights(path, model)
    found = load_state(path)

    assert verify(path) == ""
    assert all(torch.equal(value, saved.state_dict()[name]) for name, value in model.state_dict().items())
    assert model.classify.weight is model.embed.weight
    assert found["loop"] == state["loop"]
    assert found["trainer"]["betas"] == (0.9, 0.5)
    assert found["trainer"]["moments"][0].tolist() == [0, 1, 2]


def test_a_checkpoint_is_a_folder_named_after_its_step(checkpoints):
    save(checkpoints, 1200)

    assert names(checkpoints) == ["last", "step-00001200"]
    assert sorted(path.name for path in (checkpoints.folder / "last").iterdir()) == [MANIFEST, STATE, WEIGHTS]


def test_a_folder_that_is_not_there_has_no_checkpoints(tmp_path):
    nothing = Checkpoints(tmp_path / "none")

    assert (nothing.steps(), nothing.latest(), nothing.best()) == ([], None, None)
    assert not nothing.folder.exists()


def test_the_newest_is_the_latest(checkpoints):
    save(checkpoints, 2, 5, 7)

    assert checkpoints.latest().name == "step-00000007"
    assert checkpoints.latest(before=7).name == "step-00000005"
    assert checkpoints.latest(before=2) is None


@pytest.mark.parametrize(
    ("name", "damage", "text"),
    [
        (WEIGHTS, truncate, r"weights\.safetensors has \d+ bytes, the manifest says \d+"),
        (WEIGHTS, flip_a_byte, r"weights\.safetensors is damaged \(its sha256"),
        (WEIGHTS, Path.unlink, r"weights\.safetensors is missing"),
        (STATE, truncate, r"state\.pt has \d+ bytes"),
        (STATE, flip_a_byte, r"state\.pt is damaged"),
        (STATE, Path.unlink, r"state\.pt is missing"),
        (MANIFEST, truncate, r"it cannot be read \(.*manifest.json cannot be read: "),
        (MANIFEST, fill_with_garbage, r"it cannot be read \(.*manifest.json cannot be read: 'utf-8' codec"),
        (
            MANIFEST,
            lambda path: path.write_text("[7]"),
            r"it cannot be read \(.*manifest.json holds a list; expected an object",
        ),
        (
            MANIFEST,
            lambda path: path.write_text("{}"),
            r'it cannot be read \(.*manifest.json: the key "step" is missing',
        ),
        (MANIFEST, Path.unlink, r"manifest\.json is missing"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(checkpoints, warnings, name, damage, text):
    save(checkpoints, 2, 5)
    damage(checkpoints.folder / "step-00000005" / name)

    found = checkpoints.latest()

    assert found.name == "step-00000002"
    assert len(warnings) == 1
    assert re.search(rf"step-00000005: {text}.*; falling back to the previous one", warnings[0])


def test_where_all_are_damaged_there_is_none(checkpoints, warnings):
    save(checkpoints, 2, 5, best=[2])
    for path in checkpoints.folder.glob("step-*"):
        truncate(path / STATE)

    assert checkpoints.latest() is None
    assert checkpoints.best() is None
    assert {warning.partition(":")[0][-3:] for warning in warnings} == {"002", "005"}


def test_the_best_is_the_last_one_that_was(checkpoints):
    save(checkpoints, 2, 3, 5, 7, best=[2, 3])

    assert checkpoints.best().name == "step-00000003"
    assert (checkpoints.folder / "best").resolve() == checkpoints.folder / "step-00000003"
    assert (checkpoints.folder / "last").resolve() == checkpoints.folder / "step-00000007"


def test_without_a_best_one_the_latest_is(checkpoints):
    save(checkpoints, 2, 5)

    assert checkpoints.best().name == "step-00000005"


@pytest.mark.parametrize(("name", "damage"), [(WEIGHTS, flip_a_byte), (MANIFEST, fill_with_garbage)])
def test_for_a_damaged_best_one_the_newest_is_taken_and_a_warning_says_so(checkpoints, warnings, name, damage):
    save(checkpoints, 2, 5, best=[2])
    damage(checkpoints.folder / "step-00000002" / name)

    assert checkpoints.best().name == "step-00000005"
    assert [warning.partition("; ")[2] for warning in warnings] == ["falling back to another checkpoint"]


def test_a_process_killed_before_the_links_were_set_has_its_best_all_the_same(checkpoints, monkeypatch):
    save(checkpoints, 2, best=[2])
    monkeypatch.setattr(checkpoint, "link", lambda path, target: None)
    save(checkpoints, 5, best=[5])
    monkeypatch.undo()

    assert checkpoints.best().name == "step-00000005"

    checkpoints.recover()
    assert [(checkpoints.folder / name).readlink() for name in ("best", "last")] == [Path("step-00000005")] * 2


def test_old_ones_are_dropped_but_never_the_best(checkpoints):
    save(checkpoints, *range(1, 9), best=[2])

    assert checkpoints.steps() == [2, 6, 7, 8]


def test_damaged_ones_of_a_later_step_do_not_crowd_out_what_is_saved_now(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    save(checkpoints, 2, 7, best=[2, 7])
    truncate(tmp_path / "step-00000007" / STATE)

    save(checkpoints, 5)

    assert checkpoints.steps() == [5]
    assert checkpoints.latest().name == "step-00000005"


def test_what_a_killed_process_left_half_written_goes_with_the_next_one(checkpoints):
    left = checkpoints.folder / ".saving-step-00000003"
    left.mkdir(parents=True)
    (left / WEIGHTS).write_bytes(b"half")
    assert checkpoints.steps() == []

    save(checkpoints, 5)

    assert not left.exists()


def test_a_step_can_be_saved_again(checkpoints):
    save(checkpoints, 5)
    flip_a_byte(checkpoints.folder / "step-00000005" / STATE)

    save(checkpoints, 5)

    assert verify(checkpoints.latest()) == ""


#: A full disk, a used-up quota, a disk that became read-only, one that fails, a server that forgot the file.
REFUSALS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE]


@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize("number", range(12))
def test_a_disk_that_refuses_at_any_moment_of_a_save_costs_no_earlier_checkpoint(
    checkpoints, warnings, monkeypatch, number, code
):
    blocks = {"full": StateBlock(5, {"seen": torch.ones(3)}), "filling": StateBlock(1, {"seen": torch.ones(2)})}
    checkpoints.save(2, TiedModel(2.0), {}, best=True, blocks=blocks)
    calls = []

    def failing(function):
        def call(*arguments, **options):
            calls.append(function)
            if len(calls) == number + 1:
                raise OSError(code, os.strerror(code))
            return function(*arguments, **options)

        return call

    for place, name in ((os, "fsync"), (Path, "mkdir"), (Path, "rename"), (Path, "write_text")):
        monkeypatch.setattr(place, name, failing(getattr(place, name)))
    monkeypatch.setattr(torch, "save", failing(torch.save))
    for name in ("save_weights", "save_file"):
        monkeypatch.setattr(checkpoint, name, failing(getattr(checkpoint, name)))

    text = rf"checkpoint of step 5 could not be saved: {os.strerror(code)}; the checkpoint of step 2 is intact\. Free"
    with pytest.raises(CheckpointError, match=text):
        checkpoints.save(5, TiedModel(5.0), {}, best=True, blocks=blocks | {"filling": StateBlock(2, {})})
    monkeypatch.undo()

    assert len(calls) > number  # weights and state are written side by side
    assert not list(checkpoints.folder.glob(".*"))
    assert verify(checkpoints.folder / "step-00000002") == ""
    assert verify(checkpoints.latest()) == ""
    checkpoints.save(7, TiedModel(7.0), {}, best=False, blocks=blocks)
    assert checkpoints.latest().name == "step-00000007"
    assert verify(checkpoints.latest()) == ""
    assert warnings == []


def test_an_old_folder_that_a_server_does_not_let_go_is_replaced_all_the_same(checkpoints, monkeypatch):
    save(checkpoints, 2, 5)
    flip_a_byte(checkpoints.folder / "step-00000005" / STATE)
    monkeypatch.setattr(checkpoint.shutil, "rmtree", lambda path, **options: None)  # as where .nfs files stay behind

    save(checkpoints, 5)

    assert verify(checkpoints.latest()) == ""
    assert checkpoints.latest().name == "step-00000005"


class Killed(BaseException):
    """A process ends here; nothing that follows is done."""


@pytest.mark.parametrize("number", range(5))
def test_a_process_killed_at_any_moment_of_a_replacement_leaves_a_checkpoint_of_the_step(
    checkpoints, monkeypatch, number
):
    """Just before each change of a name, then before the deletion of the old checkpoint; 4: it is not killed."""
    save(checkpoints, 5)
    calls = []

    def killing(function):
        def call(path, *arguments, **options):
            calls.append(path)
            if len(calls) > number:
                raise Killed
            return function(path, *arguments, **options)

        return call

    for place, name in ((Path, "rename"), (checkpoint.shutil, "rmtree"), (Path, "replace")):
        monkeypatch.setattr(place, name, killing(getattr(place, name)))
    with contextlib.suppress(Killed):
        save(checkpoints, 5)
    monkeypatch.undo()
    later = Checkpoints(checkpoints.folder)
    later.recover()

    assert len(calls) == min(number + 1, 4)
    assert verify(later.latest()) == ""
    assert later.steps() == [5]
    save(later, 7)
    assert sorted(path.name for path in later.folder.iterdir() if path.is_dir() and not path.is_symlink()) == [
        "step-00000005",
        "step-00000007",
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_a_disk_that_refuses_a_new_name_costs_neither_the_new_nor_the_old_checkpoint(checkpoints, monkeypatch, number):
    save(checkpoints, 5)
    calls, rename = [], Path.rename

    def failing(path, target):
        calls.append(path)
        if len(calls) == number + 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(CheckpointError, match="step 5 could not be saved: Input/output error"):
        save(checkpoints, 5)

    assert verify(checkpoints.latest()) == ""
    assert names(checkpoints) == ["last", "step-00000005"]


def test_a_checkpoint_that_cannot_get_its_name_back_is_named(checkpoints, monkeypatch):
    def fail(path, target):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    save(checkpoints, 5)
    (checkpoints.folder / "step-00000005").rename(checkpoints.folder / ".replaced-step-00000005")
    monkeypatch.setattr(Path, "rename", fail)

    with pytest.raises(CheckpointError, match=r"replaced-step-00000005: this checkpoint cannot be renamed: Input/outp"):
        checkpoints.recover()


@pytest.mark.parametrize("name", ["symlink_to", "replace"])
def test_links_that_cannot_be_set_cost_a_warning_only(checkpoints, warnings, monkeypatch, name):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, name, fail)
    save(checkpoints, 5, best=[5])
    monkeypatch.undo()

    assert names(checkpoints) == ["step-00000005"]
    assert checkpoints.best().name == "step-00000005"
    assert "the links last and best could not be set: No space left on device" in warnings[0]


class FullFile(io.BytesIO):
    def write(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_named_though_torch_hides_it(checkpoints, monkeypatch):
    write = torch.save
    monkeypatch.setattr(torch, "save", lambda state, file: write(state, FullFile()))

    with pytest.raises(
        CheckpointError, match=r"saved: No space left on device; there is no earlier one\. Free some space or restore"
    ):
        save(checkpoints, 5)

    assert names(checkpoints) == []


def test_a_full_disk_is_named_though_safetensors_hides_it(checkpoints, monkeypatch):
    def fail(model, path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_weights", fail)

    with pytest.raises(CheckpointError, match=r"saved: No space left on device; there is no earlier one\. Free some"):
        save(checkpoints, 5)


def test_a_save_that_fails_without_the_system_does_not_speak_of_the_disk(checkpoints):
    class Odd(torch.nn.Module):
        def state_dict(self, *arguments, **options):
            raise RuntimeError("this layer has no state")

    with pytest.raises(CheckpointError, match=r"saved: this layer has no state; there .* one\. Fix this, then"):
        checkpoints.save(5, Odd(), {}, best=False)

    assert names(checkpoints) == []


@pytest.mark.parametrize("write", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state, 2))])
def test_a_state_that_would_run_code_is_refused_and_runs_none(checkpoints, tmp_path, write):
    save(checkpoints, 5)
    path, target = checkpoints.folder / "step-00000005", tmp_path / "made by the payload"
    write({"loop": Payload(target)}, path / STATE)

    with pytest.raises(CheckpointError, match=r"state\.pt cannot be loaded safely"):
        load_state(path)

    assert not target.exists()


Pair = namedtuple("Pair", "first second")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (
            Pair(1, 2),
            r"state\.pt cannot be read back: the file contains \S*Pair, which could run code; expected tensors",
        ),
        (torch.zeros(1).expand(10**7), r"state\.pt cannot be read back: its content is larger than the file"),
    ],
)
def test_the_first_checkpoint_is_read_back_and_one_that_cannot_be_is_not_kept(checkpoints, value, why):
    with pytest.raises(CheckpointError, match=rf"step 5 could not be saved: {why}") as caught:
        checkpoints.save(5, TiedModel(), {"loop": {}, "trainer": {"value": value}}, best=False)

    assert "weights_only" not in str(caught.value)
    assert names(checkpoints) == []


def test_what_is_read_back_is_compared(checkpoints, monkeypatch):
    def save_others(model, path):
        write(TiedModel(3.0), path)

    write = checkpoint.save_weights
    monkeypatch.setattr(checkpoint, "save_weights", save_others)

    with pytest.raises(
        CheckpointError, match=r"what was written is not the same when it is read back: \['classify.bias'\]"
    ):
        checkpoints.save(5, TiedModel(2.0), {}, best=False)


def test_a_payload_would_run_where_nobody_looks(tmp_path):
    """So the test above tests something."""
    torch.save({"loop": Payload(tmp_path / "made")}, tmp_path / STATE)

    torch.load(tmp_path / STATE, weights_only=False)

    assert (tmp_path / "made").is_dir()


@pytest.mark.parametrize("model", [nn.Linear(2, 5), nn.Embedding(7, 4)])
def test_weights_of_another_model_are_refused(checkpoints, model):
    save(checkpoints, 5)

    with pytest.raises(CheckpointError, match=r"weights\.safetensors does not fit the model: "):
        load_weights(checkpoints.latest(), model)


def test_copied_weights_are_a_checkpoint_from_which_nothing_can_resume(checkpoints, tmp_path):
    save(checkpoints, 5, 7)
    model = TiedModel()

    copy_weights(checkpoints.folder / "step-00000005", tmp_path / "copy")
    copied = Checkpoints(tmp_path / "copy").find("best")
    load_weights(copied, model)

    assert copied.name == "step-00000005"
    assert model.seen == 5.0
    with pytest.raises(CheckpointError, match=r"state\.pt cannot be loaded safely: "):
        load_state(copied)
    flip_a_byte(copied / WEIGHTS)
    assert verify(copied).startswith("weights.safetensors is damaged")


def test_the_manifest_tells_what_is_there(checkpoints):
    save(checkpoints, 5, best=[5])

    manifest = json.loads((checkpoints.folder / "step-00000005" / MANIFEST).read_text())

    assert (manifest["step"], manifest["best"]) == (5, True)
    assert manifest["files"][STATE]["size"] == (checkpoints.folder / "last" / STATE).stat().st_size


@pytest.mark.parametrize("before", [None, "link", "file"])
def test_a_link_replaces_what_was_there(tmp_path, before):
    path = tmp_path / "best"
    if before == "link":
        path.symlink_to("nowhere")
    elif before == "file":
        path.write_text("old")

    link(path, "step-00000005")

    assert path.readlink() == Path("step-00000005")
    assert [entry.name for entry in tmp_path.iterdir()] == ["best"]


def test_a_link_is_never_missing_while_it_is_replaced(tmp_path, monkeypatch):
    path, seen = tmp_path / "best", []
    link(path, "old")
    for name in ("unlink", "symlink_to", "replace"):
        original = getattr(Path, name)

        def watched(self, *arguments, original=original, **options):
            seen.append(path.readlink().name)
            result = original(self, *arguments, **options)
            seen.append(path.readlink().name)
            return result

        monkeypatch.setattr(Path, name, watched)

    link(path, "new")

    assert seen == ["old"] * 5 + ["new"]


def test_all_files_of_a_checkpoint_may_be_read_by_those_who_may_read_other_files(checkpoints):
    before = os.umask(0o027)
    try:
        path = checkpoints.save(3, TiedModel(), {}, best=True, blocks={"seen": StateBlock(1, {"all": torch.ones(2)})})
    finally:
        os.umask(before)

    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o640}


def test_all_of_a_checkpoint_is_on_the_disk_before_it_gets_its_name(checkpoints, monkeypatch):
    events, flush, rename = [], checkpoint.flush, Path.rename

    def renamed(path, target):
        events.append("rename")
        return rename(path, target)

    monkeypatch.setattr(checkpoint, "flush", lambda path: events.append(path.name) or flush(path))
    monkeypatch.setattr(Path, "rename", renamed)

    save(checkpoints, 5)

    before = events[: events.index("rename")]
    assert {*before} == {WEIGHTS, STATE, MANIFEST, ".saving-step-00000005"}
    assert before[-2:] == [MANIFEST, ".saving-step-00000005"]
    assert events[len(before) :] == ["rename", "checkpoints"]
