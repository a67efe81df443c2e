"""Starting from trained weights: what is taken over, what start untrained, what is refused."""

import hashlib
import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from dlpipe.config.pipeline import Start
from dlpipe.engine.starting_weights import (
    StartingModel,
    TrainedModel,
    load_start,
    require_same_facts,
)
from dlpipe.errors import InputError

START = Start(stage="pretrain")


class Classifier(nn.Module):
    """An embedding by word, a trunk, and scores of classes."""

    def __init__(self, vocabulary, num_classes, hidden_dim=5):
        super().__init__()
        self.embed = nn.Embedding(len(vocabulary), hidden_dim)
        self.norm = nn.BatchNorm1d(hidden_dim)
        self.head = nn.Linear(hidden_dim, num_classes)


def facts(words="a b c", labels="x y"):
    words, labels = words.split(), labels.split()
    return {"vocabulary": words, "vocab_size": len(words), "labels": labels, "num_classes": len(labels)}


def model(known, **options):
    return Classifier(known["vocabulary"], known["num_classes"], **options)


def started(known, theirs, start=START, *, own=None, options=None):
    """Start a model with the facts `known` from a trained one; return it, its weights before, and the message."""
    own = own or model(known, **(options or {}))
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    rebuild = lambda others: model({**known, **others}, **(options or {}))  # noqa: E731
    told = load_start(StartingModel(own, known, ["vocabulary", "num_classes"], rebuild), start, lambda _: theirs)
    return own.state_dict(), before, told


def trained(known, **options):
    return TrainedModel(model(known, **options), known)


def refused(match, *arguments, **options):
    with pytest.raises(InputError, match=match):
        started(*arguments, **options)


def test_every_weight_is_taken_over_where_the_data_is_the_same():
    theirs = trained(facts())
    theirs.model.norm.running_mean.fill_(0.7)

    own, _, told = started(facts(), theirs)

    assert all(own[name].equal(tensor) for name, tensor in theirs.model.state_dict().items())
    assert told == "start: 8 of 8 tensors from stage pretrain"


def test_scores_of_another_number_of_classes_start_anew():
    theirs = trained(facts())

    own, before, told = started(facts(labels="x y z"), theirs)

    assert own["head.weight"].equal(before["head.weight"])
    assert own["head.bias"].equal(before["head.bias"])
    assert own["embed.weight"].equal(theirs.model.embed.weight)
    assert told == (
        "start: 6 of 8 tensors from stage pretrain; new: head.weight, head.bias (num_classes: 2 there, 3 here)"
    )


@pytest.mark.parametrize("labels", ["x z", "y x"], ids=["other names", "another order"])
def test_scores_of_other_classes_start_anew_although_their_shape_fits(labels):
    theirs = trained(facts())

    own, before, told = started(facts(labels=labels), theirs)

    assert own["head.weight"].equal(before["head.weight"])
    assert "new: head.weight, head.bias (other labels: " in told


def test_the_vectors_of_known_words_are_taken_over_by_word():
    theirs = trained(facts("a b c d"))

    own, before, told = started(facts("d e a"), theirs)

    assert own["embed.weight"][0].equal(theirs.model.embed.weight[3])
    assert own["embed.weight"][1].equal(before["embed.weight"][1])
    assert own["embed.weight"][2].equal(theirs.model.embed.weight[0])
    assert told.endswith("; 2 of 3 rows of embed.weight by name (vocabulary: 4 there, 3 here)")


def test_the_vectors_of_as_many_other_words_are_taken_over_by_word():
    theirs = trained(facts("a b c"))

    own, before, _ = started(facts("a c e"), theirs)

    assert own["embed.weight"][1].equal(theirs.model.embed.weight[2])
    assert own["embed.weight"][2].equal(before["embed.weight"][2])


def test_a_vocabulary_without_a_common_word_starts_anew():
    theirs = trained(facts("a b c"))

    own, before, told = started(facts("e f"), theirs)

    assert own["embed.weight"].equal(before["embed.weight"])
    assert "new: embed.weight (vocabulary: 3 there, 2 here)" in told


def test_another_shape_that_the_data_does_not_explain_is_refused():
    shapes = r"embed.weight has the shape \(3, 4\) there and \(3, 5\) here; so differ norm.weight, norm.bias, "
    refused(
        f'{shapes}.*or leave such parts out: skip = \\["embed", "norm", "head"\\]',
        facts(),
        trained(facts(), hidden_dim=4),
    )


def test_names_that_one_of_both_lacks_are_refused_with_the_nearest():
    theirs = trained(facts())
    theirs.model.heads = theirs.model.head
    del theirs.model.head

    lacking = r'it lacks head.weight, head.bias. Did you mean "heads.weight"\?'
    unknown = r'it has heads.weight, heads.bias, which the model does not have. Did you mean "head.weight"\?'
    refused(
        f'start: stage pretrain does not fit the model: {lacking} {unknown} .*skip = \\["head", "heads"\\]',
        facts(),
        theirs,
    )


def test_a_part_is_left_out_on_both_sides():
    theirs = trained(facts())
    theirs.model.heads = theirs.model.head
    del theirs.model.head

    own, before, told = started(facts(), theirs, Start(stage="pretrain", skip=("head", "heads")))

    assert own["head.weight"].equal(before["head.weight"])
    assert own["embed.weight"].equal(theirs.model.embed.weight)
    assert told.endswith("; left out: head, heads")


def test_a_part_to_leave_out_that_nobody_has_is_refused():
    match = r'start.skip = "haed": Classifier has no layer or parameter of this name. Did you mean "head"\?'
    refused(match, facts(), trained(facts()), Start(stage="pretrain", skip=("haed",)))


def test_weights_of_which_none_is_used_are_refused():
    match = "stage pretrain has no weights that can be used: head.weight, head.bias would all start untrained"
    refused(match, facts(labels="x y z"), trained(facts()), Start(stage="pretrain", skip=("embed", "norm")))


def state_file(tmp_path, known, name="w.pth", change=lambda state: state):
    state = change(dict(model(known).state_dict()))
    path = tmp_path / name
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path, state


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors"])
def test_weights_come_from_a_file(tmp_path, name):
    path, state = state_file(tmp_path, facts(), name)

    own, _, told = started(facts(), None, Start(file=path))

    assert all(own[key].equal(tensor) for key, tensor in state.items())
    assert told.startswith("start: 8 of 8 tensors from ")


@pytest.mark.parametrize("container", ["state_dict", "model"])
def test_weights_come_from_what_a_training_script_has_saved(tmp_path, container):
    path, _ = state_file(tmp_path, facts(), change=lambda state: {container: state, "epoch": 3})

    _, _, told = started(facts(), None, Start(file=path))

    assert told.startswith("start: 8 of 8 tensors from ")


def test_scores_in_a_file_of_another_number_of_classes_start_anew(tmp_path):
    path, state = state_file(tmp_path, facts(labels="x y z"))

    own, before, told = started(facts(), None, Start(file=path))

    assert own["head.weight"].equal(before["head.weight"])
    assert own["embed.weight"].equal(state["embed.weight"])
    assert told.endswith("; new: head.weight, head.bias (num_classes is 2 here)")


def test_a_prefix_of_all_names_is_removed_if_they_fit_then(tmp_path):
    path, state = state_file(tmp_path, facts(), change=lambda state: {f"module.{k}": v for k, v in state.items()})

    own, _, told = started(facts(), None, Start(file=path))

    assert own["head.bias"].equal(state["module.head.bias"])
    assert told.endswith('(names without "module." in front)')


def test_a_prefix_is_added_if_the_names_fit_then(tmp_path):
    path, _ = state_file(tmp_path, facts())
    own = nn.Sequential(model(facts()))
    rebuild = lambda others: nn.Sequential(model({**facts(), **others}))  # noqa: E731

    told = load_start(StartingModel(own, facts(), ["num_classes"], rebuild), Start(file=path), lambda _: None)

    assert told.endswith('(names with "0." in front)')


def test_counters_of_batches_that_an_old_file_lacks_are_tolerated(tmp_path):
    path, _ = state_file(
        tmp_path, facts(), change=lambda state: {k: v for k, v in state.items() if "num_batches" not in k}
    )

    assert started(facts(), None, Start(file=path))[2].startswith("start: 7 of 8 tensors from ")


def test_weights_of_another_type_are_converted(tmp_path):
    path, state = state_file(tmp_path, facts(), change=lambda state: {k: v.to(torch.float64) for k, v in state.items()})

    own, _, _ = started(facts(), None, Start(file=path))

    assert own["head.weight"].dtype == torch.float32
    assert_close(own["head.weight"], state["head.weight"].float())


class Adapting(Classifier):
    def adapt_weights(self, weights):
        return {name.replace("classify", "head"): tensor for name, tensor in weights.items()}


def test_a_model_may_know_the_names_of_other_libraries(tmp_path):
    path, state = state_file(
        tmp_path, facts(), change=lambda state: {k.replace("head", "classify"): v for k, v in state.items()}
    )

    own, _, _ = started(facts(), None, Start(file=path), own=Adapting(facts()["vocabulary"], 2))

    assert own["head.bias"].equal(state["classify.bias"])


class Harmful:
    def __reduce__(self):
        return print, ("harm",)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"not weights", "cannot be loaded safely"),
        ({"epoch": 3}, "has no tensors by name"),
        ({"weights": Harmful()}, "cannot be loaded safely: .*"),
        ([1, 2], "has no tensors by name"),
    ],
    ids=["bytes", "numbers", "code", "list"],
)
def test_a_file_without_weights_is_refused(tmp_path, content, problem, capsys):
    path = tmp_path / "w.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)

    refused(rf'start = {{ file = "{re.escape(str(path))}" }} {problem}', facts(), None, Start(file=path))

    assert "harm" not in capsys.readouterr().out


def test_a_file_that_is_missing_is_refused(tmp_path):
    refused(
        r"does not exist; expected tensors by name in a .safetensors, .pth or .pt file",
        facts(),
        None,
        Start(file=tmp_path / "w.pt"),
    )


def test_a_download_is_not_made_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path))
    start = Start(url="https://example.org/w.pth", sha256="0" * 64)

    with pytest.raises(InputError, match=r"w.pth is missing and offline = true; fetch https://example.org/w.pth once"):
        load_start(StartingModel(model(facts()), facts(), [], lambda _: None), start, lambda _: None, offline=True)


def test_a_download_is_used_once_it_is_in_the_cache(tmp_path, monkeypatch):
    path, state = state_file(tmp_path, facts())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / digest[:16]).mkdir()
    path.rename(tmp_path / digest[:16] / "w.pth")
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path))
    own = model(facts())

    load_start(
        StartingModel(own, facts(), [], lambda _: None),
        Start(url="https://example.org/w.pth", sha256=digest),
        lambda _: None,
        offline=True,
    )

    assert own.head.bias.equal(state["head.bias"])


class Counted(nn.Module):
    """Scores of classes for counted words: its weights depend on both."""

    def __init__(self, vocabulary, num_classes):
        super().__init__()
        self.score = nn.Linear(len(vocabulary), num_classes)
        self.scale = nn.Parameter(torch.ones(1))


def test_weights_that_depend_on_words_and_classes_start_anew_if_both_are_others():
    known, there = facts("d e a", "y x"), facts("a b c d", "x y")
    own = Counted(known["vocabulary"], 2)
    before = own.score.weight.clone()
    theirs = TrainedModel(Counted(there["vocabulary"], 2), there)
    rebuild = lambda others: Counted(**{name: {**known, **others}[name] for name in ("vocabulary", "num_classes")})  # noqa: E731

    load_start(StartingModel(own, known, ["vocabulary", "num_classes"], rebuild), START, lambda _: theirs)

    assert own.score.weight.equal(before)


@pytest.mark.parametrize(
    ("words", "labels", "same_classes"), [("a b c", "x y", True), ("a b c", "y x", False), ("", "x y", True)]
)
def test_a_trained_model_may_be_used_in_another_that_reads_the_same_names(words, labels, same_classes):
    same = ["labels"] if same_classes else []
    require_same_facts("encoder", TrainedModel(nn.Identity(), facts()), facts(words, labels), same)


@pytest.mark.parametrize(
    ("words", "labels", "same_classes", "difference"),
    [
        ("a c b", "y x", False, 'vocabulary: number 1 is "b" there and "c" here'),
        ("a b", "x y", False, 'vocabulary: number 2 is "c" there and missing here'),
        ("a b c", "x y z", True, 'labels: number 2 is missing there and "z" here'),
    ],
)
def test_a_trained_model_is_not_used_in_another_that_reads_other_names(words, labels, same_classes, difference):
    theirs = TrainedModel(nn.Identity(), facts())

    with pytest.raises(InputError, match=f"encoder was trained with other {difference}; expected the same, since a"):
        require_same_facts("encoder", theirs, facts(words, labels), ["labels"] if same_classes else [])


@pytest.mark.parametrize("theirs", [(0.0, 1.0), [0.0, 1.0]])
def test_a_trained_model_may_be_used_where_the_named_facts_are_the_same(theirs):
    trained = TrainedModel(nn.Identity(), {"pixel_range": theirs, "image_shape": (3, 5, 5)})

    require_same_facts("features", trained, {"pixel_range": (0.0, 1.0), "image_shape": (3, 7, 7)}, ["pixel_range"])


@pytest.mark.parametrize(("theirs", "said"), [({"pixel_range": (-1.0, 1.0)}, r"\[-1.0, 1.0\]"), ({}, "null")])
def test_a_trained_model_is_not_used_where_a_named_fact_differs(theirs, said):
    trained = TrainedModel(nn.Identity(), theirs)

    with pytest.raises(
        InputError, match=rf"features was trained with pixel_range = {said}, and here it is \[0.0, 1.0\]"
    ):
        require_same_facts("features", trained, {"pixel_range": (0.0, 1.0)}, ["pixel_range"])
