"""A local plugin of components that are wrong, each in one way; `test_broken.py` says how dlpipe answers each.

The first class of each kind is right. The others are offered under their own names: ``NoSplits`` as ``no_splits``.
"""

# ruff: noqa: PTH123, RUF012, SIM115

import math
import re
from collections import namedtuple

import torch
from torch import nn

from dlpipe import CallbackSpec, DataSpec, EvaluatorSpec, ModelSpec, TrainerSpec, hookimpl
from dlpipe.data import Columns
from dlpipe.fields import Positive

Pair = namedtuple("Pair", "first second")


def points(count=8):
    return torch.linspace(-1, 1, 3 * count).view(count, 3)


class Points:
    splits = ("train", "dev", "test")
    facts = {"num_inputs": 3}

    def split(self, name):
        return Columns({"points": points(), "targets": torch.arange(8) % 2})

    def state(self):
        return {}

    def restore(self, state): ...

    def fingerprint(self):
        return "same"


class NoSplits(Points):
    splits = ()


class NoTrainingSplit(Points):
    splits = ("dev", "test")


class UnknownSplit(Points):
    splits = ("train", "validation")


class SplitsAsText(Points):
    splits = "train"


class SplitsNone(Points):
    splits = None


class SplitOfTensors(Points):
    def split(self, name):
        return list(points())


class SplitIsDict(Points):
    def split(self, name):
        return {"points": points(), "targets": torch.arange(8) % 2}


class SplitIsNone(Points):
    def split(self, name): ...


class SplitIsEmpty(Points):
    def split(self, name):
        return Columns({"points": points(0), "targets": torch.zeros(0, dtype=torch.long)})


class SplitRaises(Points):
    def split(self, name):
        return self.files[name]


class ColumnsOfTwoLengths(Points):
    def split(self, name):
        return Columns({"points": points(), "targets": torch.arange(7) % 2})


class ColumnsOfLists(Points):
    def split(self, name):
        return Columns({"points": points().tolist(), "targets": [0, 1] * 4})


class NoTargets(Points):
    def split(self, name):
        return Columns({"points": points()})


class OtherColumnsOnDev(Points):
    def split(self, name):
        return Columns({"points" if name == "train" else "point": points(), "targets": torch.arange(8) % 2})


class TargetsTooHigh(Points):
    def split(self, name):
        return Columns({"points": points(), "targets": torch.arange(8)})


class PointsNotNumbers(Points):
    def split(self, name):
        return Columns({"points": points() * math.nan, "targets": torch.arange(8) % 2})


class FactsNotTold(Points):
    facts = {}


class FactsTensor(Points):
    facts = {"num_inputs": torch.tensor(3)}


class FactsList(Points):
    facts = ["num_inputs"]


class FactsRaise(Points):
    @property
    def facts(self):
        return {"num_inputs": {}["size"]}


class StateNotPlain(Points):
    def state(self):
        return {"sizes": {3}}


class StateChangedByJson(Points):
    def state(self):
        return {"words": {1: "to"}}


class StateIsNone(Points):
    def state(self): ...


class StateRaises(Points):
    def state(self):
        return {"words": self.words}


class StateNotRestored(Points):
    def __init__(self):
        self.words = []

    def split(self, name):
        self.words = ["to"]
        return super().split(name)

    def state(self):
        return {"words": self.words}


class RestoreRaises(Points):
    def state(self):
        return {"words": ["to"]}

    def restore(self, state):
        self.words = state["word"]


class FingerprintNumber(Points):
    def fingerprint(self):
        return 3


class FingerprintRaises(Points):
    def fingerprint(self):
        return self.digest


class NoFingerprint(Points):
    fingerprint = None


class MisspelledPadding(Points):
    padding = {"points": 0.0}


class Line(nn.Module):
    def __init__(self, num_inputs: int):
        super().__init__()
        self.score = nn.Linear(num_inputs, 2)

    def forward(self, points):
        return self.score(points)


class NoSuchColumn(Line):
    def forward(self, pixels):
        return self.score(pixels)


class ColumnsByPosition(Line):
    def forward(self, *points):
        return self.score(points[0])


class NoForward(nn.Module):
    def __init__(self, num_inputs: int):
        super().__init__()
        self.score = nn.Linear(num_inputs, 2)


class ReturnsNone(Line):
    def forward(self, points):
        self.score(points)


class ReturnsTuple(Line):
    def forward(self, points):
        return self.score(points), points


class ForwardRaises(Line):
    def forward(self, points):
        return self.scores(points)


class WrongShape(Line):
    def forward(self, points):
        return self.score(points.t())


class NoParameters(nn.Module):
    def __init__(self, num_inputs: int):
        super().__init__()

    def forward(self, points):
        return points


class Frozen(Line):
    def __init__(self, num_inputs: int):
        super().__init__(num_inputs)
        self.requires_grad_(False)


class LateParameters(Line):
    def forward(self, points):
        self.late = nn.Parameter(torch.ones(2))
        return self.score(points) * self.late


class LossVector(Line):
    def loss(self, outputs, targets):
        return nn.functional.cross_entropy(outputs, targets, reduction="none")


class LossNotNumber(Line):
    def loss(self, outputs, targets):
        return outputs.sum() * math.nan


class LossFloat(Line):
    def loss(self, outputs, targets):
        return float(nn.functional.cross_entropy(outputs, targets))


class LossNone(Line):
    def loss(self, outputs, targets):
        nn.functional.cross_entropy(outputs, targets)


class LossWithoutGraph(Line):
    def loss(self, outputs, targets):
        return nn.functional.cross_entropy(outputs.detach(), targets)


class LossOfNoSuchColumn(Line):
    def loss(self, outputs, weights):
        return outputs.sum()


class LossIsLayer(Line):
    def __init__(self, num_inputs: int):
        super().__init__(num_inputs)
        self.loss = nn.MSELoss()


class LossMisspelled(Line):
    def los(self, outputs, targets):
        return outputs.sum()


class LossRaises(Line):
    def loss(self, outputs, targets):
        return outputs[targets + 100]


class PredictsTooFew(Line):
    def predict(self, outputs):
        return outputs.argmax(-1)[1:]


class PredictsNone(Line):
    def predict(self, outputs): ...


class PredictRaises(Line):
    def predict(self, outputs):
        return outputs.argmax(7)


class NoInit(nn.Module):
    def __init__(self, num_inputs: int):
        self.score = nn.Linear(num_inputs, 2)


class NoModule:
    def __init__(self, num_inputs: int): ...


class FactNobodyTells(Line):
    def __init__(self, num_inputs: int, num_colors: int):
        super().__init__(num_inputs)


class DefaultRefused(Line):
    def __init__(self, num_inputs: int, *, width: Positive = 0):
        super().__init__(num_inputs)


class ExtraState(Line):
    def get_extra_state(self):
        return {"seen": 3}

    def set_extra_state(self, state): ...


class LazyLayer(nn.Module):
    def __init__(self, num_inputs: int):
        super().__init__()
        self.score = nn.LazyLinear(2)

    def forward(self, points):
        return self.score(points)


class WeightsNotNumbers(Line):
    def __init__(self, num_inputs: int):
        super().__init__(num_inputs)
        nn.init.constant_(self.score.weight, math.nan)


class Learn:
    def __init__(self, model, data):
        self.model, self.steps_per_epoch, self.seen = model, None, 0
        self.columns = data.split("train").columns
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def steps(self):
        while True:
            yield self.step()

    def step(self):
        loss = nn.functional.cross_entropy(self.model(self.columns["points"]), self.columns["targets"])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.seen += 1
        return {"loss": loss.detach()}

    def log_values(self):
        return {}

    def on_score(self, score, goal): ...

    def state_dict(self):
        return {"seen": self.seen, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state):
        self.seen = state["seen"]
        self.optimizer.load_state_dict(state["optimizer"])


class NoSteps(Learn):
    steps = None


class StepsEnd(Learn):
    def steps(self):
        yield from ()


class StepsEndAfterOne(Learn):
    def steps(self):
        yield self.step()


class StepsAreList(Learn):
    def steps(self):
        return [self.step()]


class YieldsNone(Learn):
    def steps(self):
        while True:
            yield None


class YieldsNumber(Learn):
    def steps(self):
        while True:
            yield self.step()["loss"]


class YieldsFloat(Learn):
    def step(self):
        return {"loss": float(super().step()["loss"])}


class YieldsVector(Learn):
    def step(self):
        return {"loss": super().step()["loss"].expand(3)}


class YieldsGraph(Learn):
    def step(self):
        return {"loss": super().step()["loss"] + self.model(self.columns["points"]).sum()}


class YieldsNameless(Learn):
    def step(self):
        return {1: super().step()["loss"]}


class StepRaises(Learn):
    def step(self):
        return {"loss": self.losses[0]}


class ModelIsNone(Learn):
    def __init__(self, model, data):
        super().__init__(model, data)
        self.model = None


class ModelIsWrapped(Learn):
    def __init__(self, model, data):
        super().__init__(nn.Sequential(model), data)
        self.model.forward = model.forward


class OptimizerOfOthers(Learn):
    def __init__(self, model, data):
        super().__init__(model, data)
        self.optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1)


class OptimizersOfAPart(Learn):
    def __init__(self, model, data):
        super().__init__(model, data)
        self.optimizers = [torch.optim.SGD([model.score.weight], lr=0.1)]
        self.optimizer = self.optimizers[0]


class NeverUpdates(Learn):
    def step(self):
        loss = self.model(self.columns["points"]).sum()
        loss.backward()
        return {"loss": loss.detach()}


class StateWithLambda(Learn):
    def state_dict(self):
        return {**super().state_dict(), "loss": lambda: 0}


class StateWithTuple(Learn):
    def state_dict(self):
        return {**super().state_dict(), "pair": Pair(1, 2)}


class TrainerStateIsNone(Learn):
    def state_dict(self): ...


class StateLacksKey(Learn):
    def state_dict(self):
        return {"optimizer": self.optimizer.state_dict()}


class StateLacksOptimizer(Learn):
    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


class StateIsIgnored(Learn):
    def load_state_dict(self, state): ...


class TrainerStateRaises(Learn):
    def state_dict(self):
        return {"schedule": self.schedule.state_dict()}


class OnScoreRaises(Learn):
    def on_score(self, score, goal):
        self.schedule.step(score)


class LogsTensors(Learn):
    def log_values(self):
        return {"lr": torch.tensor(0.1)}


class LogsAMetric(Learn):
    def log_values(self):
        return {"lr": 0.1, "loss": 7.0}


class LogValuesRaise(Learn):
    def log_values(self):
        return {"lr": self.lr}


class NoStepsInAnEpoch(Learn):
    def __init__(self, model, data):
        super().__init__(model, data)
        self.steps_per_epoch = 0


class HalfStepsInAnEpoch(NoStepsInAnEpoch):
    def __init__(self, model, data):
        super().__init__(model, data)
        self.steps_per_epoch = 8 / 3


class TotalStepsAsText(Learn):
    total_steps = "all"


class HalfOfAPair(Learn):
    def state_blocks(self):
        return {}


class Judge:
    primary, goal = "score", "max"

    def evaluate(self, model, examples):
        right = [predictions == batch["targets"] for batch, _, predictions in examples.predictions(model)]
        return {"score": float(torch.cat(right).float().mean())}

    def write(self, folder): ...

    def sample(self, folder, step): ...


class UnknownGoal(Judge):
    goal = "highest"


class NoGoal(Judge):
    goal = None


class PrimaryNotReturned(Judge):
    primary = "accuracy"


class PrimaryIsNumber(Judge):
    primary = 1


class EvaluatesToNone(Judge):
    def evaluate(self, model, examples): ...


class EvaluatesToList(Judge):
    def evaluate(self, model, examples):
        return [0.5]


class EvaluatesToText(Judge):
    def evaluate(self, model, examples):
        return {"score": "good"}


class EvaluatesToVector(Judge):
    def evaluate(self, model, examples):
        return {"score": torch.ones(2)}


class EvaluateRaises(Judge):
    def evaluate(self, model, examples):
        return {"score": self.count / 8}


class EvaluateTakesNoExamples(Judge):
    def evaluate(self, model):
        return {"score": 1.0}


class LeavesTrainingMode(Judge):
    def evaluate(self, model, examples):
        model.train()
        return {"score": 1.0}


class ChangesWeights(Judge):
    def evaluate(self, model, examples):
        nn.init.zeros_(model.score.weight)
        return {"score": 1.0}


class WriteRaises(Judge):
    def write(self, folder):
        self.figure.save(folder)


class WritesText(Judge):
    def write(self, folder):
        return "done"


class SampleRaises(Judge):
    def sample(self, folder, step):
        self.figure.save(folder)


class SampleOfNoStep(Judge):
    def sample(self, folder): ...


class NoWrite(Judge):
    write = None


class JudgeRaises(Judge):
    def __init__(self):
        self.table = {}["table"]


class NeverNumber(Judge):
    def evaluate(self, model, examples):
        return {"score": math.nan}


class Watch:
    @hookimpl
    def dlpipe_run_end(self): ...


class NoHook:
    def on_step(self, step): ...


class MisspelledHook(Watch):
    @hookimpl
    def dlpipe_step_loged(self, step): ...


class UnmarkedHook(Watch):
    def dlpipe_step_logged(self, step): ...


class UnknownArgument(Watch):
    @hookimpl
    def dlpipe_step_logged(self, loss): ...


class HookOfPlugins(Watch):
    @hookimpl
    def dlpipe_models(self): ...


class HookYields(Watch):
    @hookimpl
    def dlpipe_step_logged(self):
        yield


class HookIsAsync(Watch):
    @hookimpl
    async def dlpipe_step_logged(self): ...


class WatchRaises(Watch):
    def __init__(self):
        self.file = open("nowhere/log.txt")


class ChangesMetrics(Watch):
    @hookimpl
    def dlpipe_step_logged(self, metrics):
        metrics["train/loss"] = 0.0


class RaisesAtStart(Watch):
    @hookimpl
    def dlpipe_run_start(self):
        self.missing.append(0)


class RaisesAtLog(Watch):
    @hookimpl
    def dlpipe_step_logged(self):
        self.missing.append(0)


class RaisesAtEpoch(Watch):
    @hookimpl
    def dlpipe_epoch_end(self):
        self.missing.append(0)


class RaisesAtEvaluation(Watch):
    @hookimpl
    def dlpipe_evaluated(self):
        self.missing.append(0)


class RaisesAtCheckpoint(Watch):
    @hookimpl
    def dlpipe_checkpoint_saved(self):
        self.missing.append(0)


class RaisesAtEnd(Watch):
    @hookimpl
    def dlpipe_run_end(self):
        self.missing.append(0)


def offered(spec, first, **options):
    """Return the records of a class, those that inherit from it, and those that should."""
    kinds = [kind for kind in globals().values() if isinstance(kind, type) and kind_of(kind) is first]
    return [
        spec(re.sub("(?<!^)(?=[A-Z])", "_", kind.__name__).lower(), f":{kind.__name__}", "", **options)
        for kind in kinds
    ]


def kind_of(kind):
    others = {NoForward: Line, NoParameters: Line, NoInit: Line, NoModule: Line, LazyLayer: Line, NoHook: Watch}
    return next(
        (first for first in (Points, Line, Learn, Judge, Watch) if issubclass(others.get(kind, kind), first)), None
    )


@hookimpl
def dlpipe_data():
    return offered(DataSpec, Points, facts=("num_inputs",))


@hookimpl
def dlpipe_models():
    return offered(ModelSpec, Line)


@hookimpl
def dlpipe_trainers():
    return offered(TrainerSpec, Learn)


@hookimpl
def dlpipe_evaluators():
    return offered(EvaluatorSpec, Judge)


@hookimpl
def dlpipe_callbacks():
    return offered(CallbackSpec, Watch)
