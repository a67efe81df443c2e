"""Several processes train like one: the same curve, also across kills, signals and another number of processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from dlpipe.runs.checkpoint import WEIGHTS, Checkpoints
from dlpipe.runs.folder import METRICS, RunFolder
from dlpipe.testing import comparable_metrics

from . import processes
from .processes import TIMEOUT, Ended, free_port, start_together

TOP = 'seed = 3\ndevice = "cpu"\nthreads = 1\n'
LOOP = 'log_every = 3\nsteps = 12\nevaluate_every = 6\noptimizer = { use = "sgd", lr = 0.05 }\n'
DIGITS = '[data]\nuse = "vision.digits"\nlimit = 150\n'
SCORE = '[evaluators.score]\nuse = "core.classification"\n[evaluators.loss]\nuse = "core.loss"\n'
#: The same, also of training examples: all of them, and some.
ON_TRAIN = (
    '[evaluators.score]\nuse = "core.classification"\nsplits = ["train", "dev", "test"]\n'
    '[evaluators.loss]\nuse = "core.loss"\nsplits = ["train", "dev"]\ntrain_examples = 70\n'
)
MLP = f'{DIGITS}[model]\nuse = "core.mlp"\nhidden = [16]\n[trainer]\nuse = "core.supervised"\n{LOOP}'
TAGGER = """
[data]
use = "text.flights"
num_train = 60
[model]
use = "text.rnn_tagger"
hidden_dim = 8
embed_dim = 8
dropout = 0.0
word_dropout = 0.0
"""
SLOTS = '[evaluators.slots]\nuse = "text.slot_f1"\n'
CASES = {
    "mlp": f"{MLP}batch_size = 20\n{SCORE}",
    # 108 images of 26: a step has 4, of which a process of four has one, and each batch is cut unequally
    "cut_unequally": f"{MLP}batch_size = 26\nmax_grad_norm = 0.5\n{SCORE}",
    # the last batch of an epoch has 3 images, fewer than four processes: one has none
    "an_idle_rank": f"{MLP}batch_size = 21\n{ON_TRAIN}",
    "cnn": f'{DIGITS}[model]\nuse = "vision.cnn"\nlayers = [{{ conv = 4 }}]\n'
    f'[trainer]\nuse = "core.supervised"\n{LOOP}batch_size = 20\n{SCORE}',
    # batch normalization over the whole batch, also where one of four processes has none of it
    "synced": f'{DIGITS}[model]\nuse = "vision.cnn"\nlayers = [{{ conv = 4, norm = true }}]\n'
    f'[trainer]\nuse = "core.supervised"\nsync_batch_norm = true\n{LOOP}batch_size = 21\n{SCORE}',
    # the gates are averaged over the batches of all processes
    "lesions": f"{MLP}batch_size = 20\n{SCORE}".replace("hidden = [16]", 'hidden = [16, 16]\nconnection = "highway"')
    + '[evaluators.lesions]\nuse = "core.lesions"\n',
    "accumulated": f"{MLP}batch_size = 6\ngradient_accumulation_steps = 3\n{SCORE}",
    # frozen weights, also in an average, and two rates
    "frozen": MLP.replace("hidden = [16]", 'hidden = [16, 8]\nfreeze = ["layers.2"]')
    + f'batch_size = 20\nema_decay = 0.9\nrates = {{ "layers.5" = 0.1 }}\n{SCORE}',
    # the batches of a step count by the weights of their targets
    "weighted": f"{MLP}batch_size = 6\ngradient_accumulation_steps = 3\nlabel_smoothing = 0.1\n"
    f'class_weights = {{ 0 = 9.0, 1 = 0.1 }}\nsampling = "balanced"\n{SCORE}',
    "averaged": f"{MLP}batch_size = 20\nema_decay = 0.9\n{ON_TRAIN}",
    # a few steps: it takes many inner ones, and where the loss is near 0, they amplify the last bit
    "lbfgs": MLP.replace('{ use = "sgd", lr = 0.05 }', '{ use = "lbfgs", lr = 0.1, max_iter = 5 }').replace("12", "3")
    + f'batch_size = "full"\n{SCORE}',
    "tokens": f'{TAGGER}[trainer]\nuse = "core.supervised"\n{LOOP}batch_size = 7\nbucket_by_length = false\n{SLOTS}',
    "ctc": '[data]\nuse = "audio.tone_sentences"\nnum_words = 40\nnum_speakers = 10\nsentences = 4\n'
    'features = { hop_ms = 20.0 }\n[model]\nuse = "audio.ctc_recognizer"\nhidden_dim = 8\ndropout = 0.0\n'
    # short steps, since the gradients are large, and would amplify the last bit
    '[trainer]\nuse = "core.supervised"\nbatch_size = 7\nbucket_by_length = false\n'
    f"{LOOP.replace('0.05', '0.001')}"
    '[evaluators.letters]\nuse = "audio.transcription"\n[evaluators.loss]\nuse = "core.loss"\n',
    "wavenet": '[data]\nuse = "audio.tone_waveforms"\nnum_words = 2\nnum_speakers = 2\ntakes = 10\n'
    '[model]\nuse = "audio.wavenet"\nlayers = 3\nchannels = 4\nskip_channels = 5\n'
    f'condition_dim = 3\n[trainer]\nuse = "core.supervised"\nbatch_size = 7\nbucket_by_length = false\n{LOOP}'
    '[evaluators.bits]\nuse = "audio.waveform_likelihood"\n',
    "translation": '[data]\nuse = "text.english_german"\nnum_train = 60\nnum_dev = 10\nnum_test = 10\n'
    '[model]\nuse = "text.seq2seq"\nembed_dim = 8\nhidden_dim = 8\ndropout = 0.0\nmax_length = 9\n'
    f'[trainer]\nuse = "core.supervised"\nbatch_size = 7\nbucket_by_length = false\n{LOOP}'
    '[evaluators.text]\nuse = "text.translation"\n[evaluators.loss]\nuse = "core.loss"\n',
    # a frozen network of an earlier stage within the model
    "style_transfer": '[stages.features.data]\nuse = "vision.textures"\nsize = 12\ntrain_size = 60\ntest_size = 10\n'
    'normalize = "unit"\n[stages.features.model]\nuse = "vision.cnn"\nlayers = [{ conv = 3 }, { pool = 2 }, { conv = 4 }]\n'
    f'[stages.features.trainer]\nuse = "core.supervised"\nbatch_size = 10\n{LOOP}'
    '[stages.features.evaluators.loss]\nuse = "core.loss"\n'
    '[stages.transfer.data]\nuse = "vision.content_and_style"\nsize = 12\ntrain_size = 30\ndev_size = 4\ntest_size = 6\n'
    '[stages.transfer.model]\nuse = "vision.style_transfer"\nfeatures = { stage = "features" }\n'
    'content_layer = "layers.2"\nstyle_layers = ["layers.0"]\nwidth = 4\n'
    f'[stages.transfer.trainer]\nuse = "core.supervised"\nbatch_size = 10\n{LOOP.replace("0.05", "0.001")}'
    '[stages.transfer.evaluators.loss]\nuse = "core.loss"\n',
    "crf": f'{TAGGER}output = "crf"\n[trainer]\nuse = "core.supervised"\n{LOOP}batch_size = 7\n{SLOTS}',
}


def write(folder: Path, name: str, text: str, parallel: str = "ddp") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(f'name = "{name}"\nparallel = "{parallel}"\n{TOP}{text}', encoding="utf-8")
    return path


def metrics(runs: Path, name: str) -> list[dict[str, float]]:
    run = runs / name / "latest"
    stages = sorted((run / "stages").iterdir()) if (run / "stages").is_dir() else [run]
    return [line for stage in stages for line in comparable_metrics(stage)]


def well(ended: list[Ended]) -> None:
    for rank, process in enumerate(ended):
        assert process.code == 0, f"rank {rank}: {process.output}"


def assert_close(found: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    assert [sorted(line) for line in found] == [sorted(line) for line in expected]
    for line, other in zip(found, expected, strict=True):
        assert line == pytest.approx(other, abs=1e-6, rel=1e-6, nan_ok=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The runs of all cases by one process."""
    return run_cases(tmp_path_factory.mktemp("alone"), 1)


def run_cases(folder: Path, size: int, parallel: str = "ddp", without: Collection[str] = ()) -> Path:
    files = [str(write(folder, name, text, parallel=parallel)) for name, text in CASES.items() if name not in without]
    well(start_together(size, processes.__file__, str(folder / "runs"), *files))
    return folder / "runs"


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_train_like_one(tmp_path, alone, size):
    runs = run_cases(tmp_path, size)

    for name in CASES:
        assert_close(metrics(runs, name), metrics(alone, name))


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_that_share_the_weights_train_like_one(tmp_path, alone, size):
    runs = run_cases(tmp_path, size, "fsdp", without={"lbfgs"})

    for name in CASES.keys() - {"lbfgs"}:
        assert_close(metrics(runs, name), metrics(alone, name))


@pytest.mark.slow
def test_two_processes_skip_the_same_steps_in_float16(tmp_path):
    # the last batch of an epoch has 1 of 150 images: one process has none, those of the other overflow
    file = write(tmp_path, "half", f'precision = "float16"\n{MLP}batch_size = 149\nmax_grad_norm = 0.5\n{SCORE}')

    well(start_together(2, "-m", "dlpipe", "run", str(file), "--runs", str(tmp_path / "two")))

    skipped = [line["train/skipped"] for line in metrics(tmp_path / "two", "half") if "train/skipped" in line]
    assert 0 < skipped[0] < 1
    assert skipped[-1] == 0


def test_two_processes_train_like_one(tmp_path):
    file = write(tmp_path, "mlp", CASES["an_idle_rank"])

    (single,) = start_together(1, "-m", "dlpipe", "run", str(file), "--runs", str(tmp_path / "one"))
    leader, other = start_together(2, "-m", "dlpipe", "run", str(file), "--runs", str(tmp_path / "two"), "--profile")

    well([single, leader, other])
    assert_close(metrics(tmp_path / "two", "mlp"), metrics(tmp_path / "one", "mlp"))
    assert other.output == ""
    assert "test (checkpoint of step" in leader.output
    (folder,) = [path for path in (tmp_path / "two" / "mlp").iterdir() if not path.is_symlink()]
    assert RunFolder(folder).status()["state"] == "finished"
    assert json.loads((folder / "provenance.json").read_text())["ranks"] == 2
    assert (folder / "figures" / "score" / "confusion.csv").is_file()
    assert "allreduce" in (folder / "profile" / "operators.csv").read_text()
    assert json.loads((folder / "profile" / "summary.json").read_text())["recorded_steps"] == 9


SLOW_TO_REHEARSE = """
import os
from dlpipe.engine import rehearsal
from dlpipe import hookimpl

if os.environ["RANK"] == "1":
    rehearsal.FAST = 0.0  # its first step took longer than that

@hookimpl
def dlpipe_models():
    return []
"""


def test_processes_of_different_speed_rehearse_the_same_steps(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW_TO_REHEARSE)
    text = f'plugins = ["slow.py"]\n{TOP}{MLP.replace("steps = 12", "steps = 1")}batch_size = 20\n'
    (tmp_path / "unlike.toml").write_text(f'name = "unlike"\nparallel = "ddp"\n{text}')

    well(start_together(2, "-m", "dlpipe", "run", str(tmp_path / "unlike.toml"), "--allow-local-plugins", "--fast"))


#: A model that ends its process, or sends it a signal, in the forward pass of one step of one rank, or while it is
#: built (step 0); once.
FRAGILE = '''
import math
import os
from pathlib import Path

import dlpipe
import torch
from torch import nn


class Fragile(nn.Module):
    """A linear model."""

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int, *, where: str) -> None:
        super().__init__()
        self.layer = nn.Linear(math.prod(image_shape), num_classes)
        self.dropout = nn.Dropout(0.2)
        self.register_buffer("mean", torch.zeros(()))
        self.where, self.calls = Path(where), 0
        self.disturb()

    def disturb(self):
        plan = os.environ.get("FRAGILE", "").split()
        if plan and self.training:
            rank, call, number = map(int, plan)
            if int(os.environ["RANK"]) == rank and self.calls == call and not self.where.exists():
                self.where.touch()
                if number:
                    os.kill(os.getpid(), number)
                else:
                    raise ValueError("broken on purpose")
            self.calls += 1

    def forward(self, images):
        self.disturb()
        if self.training:
            self.mean.lerp_(images.mean(), 0.5)
        return self.layer(self.dropout(images.flatten(1) - self.mean))


@dlpipe.hookimpl
def dlpipe_models():
    return [dlpipe.ModelSpec("fragile", ":Fragile", "ends its process")]
'''


#: The same with layers that are large enough to be cut one by one, without random numbers.
LAYERED = (
    FRAGILE.replace("nn.Linear(", "nn.Sequential(nn.Linear(64, 16400), nn.ReLU(), nn.Linear(16400, 64), nn.Linear(")
    .replace("num_classes)\n", "num_classes))\n")
    .replace("nn.Dropout(0.2)", "nn.Dropout(0.0)")
    .replace("0.5)", "0.0)")
)


def write_fragile(folder: Path, model: str = FRAGILE, parallel: str = "ddp", **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(model)
    loop = {"log_every": 2, "steps": 16, "checkpoint_every": 4, "evaluate_every": 8, "batch_size": 20} | changes
    text = (
        f'plugins = ["mine.py"]\n{DIGITS}[model]\nuse = "mine.fragile"\nwhere = "{folder / "happened"}"\n[trainer]\n'
        'use = "core.supervised"\n' + "".join(f"{name} = {value}\n" for name, value in loop.items()) + SCORE
    )
    return write(folder, "fragile", text, parallel)


def command_of(file: Path) -> list[str]:
    options = ["--allow-local-plugins", "--no-rehearsal", "--resume", "auto", "--runs", str(file.parent / "runs")]
    return ["-m", "dlpipe", "run", str(file), *options]


def run_fragile(file: Path, size: int = 2, plan: str = "") -> list[Ended]:
    return start_together(size, *command_of(file), environment={"FRAGILE": plan})


def outcome(file: Path) -> tuple[list[dict[str, float]], bytes]:
    run = file.parent / "runs" / "fragile" / "latest"
    best = Checkpoints(run / "checkpoints").latest()
    assert best is not None
    return comparable_metrics(run), (best / WEIGHTS).read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[list[dict[str, float]], bytes]:
    file = write_fragile(tmp_path_factory.mktemp("undisturbed") / "it")
    well(run_fragile(file))
    return outcome(file)


@pytest.mark.slow
@pytest.mark.parametrize(("call", "rank"), [(1, 0), (6, 1), (11, 0), (15, 1)])
def test_a_killed_process_ends_all_and_they_resume_with_the_same_bits(tmp_path, undisturbed, rank, call):
    file = write_fragile(tmp_path)

    ended = run_fragile(file, plan=f"{rank} {call} 9")

    assert ended[rank].code == -9
    assert ended[1 - rank].code == 1
    assert "lost the connection to another rank" in ended[1 - rank].output
    leader, other = run_fragile(file)
    well([leader, other])
    assert "resuming after step" in leader.output or call == 1
    assert other.output == ""
    assert outcome(file) == undisturbed


@pytest.mark.slow
def test_torchrun_starts_all_again_after_one_was_killed(tmp_path, undisturbed):
    file = write_fragile(tmp_path)
    program = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1", "--master-port"]

    done = subprocess.run(
        [sys.executable, *program, str(free_port()), *command_of(file)],
        env={**os.environ, "FRAGILE": "1 6 9"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )

    assert done.returncode == 0, done.stdout
    assert "resuming after step 4" in done.stdout
    assert outcome(file) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_stops_all_with_a_checkpoint(tmp_path, undisturbed, rank):
    file = write_fragile(tmp_path)

    ended = run_fragile(file, plan=f"{rank} 5 15")

    assert [process.code for process in ended] == [75, 75]
    assert "stopped by SIGTERM after step 6, with a checkpoint" in ended[0].output + ended[1].output
    well(run_fragile(file))
    assert outcome(file) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_before_the_first_step_stops_all(tmp_path, undisturbed, rank):
    file = write_fragile(tmp_path)

    ended = run_fragile(file, plan=f"{rank} 0 15")

    assert [process.code for process in ended] == [75, 75], [process.output for process in ended]
    well(run_fragile(file))
    assert outcome(file) == undisturbed


@pytest.mark.slow
def test_the_process_that_fails_first_says_why(tmp_path):
    leader, other = run_fragile(write_fragile(tmp_path), plan="1 6 0")

    assert "broken on purpose" in other.output
    assert other.code == 1
    assert "rank 0" in leader.output
    assert "Traceback" not in leader.output + other.output
    assert leader.code == 1


FAIL_TOGETHER = """
from pathlib import Path
import torch
from dlpipe.errors import Preempted
from dlpipe.ranks import joined

try:
    with joined("ddp") as ranks:
        ranks.total(torch.ones(2))
        import torch._dynamo  # as compile = true and optimizers of plugins do
        raise Preempted(f"rank {ranks.rank} was stopped")
except Preempted as error:
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    print(error, any("gloo" in name for name in names))
"""


def test_after_an_error_no_threads_are_left_that_could_abort_the_process():
    ended = start_together(2, "-c", FAIL_TOGETHER)

    assert [process.code for process in ended] == [0, 0]
    outputs = {process.output.strip() for process in ended}
    assert outputs in (
        {"rank 0 was stopped False", "rank 1 ends with rank 0 False"},
        {"rank 1 was stopped False", "rank 0 ends with rank 1 False"},
    )


USE_CUT_WEIGHTS = """
import atexit
import sys
from pathlib import Path
import torch
from torch import nn
from dlpipe.compute import Compute
from dlpipe.errors import Preempted
from dlpipe.ranks import joined
from dlpipe.training.sharding import Sharding

def threads():
    print(any("gloo" in (task / "comm").read_text() for task in Path("/proc/self/task").iterdir()))

def use_cut_weights(fails):
    with joined("fsdp") as ranks:
        model = nn.Sequential(nn.Linear(3, 3))
        sharding = Sharding(model, Compute(torch.device("cpu"), ranks=ranks, shards=True))
        sharding.begin_step()
        model(torch.ones(2, 3)).sum().backward()
        sharding.whole()
        if fails:
            raise Preempted("stopped")

atexit.register(threads)
try:
    use_cut_weights(sys.argv[1] == "fails")
except Preempted:
    pass
"""


@pytest.mark.parametrize("end", ["well", "fails"])
def test_no_threads_of_cut_weights_are_left_that_could_abort_the_process(end):
    assert start_together(2, "-c", USE_CUT_WEIGHTS, end) == [Ended(0, "False\n")] * 2


END_TOGETHER = """
import sys
from pathlib import Path
from dlpipe.errors import DlpipeError
from dlpipe.ranks import joined

report = Path(sys.argv[1])
try:
    with joined("ddp") as ranks:
        if ranks.leads:
            sum(range(10_000_000))  # the others have nothing to do
            report.write_text("written")
except (DlpipeError, OSError) as error:
    sys.exit(f"rank {ranks.rank}: {type(error).__name__}")
print(report.read_text())
"""


@pytest.mark.parametrize(
    ("folder", "ends"),
    [
        ("", [Ended(0, "written\n"), Ended(0, "written\n")]),
        ("missing", [Ended(1, "rank 0: FileNotFoundError\n"), Ended(1, "rank 1: EndedWithAnotherError\n")]),
    ],
)
def test_all_wait_for_what_only_the_leader_does(tmp_path, folder, ends):
    assert start_together(2, "-c", END_TOGETHER, str(tmp_path / folder / "report.html")) == ends


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_run_continues_on_another_number_of_processes(tmp_path, parallel):
    whole = tmp_path / "whole"
    changes = {"ema_decay": 0.9, "optimizer": '{ use = "adam" }'}
    for folder, sizes in ((whole, [1]), (tmp_path / "changing", [2, 1, 2])):
        file = write_fragile(folder, LAYERED, parallel, **changes)
        for number, size in enumerate(sizes, start=1):
            (folder / "happened").unlink(missing_ok=True)
            last = number == len(sizes)
            ended = run_fragile(file, size, "" if last else f"0 {5} 15")
            assert [process.code for process in ended] == [0 if last else 75] * size, ended[0].output

    assert_close(metrics(tmp_path / "changing" / "runs", "fragile"), metrics(whole / "runs", "fragile"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parallel", "before", "after"),
    [("ddp", 0.0, 0.0), ("fsdp", 0.0, 0.0), ("fsdp", 0.0, 0.9), ("fsdp", 0.9, 0.0)],
)
def test_a_finished_run_continues_with_other_settings_as_in_one_process(tmp_path, parallel, before, after):
    file = write_fragile(tmp_path, LAYERED, parallel, optimizer='{ use = "adam" }', ema_decay=before)
    well(run_fragile(file))
    runs = [file.parent / "runs" / "fragile" / name for name in ("latest", "copy")]
    shutil.copytree(runs[0].resolve(), runs[1], symlinks=True)
    settings = ["trainer.steps=24", "trainer.optimizer.lr=0.01", f"trainer.ema_decay={after}"]
    changes = [*(part for setting in settings for part in ("--set", setting)), "--allow-local-plugins"]

    for size, run in zip((2, 1), runs, strict=True):
        well(start_together(size, "-m", "dlpipe", "resume", str(run), *changes))

    found = [comparable_metrics(run) for run in runs]
    assert [record["step"] for record in found[0]] == [record["step"] for record in found[1]]
    assert found[0][-1]["step"] == 24
    assert found[0][-1] == pytest.approx(found[1][-1], rel=1e-4)
    (entry,) = json.loads((runs[0] / "provenance.json").read_text())["changed"]
    assert entry["step"] == 16


@pytest.mark.slow
def test_cut_weights_are_restored_with_the_same_bits(tmp_path):
    outcomes = []
    for plan in ("", "1 11 9"):
        file = write_fragile(tmp_path / f"plan{plan}", LAYERED, "fsdp", ema_decay=0.9, gradient_accumulation_steps=2)
        if plan:
            assert run_fragile(file, plan=plan)[1].code == -9
        well(run_fragile(file))
        outcomes.append(outcome(file))

    assert outcomes[0] == outcomes[1]


SHARE_WEIGHTS = """
import torch
from torch import nn
from dlpipe.compute import Compute
from dlpipe.ranks import joined
from dlpipe.training.sharding import Sharding

with joined("fsdp") as ranks:
    torch.manual_seed(0)
    layers = [nn.Linear(1100, 1100) for _ in range(4)]
    layers[3].weight = layers[2].weight
    model = nn.Sequential(*layers, nn.Linear(1100, 3), nn.BatchNorm1d(3))
    whole = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sharding = Sharding(model, Compute(torch.device("cpu"), ranks=ranks, shards=True))
    sharding.begin_step()
    part = sum(parameter.to_local().numel() for parameter in model.parameters())
    alone = [type(layer).__name__ for layer in model]
    copy = sharding.whole()
    same = all(torch.equal(tensor, whole[name]) for name, tensor in copy.state_dict().items())
    if ranks.leads:
        print(round(part / sum(tensor.numel() for tensor in copy.parameters()), 2), type(copy).__name__, same, *alone)
"""


def test_each_process_has_its_part_of_the_weights():
    leader, other = start_together(2, "-c", SHARE_WEIGHTS)

    well([leader, other])
    assert leader.output.split() == (
        ["0.5", "Sequential", "True", "FSDPLinear", "FSDPLinear", "Linear", "Linear", "Linear", "BatchNorm1d"]
    )


SYNCED = """
import copy
import torch
from torch import nn
from dlpipe.ranks import joined
from dlpipe.training.batch_norm import SyncedBatchNorm

with joined("ddp") as ranks:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    for layer, batch in [
        (nn.BatchNorm1d(3), torch.randn(5, 3)),
        (nn.BatchNorm2d(3, momentum=None), torch.randn(5, 3, 2, 2) + 100),
        (nn.BatchNorm1d(3, affine=False, track_running_stats=False), torch.randn(5, 3, 4)),
    ]:
        alone = copy.deepcopy(layer)
        synced = SyncedBatchNorm(layer, ranks)
        for batch in (batch, batch.flip(0) ** 2, batch[:1].repeat_interleave(2, 0) + torch.randn(2, *batch.shape[1:])):
            idle = len(batch) == 2 and not ranks.leads  # then the leader has both
            parts = batch.tensor_split(2) if len(batch) > 2 else (batch, torch.full_like(batch, 7.0))
            own = parts[ranks.rank].clone().requires_grad_()
            whole = batch.clone().requires_grad_()
            expected = alone(whole)
            expected.pow(3).sum().backward()
            synced.counts = not idle
            found = layer(own)
            (found.pow(3).sum() * (not idle)).backward()
            rows = torch.arange(len(batch)).tensor_split(2)[ranks.rank] if len(batch) > 2 else torch.arange(2)
            if not idle:
                torch.testing.assert_close(found, expected[rows])
                torch.testing.assert_close(own.grad, whole.grad[rows])
            for name, buffer in alone.named_buffers():
                torch.testing.assert_close(layer.get_buffer(name), buffer)
            for parameter, other in zip(layer.parameters(), alone.parameters(), strict=True):
                torch.testing.assert_close(ranks.total(parameter.grad), other.grad)
        torch.testing.assert_close(layer.eval()(batch), alone.eval()(batch))
"""


def test_batch_normalization_uses_the_whole_batch():
    well(start_together(2, "-c", SYNCED))


def test_processes_that_were_not_asked_for_are_refused(tmp_path):
    file = write(tmp_path, "mlp", CASES["mlp"])
    file.write_text(file.read_text().replace('parallel = "ddp"\n', ""))

    (ended,) = start_together(1, "-m", "dlpipe", "run", str(file), environment={"WORLD_SIZE": "2"})

    assert ended.code == 2
    assert ended.output.strip() == (
        '2 processes were started (WORLD_SIZE = 2), but the pipeline has parallel = "none", so each would train a model '
        'of its own; expected parallel = "ddp" in the file, or --set parallel=ddp'
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_too_small_batches_are_refused_once(tmp_path):
    file = write(tmp_path, "mlp", f"{MLP}batch_size = 1\n{SCORE}")

    ended = start_together(2, "-m", "dlpipe", "run", str(file), "--runs", str(tmp_path / "runs"))

    assert [process.code for process in ended].count(2) >= 1
    text = "".join(process.output for process in ended)
    assert text.count("batch_size = 1 is less than the number of processes, 2, which share each batch") == 1
    assert not list((tmp_path / "runs").rglob(METRICS))


@pytest.mark.slow
def test_a_dry_run_is_one_answer_of_all(tmp_path):
    file = write(tmp_path, "mlp", CASES["mlp"])

    leader, other = start_together(2, "-m", "dlpipe", "run", str(file), "--dry-run")

    well([leader, other])
    assert json.loads(leader.output)["pipeline"]["model"] == "MLP"
    assert other.output == ""
