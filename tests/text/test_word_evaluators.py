"""The evaluators of word vectors: analogies, similarity, neighbors, map, files."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from dlpipe import figures
from dlpipe.compute import Compute
from dlpipe.errors import DataError, InputError
from dlpipe.evaluation import Examples
from dlpipe_text.analogies import Analogies, read_questions
from dlpipe_text.corpus import Corpus
from dlpipe_text.nearest_neighbors import NearestNeighbors
from dlpipe_text.vector_file import VectorFile, vectors_in
from dlpipe_text.word_map import WordMap, plane
from dlpipe_text.word_similarity import WordSimilarity, interval, read_pairs, spearman
from dlpipe_text.word_vectors import WordVectors
from dlpipe_text.write_vectors import WriteVectors

WORDS = ["man", "woman", "king", "queen", "uncle", "aunt", "蘋果"]
#: man and woman differ in the last number, and so do the other pairs, which differ in the first two.
VECTORS = [[1, 0, 1], [1, 0, -1], [0, 1, 1], [0, 1, -1], [-1, 0, 1], [-1, 0, -1], [0, -1, 0.1]]


def examples_of(words, questions=(), **options) -> Examples:
    corpus = Corpus(
        lambda: iter([" ".join(reversed(words))]), str, min_count=1, unit="blank", questions=questions, **options
    )
    assert corpus.facts["words"] == list(words)
    return Examples(corpus, "test", Compute(torch.device("cpu")))


@pytest.fixture
def model() -> WordVectors:
    model = WordVectors(WORDS, vector_size=3)
    model.vectors.copy_(torch.tensor(VECTORS))
    return model


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_analogies_by_section_with_coverage(model, write, tmp_path):
    path = write(
        ": family\r\nman woman king queen\r\nMan Woman Uncle Aunt\nman woman king aunt\n: other\nman woman a b\n"
    )
    evaluator = Analogies(questions=path, write_answers=True)

    metrics = evaluator.evaluate(model, examples_of(WORDS))
    evaluator.write(tmp_path)

    assert metrics == {"accuracy": 2 / 3, "coverage": 3 / 4, "accuracy_of_all": 1 / 2, "family": 2 / 3}
    assert table(tmp_path / "sections.csv") == [
        ["section", "questions", "covered", "right"],
        ["family", "3", "3", "2"],
        ["other", "1", "0", "0"],
    ]
    assert table(tmp_path / "answers.csv")[3] == ["family", "man", "woman", "king", "aunt", "queen", "0"]


def test_analogies_are_those_of_gensim(write):
    keyed = pytest.importorskip("gensim.models.keyedvectors")
    generator = torch.Generator().manual_seed(3)
    words = [f"w{number}" for number in range(40)]
    model = WordVectors(words, vector_size=3)
    model.vectors.copy_(torch.randn(40, 3, generator=generator))
    rows = torch.randint(0, 43, (400, 4), generator=generator).tolist()
    path = write(
        "".join((": s\n" if n % 99 == 0 else "") + " ".join(f"w{i}" for i in row) + "\n" for n, row in enumerate(rows))
    )
    theirs = keyed.KeyedVectors(3)
    theirs.add_vectors(words, model.vectors.numpy())

    accuracy, _ = theirs.evaluate_word_analogies(str(path))

    assert Analogies(questions=path).evaluate(model, examples_of(words))["accuracy"] == pytest.approx(accuracy)


def test_questions_come_from_the_data_if_no_file_is_given(model):
    questions = [("family", ("man", "woman", "king", "queen"))]

    assert Analogies().evaluate(model, examples_of(WORDS, questions))["accuracy"] == 1
    with pytest.raises(InputError, match='the data has no questions of its own; give a file: questions = "questions'):
        Analogies().evaluate(model, examples_of(WORDS))


def test_analogies_without_known_words_are_refused(model, write):
    with pytest.raises(
        InputError, match=r"none of the 1 questions, such as a b c d, has all its words in the vocabulary"
    ):
        Analogies(questions=write("a b c d\n")).evaluate(model, examples_of(WORDS))


def test_a_vocabulary_without_a_word_for_the_answer_is_refused(write):
    words = ["a", "b", "c"]

    with pytest.raises(InputError, match=r"a vocabulary of 3 words; expected at least 4, as those of the question are"):
        Analogies(questions=write("a b c a\n")).evaluate(WordVectors(words, vector_size=2), examples_of(words))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a b c d\na b c\n", r':2: "a b c" has 3 words; expected four, or a colon and the name of a section'),
        ("a b c d\n: coverage\n", r':2: the section "coverage" is named as a metric; rename it'),
        (": section\n\n", "no questions; expected four words in a line"),
        (b"\xff\xfe", "byte 0 is 0xff, not utf-8"),
    ],
)
def test_other_files_of_questions_are_refused(write, content, message):
    with pytest.raises(DataError, match=message):
        read_questions(write(content), "utf-8")


def test_a_file_of_questions_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=rf"{tmp_path}/no is not a folder; .* Correct the path"):
        read_questions(tmp_path / "no" / "questions.txt", "utf-8")
    with pytest.raises(DataError, match=r"cannot be read \(.*\)\. Check the path and its read permission"):
        read_questions(tmp_path, "utf-8")


def test_spearman_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 9, 60).astype(float), rng.normal(size=60)

    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    low, high = interval(first, first + second)
    assert low < spearman(first, first + second) < high
    assert spearman(np.ones(4), np.arange(4.0)) == 0


def test_similarity_with_coverage(model, write, tmp_path):
    path = write("word1\tword2\tscore\r\nman\tWoman\t1\r\nman\tuncle\t2\r\nking\tking\t10.0\r\nman\tapple\t3\r\n")
    evaluator = WordSimilarity(pairs=path)

    metrics = evaluator.evaluate(model, examples_of(WORDS))
    evaluator.write(tmp_path)

    assert metrics["coverage"] == 3 / 4
    assert metrics["spearman"] == pytest.approx(0.866, abs=1e-3)  # cosines 0, 0 and 1
    assert table(tmp_path / "pairs.csv")[1] == ["man", "Woman", "1.0", "0.0000"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [("a b 1\n# no\n\na,c,2\n", [("a", "b", 1), ("a", "c", 2)]), ("Word 1,Word 2,Mean\na,b,3", [("a", "b", 3)])],
)
def test_files_of_pairs(write, content, expected):
    assert read_pairs(write(content), "utf-8") == expected


def test_other_files_of_pairs_are_refused(model, write):
    with pytest.raises(DataError, match=r':2: "a b"; expected two words and a number, separated by tabs'):
        read_pairs(write("a b 1\na b\n"), "utf-8")
    with pytest.raises(DataError, match=r':1: "a b nan"; expected two words and a number'):
        read_pairs(write("a b nan\n"), "utf-8")
    with pytest.raises(DataError, match="no pairs; expected two words"):
        read_pairs(write("# only\n"), "utf-8")
    with pytest.raises(
        InputError, match=r"1 of 2 pairs, such as man and king, are in the vocabulary; expected at least 3"
    ):
        WordSimilarity(pairs=write("man king 1\na b 2\n")).evaluate(model, examples_of(WORDS))
    with pytest.raises(DataError, match="pairs is not given"):
        WordSimilarity()


def test_neighbors(model, tmp_path):
    evaluator = NearestNeighbors(of=["king", "蘋果"], count=2)

    evaluator.evaluate(model, examples_of(WORDS))
    evaluator.write(tmp_path)

    rows = table(tmp_path / "neighbors.csv")
    assert [row[:2] for row in rows[1:]] == [["king", "1"], ["king", "2"], ["蘋果", "1"], ["蘋果", "2"]]
    assert rows[1][2:] == ["man", "0.5000"]
    with pytest.raises(InputError, match='"kin" is not among the 7 words'):
        NearestNeighbors(of=["kin"]).evaluate(model, examples_of(WORDS))


def test_the_map_joins_pairs(model, tmp_path):
    evaluator = WordMap(words=["man woman", "king queen", "蘋果"])

    evaluator.evaluate(model, examples_of(WORDS))
    evaluator.write(tmp_path)

    rows = table(tmp_path / "map.csv")
    assert [row[1] for row in rows[1:]] == ["man", "woman", "king", "queen", "蘋果"]
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_words_that_no_font_can_show_are_code_points_on_the_map(model, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_fonts_for", lambda characters: ([], list(characters)))
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: drawn.extend(self.axes[0].texts))
    evaluator = WordMap(words=["man woman", "蘋果"])

    evaluator.evaluate(model, examples_of(WORDS))
    with pytest.warns(UserWarning, match=r"no installed font has 果, 蘋; figures show code points instead"):
        evaluator.write(tmp_path)

    assert [text.get_text() for text in drawn] == ["man", "woman", r"\u860b\u679c"]
    assert table(tmp_path / "map.csv")[3][:2] == ["2", "蘋果"]


def test_the_map_shows_a_section_or_frequent_words(model):
    questions = [("a", ("man", "woman", "king", "queen")), ("b", ("king", "queen", "x", "aunt"))]
    evaluator = WordMap(section="b")
    evaluator.evaluate(model, examples_of(WORDS, questions))
    assert evaluator._groups == [["king", "queen"]]

    evaluator = WordMap()
    evaluator.evaluate(model, examples_of(WORDS))
    assert evaluator._groups == [[word] for word in WORDS]

    with pytest.raises(InputError, match='section = "c": the sections are a, b'):
        WordMap(section="c").evaluate(model, examples_of(WORDS, questions))
    with pytest.raises(InputError, match='section = "c" has no effect with words'):
        WordMap(section="c", words=["man"])
    with pytest.raises(InputError, match='words: "a b c" has other than one or two words'):
        WordMap(words=["a b c"]).evaluate(model, examples_of(WORDS))


def test_the_plane_is_that_of_the_largest_variance():
    rows = torch.tensor([[0.0, 0, 1], [0, 3, 1], [2, 0, 1], [2, 3, 1]])

    distances = torch.cdist(plane(rows), plane(rows))

    torch.testing.assert_close(distances, torch.cdist(rows.double(), rows.double()))
    assert plane(torch.tensor([[1.0], [2.0]])).shape == (2, 2)


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_gensim_reads_the_files(model, tmp_path, kind):
    keyed = pytest.importorskip("gensim.models.keyedvectors")
    model.vectors.copy_(torch.randn(model.vectors.shape))
    evaluator = WriteVectors(format=kind)

    evaluator.evaluate(model, examples_of(WORDS))
    evaluator.write(tmp_path)

    path = tmp_path / {"text": "vectors.txt", "binary": "vectors.bin"}[kind]
    read = keyed.KeyedVectors.load_word2vec_format(str(path), binary=kind == "binary")
    assert read.index_to_key == WORDS
    assert np.array_equal(read.vectors, model.vectors.numpy())


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_blanks_in_words_are_written_as_underscores(write, tmp_path, kind):
    data = VectorFile(path=write("king 1 2\n. . . 3 4\nnew york 5 6\n"))
    model = WordVectors(data.facts["words"], vector_size=2)
    evaluator = WriteVectors(format=kind)
    evaluator.evaluate(model, Examples(data, "test", Compute(torch.device("cpu"))))

    with pytest.warns(
        UserWarning, match=r'2 words contain blanks, such as ". . ."; vectors\..* has "_" in their place'
    ):
        evaluator.write(tmp_path)

    path = tmp_path / {"text": "vectors.txt", "binary": "vectors.bin"}[kind]
    assert [word for word, _ in vectors_in(path)] == ["king", "._._.", "new_york"]


@pytest.mark.parametrize("evaluator", [Analogies(), NearestNeighbors(), WordMap(), WriteVectors()])
def test_other_models_are_refused(evaluator):
    with pytest.raises(
        InputError, match=r"got a model of type Linear and data of type Corpus; expected text.word_vectors"
    ):
        evaluator.evaluate(nn.Linear(2, 3), examples_of(WORDS))


def test_files_in_another_encoding(write, model):
    questions, pairs = write("爸 媽 王 后\n".encode("big5"), "q"), write("爸\t媽\t1\n".encode("big5"), "p")

    assert read_questions(questions, "big5") == [("questions", ("爸", "媽", "王", "后"))]
    assert read_pairs(pairs, "big5") == [("爸", "媽", 1.0)]
    with pytest.raises(DataError, match="not utf-8"):
        Analogies(questions=questions).evaluate(model, examples_of(WORDS))
    with pytest.raises(InputError, match=r"none of the 1 questions, such as 爸 媽 王 后"):
        Analogies(questions=questions, encoding="big5").evaluate(model, examples_of(WORDS))
    with pytest.raises(InputError, match=r"0 of 1 pairs, such as 爸 and 媽"):
        WordSimilarity(pairs=pairs, encoding="big5").evaluate(model, examples_of(WORDS))
