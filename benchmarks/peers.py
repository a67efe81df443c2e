"""Compare the cost of a step in dlpipe with two hand-written loops and with other frameworks.

    pip install lightning skorch pytorch-ignite && python benchmarks/peers.py [--rounds 40] [--write]

All train the same networks on the same tensors with SGD and one thread:

* the hand-written loop of step_cost.py, twice: it indexes the tensors once per batch and reads no loss.
* ``usual loop``: a ``DataLoader`` of a ``TensorDataset``, and ``loss.item()`` in each step.
* Lightning, skorch and ignite: as their guides show it, and, for Lightning, also without progress bar, log and
  checkpoints ("stripped"). What is not installed is left out.

See `in_turn` for how they are measured. None of them clips gradients or evaluates.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from in_turn import ENDLESS, RAW, RAW_AGAIN, Paused, Steps, Times, compare, rows, run
from step_cost import SEED, Net, Vectors, ours, raw
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

CASES = {
    "784-500-500-10, batch 100": ((784, 500, 500, 10), 100, 60_000, 30),
    "Linear 8 to 1, batch 8": ((8, 1), 8, 8_000, 200),
}


class Task:
    """What all loops train.

    Args:
        sizes: of the layers; a single output is a regression.
    """

    def __init__(self, sizes: tuple[int, ...], batch_size: int, examples: int) -> None:
        self.sizes, self.batch_size = sizes, batch_size
        self.classes = sizes[-1] if sizes[-1] > 1 else None
        self.data = Vectors(examples, sizes[0], self.classes)
        self.loss_of = F.cross_entropy if self.classes else F.mse_loss

    def model(self) -> Net:
        """Return the network, with the same weights every time."""
        torch.manual_seed(SEED)
        return Net(self.sizes)

    def dataset(self) -> TensorDataset:
        """Return the examples one by one."""
        return TensorDataset(self.data.vectors, self.data.targets)

    def batches(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the batches of an epoch."""
        return DataLoader(self.dataset(), self.batch_size, shuffle=True)


def usual_loop(task: Task, passed: Callable[[], None]) -> None:
    """Train as in most tutorials."""
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    while True:
        for vectors, targets in task.batches():
            optimizer.zero_grad()
            loss = task.loss_of(model(vectors), targets)
            loss.backward()
            optimizer.step()
            loss.item()
            passed()


def lightning(task: Task, passed: Callable[[], None], folder: Path, *, stripped: bool) -> None:
    """Train with Lightning."""
    import lightning as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = task.model()

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            loss = task.loss_of(self.net(batch[0]), batch[1])
            if not stripped:
                self.log("loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def on_train_batch_end(self, *_: Any) -> None:
            passed()

    kept = not stripped
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=ENDLESS,
        default_root_dir=folder,
        logger=pl.pytorch.loggers.CSVLogger(folder) if kept else False,
        enable_progress_bar=kept,
        enable_checkpointing=kept,
        enable_model_summary=False,
    )
    trainer.fit(Module(), task.batches())


def skorch(task: Task, passed: Callable[[], None]) -> None:
    """Train with skorch."""
    from skorch import NeuralNetClassifier, NeuralNetRegressor
    from skorch.callbacks import Callback

    class Passed(Callback):
        def on_batch_end(self, *_: Any, **__: Any) -> None:
            passed()

    options = {"criterion": torch.nn.CrossEntropyLoss} if task.classes else {}
    net = (NeuralNetClassifier if task.classes else NeuralNetRegressor)(
        task.model(),
        max_epochs=ENDLESS,
        lr=0.1,
        batch_size=task.batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks=[Passed()],
        verbose=0,
        **options,
    )
    net.fit(task.data.vectors, task.data.targets)


def ignite(task: Task, passed: Callable[[], None]) -> None:
    """Train with ignite, with a running average of the loss."""
    from ignite.engine import Events, create_supervised_trainer
    from ignite.metrics import RunningAverage

    model = task.model()
    trainer = create_supervised_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), task.loss_of)
    RunningAverage(output_transform=lambda loss: loss).attach(trainer, "loss")
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: passed())
    trainer.run(task.batches(), max_epochs=ENDLESS)


def loops_of(task: Task, folder: Path) -> dict[str, Steps]:
    """Return the loops by name; frameworks that are not installed are left out."""
    hand = task.data, task.sizes, task.batch_size, task.classes
    loops: dict[str, Steps] = {
        RAW: raw(*hand),
        RAW_AGAIN: raw(*hand),
        "dlpipe": ours(*hand, folder / "dlpipe"),
        "usual loop": Paused(lambda passed: usual_loop(task, passed)),
    }
    others: dict[str, tuple[str, str, Callable[[Callable[[], None]], None]]] = {
        "ignite": ("ignite", "pytorch-ignite", lambda passed: ignite(task, passed)),
        "skorch": ("skorch", "skorch", lambda passed: skorch(task, passed)),
        "Lightning without bar, log, checkpoints,": (
            "lightning",
            "lightning",
            lambda passed: lightning(task, passed, folder, stripped=True),
        ),
        "Lightning": ("lightning", "lightning", lambda passed: lightning(task, passed, folder, stripped=False)),
    }
    for name, (module, package, fit) in others.items():
        if importlib.util.find_spec(module):
            loops[f"{name} {importlib.metadata.version(package)}"] = Paused(fit)
        else:
            print(f"{name} is left out: pip install {package}")
    return loops


def measure(rounds: int) -> str:
    """Return the table."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    measured: dict[str, Times] = {}
    for title, (sizes, batch_size, examples, block) in CASES.items():
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            (Path(folder) / "dlpipe").mkdir()
            loops = loops_of(Task(sizes, batch_size, examples), Path(folder))
            measured[title] = compare(title, loops, block, rounds)
    return rows(measured)


if __name__ == "__main__":
    run(__doc__, measure, 40)
