from __future__ import annotations

import csv

import pytest
import sacrebleu
import torch
from PIL import Image
from torch import nn

from dlpipe.compute import Compute
from dlpipe.data import IGNORE_INDEX
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_text.flights import flights
from dlpipe_text.parallel_text import ParallelText
from dlpipe_text.seq2seq import Seq2Seq
from dlpipe_text.translation import Translation

TRUE = ["the cat sees the old dog here", "a dog", "the house is small and old, is it not?", "no"]
WRITTEN = ["the cat sees a old dog here", "a dog", "the house is small and old, is it?", "yes it is no"]
SOURCES = ["eins zwei drei vier fünf sechs", "eins zwei", "eins zwei drei vier fünf sechs sieben", "eins"]


class Writer(nn.Module):
    """A model that writes given texts, whatever it reads."""

    def __init__(self, data, texts):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        ids = {unit: number for number, unit in enumerate(data.facts["target_vocabulary"])}
        rows = {len(source.split()): data._units(text, 1) for source, text in zip(SOURCES, texts, strict=True)}
        self.rows = {length: [ids[unit] for unit in units] for length, units in rows.items()}

    def forward(self, tokens, lengths):
        return tokens

    def predict(self, outputs, lengths):
        found = torch.full((len(outputs), 30), IGNORE_INDEX)
        for row, length in enumerate(lengths.tolist()):
            found[row, : len(self.rows[length])] = torch.tensor(self.rows[length])
        return found


def of(texts=TRUE, **options):
    pairs = {"train": [*zip(SOURCES, texts, strict=True), ("eins", "yes it a . ?")]}
    pairs["test"] = pairs["train"][:4]
    return ParallelText(lambda split: pairs[split], ("train", "test"), **options)


def judged(data, model, **options):
    evaluator = Translation(**options)
    examples = Examples(data, "test", Compute(torch.device("cpu"), evaluation_batch_size=3))
    return evaluator, evaluator.evaluate(model, examples)


def test_the_scores_are_those_of_sacrebleu():
    data = of()
    _, metrics = judged(data, Writer(data, WRITTEN))

    assert metrics == pytest.approx(
        {
            "bleu": sacrebleu.corpus_bleu(WRITTEN, [TRUE]).score,
            "chrf": sacrebleu.corpus_chrf(WRITTEN, [TRUE]).score,
            "exact": 0.25,
            "length_ratio": 23 / 21,
        }
    )


def test_right_translations_have_full_scores():
    data = of()
    _, metrics = judged(data, Writer(data, TRUE))

    assert metrics == pytest.approx({"bleu": 100.0, "chrf": 100.0, "exact": 1.0, "length_ratio": 1.0})


def test_texts_are_compared_in_the_form_of_the_data():
    data = of(["THE cat  sees", *TRUE[1:]], lowercase=True)
    _, metrics = judged(data, Writer(data, ["the cat sees", *TRUE[1:]]))

    assert metrics["exact"] == 1.0


def test_chinese_is_split_into_characters_if_asked():
    true, written = (["我不知道他去哪里" + end, *TRUE[1:]] for end in ("了", ""))
    data = of(true)

    _, metrics = judged(data, Writer(data, written), tokenize="zh")

    scores = [sacrebleu.corpus_bleu(written, [true], tokenize=tokenize).score for tokenize in ("zh", "13a")]
    assert metrics["bleu"] == pytest.approx(scores[0])
    assert scores[0] != pytest.approx(scores[1])


def test_the_worst_translations_come_first(tmp_path):
    data = of()
    evaluator, metrics = judged(data, Writer(data, WRITTEN))

    items = evaluator.write(tmp_path)

    assert [item.file for item in items] == ["translations.txt", "by_length.csv", "scores.txt"]
    lines = (tmp_path / "translations.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "3 of 4 texts are not as their target"
    assert lines[3:6] == ["source    eins", "true      no", "written   yes it is no"]
    scores = [float(line.removeprefix("chrF ")) for line in lines if line.startswith("chrF")]
    assert scores == sorted(scores)
    rows = list(csv.reader((tmp_path / "by_length.csv").open(encoding="utf-8")))
    assert [row[:2] for row in rows] == [["units of the source", "texts"], ["1 to 5", "2"], ["6 to 10", "2"]]
    report = (tmp_path / "scores.txt").read_text()
    assert f"BLEU = {metrics['bleu']:.2f}" in report
    assert "tok:13a" in report


def test_the_weights_of_what_was_written_are_drawn(tmp_path):
    data = of()
    torch.manual_seed(0)
    model = Seq2Seq(data.facts["vocab_size"], data.facts["target_vocabulary"], hidden_dim=4, embed_dim=4, max_length=6)
    evaluator, _ = judged(data, model, count=2)

    items = evaluator.write(tmp_path)

    assert items[0].file == "attention.png"
    assert Image.open(tmp_path / "attention.png", formats=["PNG"]).size[0] > 500
    shapes = [(len(source), len(written), tuple(weights.shape)) for source, written, weights in evaluator._attention]
    assert [shape for *_, shape in shapes] == [(written, source) for source, written, _ in shapes]
    assert sorted(source for source, *_ in shapes) == [1, 6]
    for _, _, weights in evaluator._attention:
        torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))


def test_nothing_is_drawn_without_attention(tmp_path):
    data = of()
    torch.manual_seed(0)
    model = Seq2Seq(data.facts["vocab_size"], data.facts["target_vocabulary"], attention="none", max_length=6)
    evaluator, _ = judged(data, model)

    assert [item.file for item in evaluator.write(tmp_path)] == ["translations.txt", "by_length.csv", "scores.txt"]


def test_other_data_is_refused():
    data = flights(num_train=20, num_dev=5, num_test=5)

    with pytest.raises(
        InputError, match=r"text.translation got data of type TaggedText; expected texts with translations, such as"
    ):
        Translation().evaluate(nn.Linear(1, 1), Examples(data, "test", Compute(torch.device("cpu"))))
