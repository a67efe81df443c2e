"""Files made by an enemy, or by a broken disk: refused with a message, never a traceback, a hang or a run of code."""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from dlpipe.config.check import load_pipeline
from dlpipe.errors import CheckpointError, DataError, DlpipeError, PipelineError
from dlpipe.registry.loading import load_plugins
from dlpipe.runs.checkpoint import (
    STATE,
    WEIGHTS,
    Checkpoints,
    StateBlock,
    load_state,
    load_state_blocks,
    load_weights,
)
from dlpipe.runs.manifests import MANIFEST
from dlpipe_text.iob import read_sentences

REGISTRY = load_plugins()
BLOCK = "block-replay-0.safetensors"
#: A short form for every day and a long one for CI, 12,000 cases in all.
FORMS = [120, pytest.param(4000, marks=pytest.mark.slow)]
seeds = st.integers(0, 2**32)


def fuzz(count: int):
    """Make a test take `count` cases, the same ones each time."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=checks)


def damaged(content: bytes, seed: int) -> bytes:
    """Return `content` with a few bytes changed, cut out, doubled or put in."""
    draw = random.Random(seed)
    for _ in range(draw.randint(1, 6)):
        at, length = draw.randrange(len(content) + 1), draw.choice([1, 1, 4, 40])
        junk = draw.choice(
            [b"", draw.randbytes(length), content[at : at + length] * 2, b"[[", b'"""', b"= 1e999", b"\n"]
        )
        content = content[:at] + junk + content[at + draw.choice([0, length]) :]
    return content


@pytest.mark.parametrize("count", FORMS)
def test_a_damaged_pipeline_file_is_refused_with_a_message(count, root, tmp_path):
    original = (root / "pipelines" / "slot_filling.toml").read_bytes()
    file = tmp_path / "damaged.toml"

    @fuzz(count)
    @given(seeds)
    def check(seed):
        file.write_bytes(damaged(original, seed))
        try:
            load_pipeline(file, REGISTRY)
        except DlpipeError as error:
            assert str(error).startswith(str(file))

    check()


@pytest.mark.parametrize("count", FORMS)
def test_a_damaged_data_file_is_refused_with_a_message(count, tmp_path):
    original = b"BOS leave new york EOS\tO O B-from I-from O\narrive oslo\tO B-to\n" * 3
    file = tmp_path / "damaged.iob"

    @fuzz(count)
    @given(seeds)
    def check(seed):
        file.write_bytes(damaged(original, seed))
        try:
            read_sentences(file)
        except DataError as error:
            assert str(error).startswith(str(file))

    check()


def saved(folder: Path) -> tuple[Path, nn.Module]:
    """Save a checkpoint of a small model and return both."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {"loop": {"step": 1}, "trainer": {"optimizer": optimizer.state_dict()}}
    blocks = {"replay-0": StateBlock(3, {"rewards": torch.arange(5.0)})}
    return Checkpoints(folder).save(1, model, state, best=True, blocks=blocks), model


def sign(checkpoint: Path) -> None:
    """Make the manifest agree with whatever the files hold now, as an enemy would."""
    files = {}
    for name in (WEIGHTS, STATE, BLOCK):
        content = (checkpoint / name).read_bytes()
        files[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (checkpoint / MANIFEST).write_text(json.dumps({"step": 1, "best": True, "files": files}))


@pytest.mark.parametrize("count", FORMS)
def test_a_damaged_checkpoint_is_passed_over_and_a_forged_one_refused(count, tmp_path):
    checkpoint, model = saved(tmp_path)
    originals = {name: (checkpoint / name).read_bytes() for name in (WEIGHTS, STATE, BLOCK, MANIFEST)}

    @fuzz(count)
    @given(seeds)
    def check(seed):
        name = random.Random(seed).choice([*originals])
        for each, content in originals.items():
            (checkpoint / each).write_bytes(damaged(content, seed) if each == name else content)
        same = all((checkpoint / each).read_bytes() == content for each, content in originals.items())
        # A manifest may be changed where it says nothing; weights and state may not.
        assert same or name == MANIFEST or Checkpoints(tmp_path).latest() is None

        if name != MANIFEST:
            sign(checkpoint)
        loads = [
            lambda: load_state(checkpoint),
            lambda: load_weights(checkpoint, model),
            lambda: [*load_state_blocks(checkpoint)],
        ]
        for load in loads:
            try:
                load()
            except CheckpointError as error:
                assert str(checkpoint.name) in str(error)

    check()


class Payload:
    """Unpickling this writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.write_text, (self.target, "executed")


def test_a_state_with_code_in_it_is_refused_and_nothing_runs(tmp_path):
    checkpoint, _ = saved(tmp_path)
    target = tmp_path / "executed"
    payload = pickle.dumps(Payload(target), protocol=2)
    written_again(
        checkpoint,
        lambda new, name, content: new.writestr(name, payload if name.endswith("data.pkl") else content),
    )

    with pytest.raises(CheckpointError, match=r"state.pt cannot be loaded safely"):
        load_state(checkpoint)

    assert not target.exists()


def written_again(checkpoint: Path, write) -> None:
    """Write the parts of a state again, by a function of the new archive, each name and each content, and sign them."""
    with zipfile.ZipFile(checkpoint / STATE) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(checkpoint / STATE, "w") as new:
        for name, content in parts.items():
            write(new, name, content)
    sign(checkpoint)


def test_a_state_that_unpacks_to_more_than_it_is_is_refused_and_not_unpacked(tmp_path):
    checkpoint, _ = saved(tmp_path)
    written_again(
        checkpoint, lambda new, name, content: new.writestr(name, content + bytes(10**6), zipfile.ZIP_DEFLATED)
    )

    with pytest.raises(CheckpointError, match=r"state.pt cannot be loaded safely: state.pt contains compressed parts"):
        load_state(checkpoint)


def test_a_state_whose_parts_lie_on_top_of_each_other_is_refused(tmp_path):
    checkpoint, _ = saved(tmp_path)

    def twice(new, name, content):
        new.writestr(name, content)
        new.infolist().extend(new.infolist()[-1:] * 20)  # further entries of the directory, the same bytes

    written_again(checkpoint, twice)

    with pytest.raises(
        CheckpointError, match=r"state.pt cannot be loaded safely: the parts of state.pt are larger than the file"
    ):
        load_state(checkpoint)


def within_itself(depth: int) -> list[object]:
    """Return a list of few bytes with two to the power of `depth` members."""
    value: list[object] = [0]
    for _ in range(depth):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(torch.zeros(1).expand(10**12), r"its content is larger than the file", id="an expanded tensor"),
        pytest.param(within_itself(40), r"its content is larger than the file", id="a list within itself"),
        pytest.param(bytearray(b"x"), r"state.pt contains a bytearray; expected tensors, numbers", id="a bytearray"),
    ],
)
def test_a_state_that_takes_more_memory_than_its_file_is_refused(tmp_path, value, message):
    checkpoint, _ = saved(tmp_path)
    torch.save({"loop": {"step": 1}, "trainer": {"moments": value}}, checkpoint / STATE)

    with pytest.raises(CheckpointError, match=rf"state.pt cannot be loaded safely: {message}"):
        load_state(checkpoint)


@pytest.mark.parametrize("state", [[], 7, {}, {"loop": {}}, {"loop": {}, "trainer": 3}])
def test_a_state_of_another_form_is_refused(tmp_path, state):
    checkpoint, _ = saved(tmp_path)
    torch.save(state, checkpoint / STATE)

    with pytest.raises(CheckpointError, match=r"state.pt cannot be loaded safely: expected a dict with the dicts loop"):
        load_state(checkpoint)


def test_weights_with_a_header_of_a_terabyte_are_refused(tmp_path):
    checkpoint, model = saved(tmp_path)
    (checkpoint / WEIGHTS).write_bytes((10**12).to_bytes(8, "little") + b"{}")
    sign(checkpoint)

    with pytest.raises(CheckpointError, match=r"weights.safetensors does not fit the model"):
        load_weights(checkpoint, model)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"#" * 50_000_000, r"the file is too long; a pipeline has at most 1,000,000 bytes", id="50 MB"),
        pytest.param(b"a = " + b"[" * 100_000, r"nested more than|not valid TOML", id="deep arrays"),
        pytest.param(b"a = " + b"{b = " * 50_000, r"nested more than|not valid TOML", id="deep tables"),
        pytest.param(b"a" + b".a" * 50_000 + b" = 1", r"nested more than", id="deep keys"),
        pytest.param(b"\x80\x04\x95", r"is not UTF-8; save the file as UTF-8", id="a pickle"),
        pytest.param(b'plugins = ["/etc/passwd"]', r"is outside the folder of the pipeline file", id="a far plugin"),
        pytest.param(b'plugins = ["../evil.py"]', r"is outside the folder of the pipeline file", id="plugin above"),
        pytest.param(b'plugins = ["evil.py"]', r"would run Python code; allow it", id="a plugin"),
        pytest.param(b'name = "../../x"', r"expected a name of letters", id="a name that leads out"),
        pytest.param(b'[model]\nuse = "os.system"', r"no installed plugin has the namespace 'os'", id="a function"),
    ],
)
def test_hostile_pipeline_files_are_refused_with_their_message(tmp_path, content, message):
    (tmp_path / "evil.py").write_text("raise SystemExit('executed')")
    file = tmp_path / "hostile.toml"
    file.write_bytes(content)

    with pytest.raises(PipelineError, match=message):
        load_pipeline(file, REGISTRY)
