"""Vectors of an earlier stage in a classifier and in the tagger."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.engine.inference import open_run
from dlpipe.engine.prediction import predict
from dlpipe.errors import InputError, PipelineError
from dlpipe.registry.loading import load_plugins
from dlpipe_text.cnn_classifier import CNNClassifier
from dlpipe_text.pretrained import Pretrained
from dlpipe_text.rnn_classifier import RNNClassifier
from dlpipe_text.rnn_tagger import RNNTagger
from dlpipe_text.word_vectors import WordVectors

VOCABULARY = ["<pad>", "<other>", "good", "Bad", "unseen", "爛"]
SMALL = [
    "stages.vectors.data.num_reviews=60",
    "stages.vectors.data.min_count=1",
    "stages.classifier.data.num_train=40",
    "stages.classifier.data.num_dev=10",
    "stages.classifier.data.num_test=10",
    "stages.classifier.trainer.epochs=1",
]


def vectors() -> WordVectors:
    model = WordVectors(["bad", "good", "爛"], vector_size=3)
    model.vectors.copy_(torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]))
    return model


def weights_of(kind, **options):
    options = {"vectors": vectors(), "embed_dim": 3, **options}
    if kind == "tagger":
        return (model := RNNTagger(VOCABULARY, 4, ["O", "B"], **options)), model.features.bags["words"].weight
    model = {"rnn": RNNClassifier, "cnn": CNNClassifier}[kind](VOCABULARY, 2, **options)
    return model, model.embed.embed.weight


@pytest.mark.parametrize("kind", ["rnn", "cnn", "tagger"])
@pytest.mark.parametrize("freeze", [False, True])
def test_known_words_start_from_their_vectors(kind, freeze):
    model, weight = weights_of(kind, freeze_vectors=freeze)

    assert_close(weight[[2, 3, 5]].detach(), torch.tensor([[4.0, 5, 6], [1, 2, 3], [7, 8, 9]]))
    assert (weight[0] == 0).all()
    assert weight[4].abs().max() > 0
    assert weight.requires_grad is not freeze
    assert model.notes[0].startswith("3 of 4 units (75.0%) start from pre-trained vectors, the others from random ones")


def test_subwords_give_unknown_words_a_vector():
    fasttext = WordVectors(["bad"], vector_size=3, subwords=True, buckets=7)
    fasttext.ngrams.copy_(torch.randn(7, 3))

    model = RNNClassifier(VOCABULARY, 2, vectors=fasttext, embed_dim=3)

    assert model.notes[0].startswith("4 of 4 units (100.0%)")
    assert_close(model.embed.embed.weight[4].detach(), fasttext.vector_of("unseen"))


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="embed_dim = 100, but the vectors have 3 numbers; set embed_dim = 3"):
        RNNClassifier(VOCABULARY, 2, vectors=vectors())
    with pytest.raises(
        InputError, match=r"none of the 1 units, such as nix, has one of the 3 vectors; expected the same l"
    ):
        Pretrained(vectors(), ["<pad>", "<other>", "nix"], 3, freeze=False)
    with pytest.raises(InputError, match=r"vectors is a model of type Linear; expected text.word_vectors"):
        Pretrained(nn.Linear(2, 3), VOCABULARY, 3, freeze=False)


def test_options_without_effect_are_refused(root):
    pytest.importorskip("gensim")
    changes = ["stages.classifier.model={use='text.cnn_classifier',freeze_vectors=true}"]
    with pytest.raises(PipelineError, match=r"freeze_vectors = true has an effect only with vectors"):
        load_pipeline(root / "pipelines" / "sentiment_pretrained.toml", load_plugins(), changes)


def test_the_second_stage_predicts_without_a_corpus(root, tmp_path, monkeypatch):
    pytest.importorskip("gensim")
    registry = load_plugins()
    pipeline = load_pipeline(root / "pipelines" / "sentiment_pretrained.toml", registry, SMALL)
    folder = run(pipeline, registry, tmp_path).path
    monkeypatch.setattr("dlpipe_text.corpus.Corpus.sentences", lambda self: pytest.fail("the corpus was read"))
    monkeypatch.setattr(
        "dlpipe_text.labeled_text.LabeledText.texts", lambda self, split: pytest.fail("texts were read")
    )

    [answer] = predict(open_run(folder), [("", "the film is good")])
    [nearest] = predict(open_run(folder, stage="vectors"), [("", "good")])

    assert answer["label"] in ("positive", "negative")
    assert len(nearest["nearest"]) == 10
    assert "start from pre-trained vectors" in (folder / "log.txt").read_text()


def test_vectors_of_a_file_reach_the_tagger_in_another_run(root, tmp_path, write):
    words = ["from", "to", "boston", "denver", "on", "flights"]
    path = write("".join(f"{word} {number} 1 0.5\n" for number, word in enumerate(words)), "glove.txt")
    registry = load_plugins()
    loaded = write(
        f"""name = "loaded"
[data]
use = "text.vector_file"
path = {json.dumps(str(path))}
[model]
use = "text.word_vectors"
vector_size = 3
[trainer]
use = "text.load_vectors"
""",
        "loaded.toml",
    )
    folder = run(load_pipeline(loaded, registry), registry, tmp_path).path
    path.unlink()
    changes = [
        "data.num_train=40",
        "data.num_dev=10",
        "data.num_test=10",
        "model.embed_dim=3",
        f"model.vectors={{run={json.dumps(str(folder))}}}",
        "model.freeze_vectors=true",
        "trainer.epochs=1",
    ]

    tagger = run(load_pipeline(root / "pipelines" / "slot_filling.toml", registry, changes), registry, tmp_path).path

    weight = open_run(tagger).model.features.bags["words"].weight
    words_of = json.loads((tagger / "data.json").read_text())["state"]["words"]
    assert_close(weight[words_of.index("from")], torch.tensor([0.0, 1, 0.5]), check_device=False)
    assert "start from pre-trained vectors" in (tagger / "log.txt").read_text()
