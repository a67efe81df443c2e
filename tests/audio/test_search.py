"""Search by example: dlpipe predict with a trained encoder of words."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from safetensors import safe_open

from dlpipe.compute import Compute
from dlpipe.data import FailedItem
from dlpipe.errors import DataError, InputError
from dlpipe_audio.keyword_rnn import KeywordRNN
from dlpipe_audio.recorded_words import folder
from dlpipe_audio.search import search
from dlpipe_audio.seq2seq_autoencoder import Seq2SeqAutoEncoder

from .conftest import audio, digits, tone

CPU = Compute(torch.device("cpu"))


@pytest.fixture
def asked(write):
    """Return the model, the data and the folder of a search."""
    torch.manual_seed(0)
    path = write(digits())
    return Seq2SeqAutoEncoder(13, hidden_dim=8, vector_dim=6).eval(), folder(path, rate_hz=8000), path


def test_the_nearest_recording_of_a_word_is_itself(asked):
    model, data, path = asked

    answers = list(search(model, data, CPU, items=[str(path / "yes_bob_2.wav")], among=path, top=3))

    assert answers[0] == {
        "item": str(path / "yes_bob_2.wav"),
        "file": "yes_bob_2.wav",
        "cosine": pytest.approx(1.0, abs=1e-3),
        "seconds": 0.23,
    }
    assert len(answers) == 3
    assert answers[1]["cosine"] >= answers[2]["cosine"]


def test_folders_are_items_and_one_bad_item_does_not_spoil_the_answers_of_others(asked, write, tmp_path):
    model, data, path = asked
    items = write({"b.wav": b"hello", "c/d.wav": audio(tone()), "empty/a.txt": "x", "e.wav": audio(tone())}, "items")
    asked_for = [str(items / "empty"), str(items / "c"), "gone.wav", str(items)]

    with pytest.warns(UserWarning, match=r"left out 1 of 4 files"):
        answers = list(search(model, data, CPU, items=asked_for, among=path, top=1, output=tmp_path / "v.npy"))

    failed = [answer for answer in answers if isinstance(answer, FailedItem)]
    found = [answer for answer in answers if not isinstance(answer, FailedItem)]
    good = [str(items / name) for name in ("c/d.wav", "c/d.wav", "e.wav")]
    assert [answer.get("item") for answer in found] == [*good, None]
    assert found[-1] == {"written": str(tmp_path / "v.npy"), "vectors": 3 + 24}
    assert [each.item for each in failed] == [str(items / "empty"), "gone.wav", str(items / "b.wav")]
    for each, expected in zip(failed, ("this folder contains no", "cannot be read", "cannot be read"), strict=True):
        assert str(each).startswith(each.item)
        assert expected in str(each)


def test_without_an_item_that_can_be_used_nothing_is_searched_or_written(asked, tmp_path):
    model, data, path = asked

    (failed,) = search(model, data, CPU, items=["gone.wav"], among=path / "gone", output=tmp_path / "v.npy")

    assert failed.plain() == {
        "item": "gone.wav",
        "error": "gone.wav cannot be read: No such file or directory; expected an audio file",
    }
    assert list(tmp_path.glob("v.*")) == []


def test_a_word_is_found_where_it_is_in_a_long_recording(asked, write):
    model, data, _ = asked
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000).astype("float32")
    word = tone(0.4, hertz=700)
    long = np.concatenate([noise, word, noise, noise])
    query = write({"query.wav": audio(word), "long.wav": audio(long)}, "queries")

    best, *rest = search(model, data, CPU, items=[str(query / "query.wav")], inside=query / "long.wav", top=3)

    assert best["start_s"] == pytest.approx(1.0, abs=0.1)
    assert best["end_s"] == pytest.approx(1.4, abs=0.15)
    assert all(other["end_s"] <= best["start_s"] or other["start_s"] >= best["end_s"] for other in rest)


def test_vectors_are_written_with_their_names(asked, tmp_path):
    model, data, path = asked

    list(search(model, data, CPU, among=path, output=tmp_path / "words.npy"))
    list(search(model, data, CPU, among=path, output=tmp_path / "words.safetensors"))

    vectors = np.load(tmp_path / "words.npy", allow_pickle=False)
    names = (tmp_path / "words.tsv").read_text().splitlines()
    assert vectors.shape == (24, 6)
    assert names == sorted(file.name for file in path.iterdir())
    with safe_open(tmp_path / "words.safetensors", "numpy") as file:
        assert np.array_equal(file.get_tensor("vectors"), vectors)
        assert file.metadata()["0"] == names[0]


def test_a_name_that_is_not_utf8_is_written_with_escapes(asked, write, tmp_path):
    model, data, _ = asked
    folder = write({os.fsdecode(b"caf\xe9.wav"): audio(tone())}, "odd")

    list(search(model, data, CPU, among=folder, output=tmp_path / "words.npy"))
    list(search(model, data, CPU, among=folder, output=tmp_path / "words.safetensors"))

    assert (tmp_path / "words.tsv").read_text() == "caf\\udce9.wav\n"
    with safe_open(tmp_path / "words.safetensors", "numpy") as file:
        assert file.metadata()["0"] == "caf\\udce9.wav"


def test_vectors_are_averaged_with_those_of_neighbors_in_answers_and_files(asked, tmp_path):
    model, data, path = asked
    query = str(path / "yes_bob_2.wav")

    def searched(**options):
        output = tmp_path / f"{len(options)}.npy"
        answers = list(search(model, data, CPU, items=[query], among=path, top=24, output=output, **options))[:-1]
        return {each["file"]: each["cosine"] for each in answers}, torch.from_numpy(np.load(output))

    alone, _ = searched()
    together, vectors = searched(neighbors=3)

    names = (tmp_path / "1.tsv").read_text().splitlines()
    assert together != alone
    assert together["yes_bob_2.wav"] == pytest.approx(1.0, abs=1e-3)
    row = names.index("no_ann_0.wav")
    assert together["no_ann_0.wav"] == pytest.approx(float(vectors[0] @ vectors[row]), abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"give a recording to search for, or --output to write the vectors of --among"),
        ({"items": ["QUERY"]}, r"give --among FOLDER or --inside RECORDING to search in"),
        ({"items": ["gone.wav"], "output": "x.txt"}, r"--output x.txt: expected a name that ends in .npy or .safete"),
        (
            {"items": ["gone.wav"], "output": "old.npy"},
            r"old.tsv exists; remove it, or choose another name with --output",
        ),
        ({"items": ["gone.wav"], "output": "old.safetensors"}, r"old.safetensors exists; remove it, or choose another"),
        (
            {"items": ["gone.wav"], "output": "no/x.npy"},
            r"--output \S+no/x.npy: the folder \S+ does not exist; create it first",
        ),
        ({"items": ["QUERY"], "neighbors": 3, "output": "x.npy"}, r"--neighbors 3 are recordings of --among"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(asked, options, message):
    model, data, path = asked
    for name in ("old.tsv", "old.safetensors"):
        (path / name).write_text("precious")
    places = {name: value for name, value in options.items() if name == "neighbors"}
    places["items"] = [str(path / "yes_ann_0.wav") if item == "QUERY" else item for item in options.get("items", ())]
    if "output" in options:
        places["output"] = path / options["output"]
        message = message.replace("x.txt", r"\S+x.txt")

    with pytest.raises(InputError, match=message):
        list(search(model, data, CPU, **places))


def test_a_classifier_cannot_search(asked):
    _, data, path = asked

    with pytest.raises(InputError, match=r"KeywordRNN makes no vectors of words; use audio.seq2seq_autoencoder"):
        list(search(KeywordRNN(13, 2), data, CPU, items=["a.wav"], among=path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", r"data/bad.wav cannot be read as audio"),
        (audio(tone(0.0075)), r"data/bad.wav: 7.5 ms; expected at l"),
    ],
)
def test_a_bad_recording_among_others_is_named(asked, write, content, message):
    model, data, path = asked
    write({"bad.wav": content})

    with pytest.raises(DataError, match=message):
        list(search(model, data, CPU, items=[str(path / "yes_ann_0.wav")], among=path))


def test_a_recording_shorter_than_a_frame_contains_no_word(asked, write):
    model, data, path = asked
    short = write({"short.wav": audio(tone(0.0075))}, "queries") / "short.wav"

    with pytest.raises(DataError, match=r"short.wav: 7.5 ms; expected at least 16.1 ms for a frame of this length"):
        list(search(model, data, CPU, items=[str(path / "yes_ann_0.wav")], inside=short))
