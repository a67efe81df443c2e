"""Asking a trained run about items: an answer for each, or why there is none."""

from __future__ import annotations

import warnings

import pytest
import torch

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.engine.inference import open_run
from dlpipe.engine.prediction import Predictor, predict
from dlpipe.errors import ComponentError, InputError, PluginError
from dlpipe.items import FailedItem, Item, from_arguments
from dlpipe.registry.loading import load_plugins

PLUGIN = """
import torch
from torch import nn
from dlpipe import DataSpec, InputError, ModelSpec, hookimpl
from dlpipe.data import Columns, Ragged, class_answer

class Points:
    facts = {"labels": ["low", "middle", "high"], "num_classes": 3}
    splits, text_items = ("train", "dev"), True
    def split(self, name):
        return Columns({"points": torch.arange(6.0)[:, None], "targets": torch.arange(6) % 3})
    def encode(self, item):
        if item == "raise":
            raise KeyError("color")
        if item in ("list", "dict"):
            return [1.0] if item == "list" else {"points": torch.zeros(2), "names": ["a", "b"]}
        if not item.replace(" ", "").replace("-", "").isdigit():
            raise InputError(f"{item!r}: expected numbers")
        return {"points": torch.tensor([float(part) for part in item.split()])}
    def present(self, item, prediction, probabilities, top=0):
        if item == "77":
            raise ValueError("unspeakable")
        return class_answer(self.facts["labels"], prediction, probabilities, top)
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Silent(Points):
    encode = present = None

class Many(Points):
    def expand(self, item):
        if item == "none":
            raise InputError("none: this folder is empty")
        return ["5", "-5"] if item in ("", "both") else [item]

class Plain(Points):
    def present(self, item, prediction):
        return {"number": int(prediction) if item != "9" else prediction} if item != "8" else None

class Steps(Points):
    paddings = {"steps": 0}
    def split(self, name):
        return Columns({"steps": Ragged(torch.arange(6.0), torch.arange(4)), "targets": torch.arange(4) % 3})
    def encode(self, item):
        return {"steps": super().encode(item)["points"]}
    def present(self, item, prediction):
        return {"numbers": prediction.tolist()}

class Parts(Points):
    def present(self, item, prediction, outputs):
        pair = [part.tolist() for part in outputs["pair"]]
        return {"points": outputs["points"].tolist(), "pair": pair, "common": outputs["common"]}

class Mean(nn.Module):
    calls, most = [], 1000
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(3))
    def forward(self, points):
        self.calls.append(len(points))
        if len(points) > self.most:
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB")
        if (points == 13).any():
            raise RuntimeError("unlucky")
        middle = points.mean(1, keepdim=True)
        return torch.cat([-middle, torch.zeros_like(middle), middle], 1) + self.bias

class Sure(Mean):
    def predict(self, outputs):
        return outputs.argmax(1)

class Nested(Mean):
    common = None
    def forward(self, points):
        return {"points": points, "pair": (points.long(), -points), "common": self.common}
    def predict(self, outputs):
        return outputs["points"]

class Tagger(Mean):
    def forward(self, steps):
        return torch.stack([steps, steps + 1], 2) + self.bias[:2]
    def predict(self, outputs):
        return outputs[:, :, 0]

class Levels(Tagger):
    def forward(self, steps):
        return steps.sum(1)[:, None, None] + self.bias[:, None]

class Following(Tagger):
    def predict(self, outputs):
        return outputs[:, :-1, 0] + 1

class Windowed(Tagger):
    def forward(self, steps):
        if steps.size(1) < 3: raise RuntimeError("too short for the window")
        return super().forward(steps)

class Known(Sure):
    def probabilities(self, outputs):
        return torch.nn.functional.one_hot(outputs.argmax(1), 3).float()

class Cooled(Mean):
    def probabilities(self, outputs):
        return (outputs @ torch.eye(3) / 100).softmax(1)  # a product that autocast would round

@hookimpl
def dlpipe_data(): return [DataSpec("points", ":Points", "points"), DataSpec("plain", ":Plain", "points"),
    DataSpec("many", ":Many", "points"), DataSpec("silent", ":Silent", "points"),
    DataSpec("parts", ":Parts", "points"), DataSpec("steps", ":Steps", "steps")]
@hookimpl
def dlpipe_models():
    names = ("Mean", "Sure", "Known", "Cooled", "Nested", "Tagger", "Levels", "Following", "Windowed")
    return [ModelSpec(name.lower(), f":{name}", "mean") for name in names]
"""
PIPELINE = """
name = "points"
plugins = ["./toy.py"]
device = "cpu"
[data]
use = "toy.points"
[model]
use = "toy.mean"
[trainer]
use = "core.no_training"
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a function that opens an untrained run of a model and data; it is made once."""
    folder, runs = tmp_path_factory.mktemp("points"), {}
    (folder / "toy.py").write_text(PLUGIN)
    (folder / "points.toml").write_text(PIPELINE)

    def trained(model="mean", data="points", changes=()):
        if (model, data) not in runs:
            uses = [f"model.use=toy.{model}", f"data.use=toy.{data}"]
            pipeline = load_pipeline(folder / "points.toml", load_plugins(), uses, allow_local_plugins=True)
            runs[model, data] = run(pipeline, load_plugins(), folder / "runs").path
        opened = open_run(runs[model, data], assignments=changes, allow_local_plugins=True)
        opened.model.calls.clear()
        return opened

    return trained


def ask(trained, *texts, **options):
    return list(predict(trained, from_arguments(texts), **options))


def lines(answers):
    return [str(each) if isinstance(each, FailedItem) else each["label"] for each in answers]


def test_an_item_that_cannot_be_encoded_does_not_spoil_the_others(trained):
    answers = ask(trained(), "5", "five", "-5", "raise")

    assert lines(answers)[:3] == ["high", "item 2: 'five': expected numbers", "low"]
    assert isinstance(answers[1].error, InputError)
    assert isinstance(answers[3].error, ComponentError)
    assert answers[1].plain() == {"item": "five", "error": "'five': expected numbers"}


@pytest.mark.parametrize(("item", "found"), [("list", "list"), ("dict", "'names' as list")])
def test_an_item_that_is_encoded_as_something_else_is_the_fault_of_the_plugin(trained, item, found):
    answers = ask(trained(), "5", item)

    assert lines(answers) == [
        "high",
        f"item 2: [data] encode() returned {found}; expected a dict of tensors by column",
    ]


def test_data_that_cannot_encode_is_told_what_it_lacks(trained):
    with pytest.raises(
        InputError,
        match=r"^Silent cannot encode items; dlpipe asks its methods encode\(item\) and present\(item, prediction\)",
    ):
        Predictor(trained(data="silent"))


def test_a_file_of_a_folder_that_cannot_be_used_is_named_once_by_its_path(trained):
    opened = trained()
    opened.built.data.expand = lambda item: [f"{item}/a", f"{item}/b"] if item == "many" else [item]
    predictor = Predictor(opened)

    items = list(predictor.expanded(from_arguments(["5", "many"])))

    assert [item.place for item in items] == ["item 1", "many/a", "many/b"]
    assert str(FailedItem("many/a", "many/a", InputError("many/a: empty"))) == "many/a: empty"
    assert str(FailedItem("many/a", "many/a", InputError("of another shape"))) == "many/a: of another shape"


def test_items_of_another_shape_are_answered_by_themselves(trained):
    assert lines(ask(trained(), "5", "5 6", "-5", "-5 -6")) == ["high", "high", "low", "low"]


def test_an_item_that_the_model_cannot_take_fails_alone(trained):
    answers = ask(trained(), *map(str, range(1, 21)))

    assert [number for number, each in enumerate(answers, start=1) if isinstance(each, FailedItem)] == [13]
    assert "item 13: [model] RuntimeError: unlucky" in str(answers[12])


def test_an_answer_that_cannot_be_presented_fails_alone(trained):
    model = trained()

    answers = ask(model, "5", "77", "-5")

    assert lines(answers)[::2] == ["high", "low"]
    assert "item 2: [data] ValueError: unspeakable" in str(answers[1])
    assert model.model.calls == [3]  # the model is not asked again


def test_an_answer_that_is_not_plain_is_the_fault_of_the_plugin(trained):
    answers = ask(trained(data="plain"), "8", "9")

    assert all(isinstance(answer.error, PluginError) for answer in answers)
    expected = "expected a dict of plain values: numbers, strings, lists and dicts"
    reason = "what cannot be written (Object of type Tensor is not JSON serializable)"
    assert [str(answer) for answer in answers] == [
        f"item 1: [data] present() returned None; {expected}",
        f"item 2: [data] present() returned {reason}; {expected}",
    ]


def test_out_of_memory_makes_the_batches_smaller_and_is_said_once(trained, monkeypatch):
    model = trained()
    monkeypatch.setattr(type(model.model), "most", 70)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answers = ask(model, *["5"] * 400)

    assert lines(answers) == ["high"] * 400
    assert [str(each.message) for each in caught] == [
        "out of memory with 256 items at once; continuing with 128",
        "out of memory with 128 items at once; continuing with 64",
    ]
    assert model.model.calls[-3:] == [64, 64, 16]


def test_as_many_items_are_answered_together_as_the_pipeline_says(trained):
    model = trained(changes=["evaluation_batch_size=3"])

    answers = ask(model, *["5"] * 7)

    assert lines(answers) == ["high"] * 7
    assert model.model.calls == [3, 3, 1]


def test_an_item_that_is_too_large_for_the_memory_fails_alone(trained, monkeypatch):
    monkeypatch.setattr(type((model := trained()).model), "most", 0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = ask(model, "5", "6")

    assert lines(answers) == [f"item {number}: out of memory with this item alone" for number in (1, 2)]


def test_a_stream_is_read_batch_by_batch(trained):
    taken = 0

    def stream():
        nonlocal taken
        for taken in range(1, 100_001):
            yield Item(f"line {taken}", str(taken % 10))

    answers = predict(trained(), stream())
    ahead = max(taken - number for number, _ in enumerate(answers, start=1))

    assert taken == 100_000
    assert ahead < 256


def test_classes_have_the_probabilities_of_the_softmax(trained):
    (answer,) = ask(trained(), "2", top=2)

    shares = torch.tensor([-2.0, 0.0, 2.0]).softmax(0)
    assert answer == {
        "item": "2",
        "label": "high",
        "probability": round(float(shares[2]), 4),
        "top": [
            {"label": "high", "probability": round(float(shares[2]), 4)},
            {"label": "middle", "probability": round(float(shares[1]), 4)},
        ],
    }


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("tagger", [[5], [1, 2, 3], [4, 6], [7]]),
        ("levels", [[5, 5, 5], [6, 6, 6], [10, 10, 10], [7, 7, 7]]),
        ("following", [[], [2, 3], [5], []]),
        ("windowed", [[5], [1, 2, 3], [4, 6], [7]]),  # a model that cannot take the shorter items alone
    ],
)
def test_only_predictions_of_positions_are_cut_to_the_length_of_the_item(trained, model, expected):
    answers = ask(trained(model, "steps"), "5", "1 2 3", "4 6", "7")

    assert [answer["numbers"] for answer in answers] == expected


def test_each_item_gets_its_part_of_nested_outputs(trained):
    answers = ask(trained("nested", "parts"), "5", "-5")

    assert answers == [
        {"item": "5", "points": [5.0], "pair": [[5], [-5.0]], "common": None},
        {"item": "-5", "points": [-5.0], "pair": [[-5], [5.0]], "common": None},
    ]


def test_outputs_without_a_row_for_each_item_are_refused(trained):
    opened = trained("nested", "parts")
    opened.model.common = torch.zeros(3, 2)

    (answer, _) = ask(opened, "5", "-5")

    assert "the outputs of the model have a tensor of shape (3, 2) for 2 examples; expected" in str(answer)


def test_a_model_that_predicts_in_its_own_way_has_no_probabilities_unless_it_says_so(trained):
    assert ask(trained("sure"), "2") == [{"item": "2", "label": "high"}]
    assert ask(trained("known"), "2") == [{"item": "2", "label": "high", "probability": 1.0}]
    (refused,) = ask(trained("sure"), "2", top=1)
    assert "this model gives no probabilities: it has a predict() of its own" in str(refused)


def test_probabilities_are_computed_in_float32_whatever_the_precision_of_the_model(trained):
    (answer,) = ask(trained("cooled", changes=["precision='bfloat16'"]), "257")  # 256 in bfloat16

    shares = torch.tensor([-2.57, 0.0, 2.57]).softmax(0)
    assert answer == {"item": "257", "label": "high", "probability": round(float(shares[2]), 4)}


def test_more_classes_than_there_are_cannot_be_listed(trained):
    with pytest.raises(InputError, match="--top 4: this model has 3 classes; expected at most 3"):
        ask(trained(), "2", top=4)
    with pytest.raises(InputError, match=r'"toy.plain": the answers of this data are no classes .*; leave out --top'):
        ask(trained(data="plain"), "2", top=1)


def test_the_texts_of_a_folder_are_items_named_by_their_files(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts" / "deep").mkdir(parents=True)
    (tmp_path / "texts" / "b.txt").write_text("-5\n")
    (tmp_path / "texts" / "deep" / "a.txt").write_text("\ufeff5", encoding="utf-8")
    (tmp_path / "texts" / "deep" / "bad.txt").write_bytes(b"\xff5")
    (tmp_path / "texts" / "deep" / "image.png").touch()

    with pytest.warns(UserWarning, match=r"texts: left out 1 of 4 files: no texts \(.png\); expected .txt"):
        answers = ask(trained(), "texts/")

    assert [answer["item"] for answer in answers[:2]] == ["texts/b.txt", "texts/deep/a.txt"]
    assert lines(answers)[:2] == ["low", "high"]
    assert "texts/deep/bad.txt: cannot be read: it is not UTF-8 text" in str(answers[2])


def test_a_folder_without_a_slash_is_refused_rather_than_read_as_a_text(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "12").mkdir()

    as_argument = ask(trained(), "12", "12/", "", "5" * 9999)
    as_line = list(predict(trained(), [("line 1", "12")]))

    assert 'item 1: "12" is a folder; write "12/" for the texts in it' in str(as_argument[0])
    assert "item 2: 12: this folder contains no text (.txt); it is empty" in str(as_argument[1])
    assert str(as_argument[2]) == "item 3: '': expected numbers"  # and not the current folder
    assert as_argument[3]["label"] == "high"  # longer than any name of a file
    assert lines(as_line) == ["high"]  # only an argument may name a folder


def test_an_item_may_stand_for_several_or_for_none(trained):
    assert lines(ask(trained(data="many"), "both", "none", "6", "")) == [
        "high",
        "low",
        "item 2: none: this folder is empty",
        "high",
        "item 4: '': expected numbers",  # a blank line names no folder
    ]


def test_what_could_not_be_read_keeps_its_place(trained):
    unreadable = FailedItem("line 2", "?", InputError("not UTF-8"))

    answers = list(predict(trained(), iter([("line 1", "5"), unreadable, ("line 3", "-5")])))

    assert lines(answers) == ["high", "line 2: not UTF-8", "low"]
