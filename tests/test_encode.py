"""What data makes of an item at prediction is what training read: every data component of every plugin.

An item is written as a person would have it (a sentence, a file, a point), from an example of a split.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch
from PIL import Image

from dlpipe.compute import Compute
from dlpipe.data import Batches
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins
from dlpipe.registry.targets import load_target

from .audio.conftest import audio, digits
from .conftest import needs_packages_of

CONLL = "Mr. B-per\nSmith I-per\nflew O\n. O\n\nthe O\nUS B-loc\n, O\nnew\u00a0york B-loc\n\nRome B-loc\n! O\n"
ATIS = "BOS from boston to denver at 5 p.m. EOS\tO O B-from O B-to O B-time I-time O\n"


def pixels(count, channels=1, height=28, width=28, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


def pictures_as_files(data, split, folder):
    """Yield the number of each image of a split, and a file of it."""
    for row, picture in enumerate(data.pictures(split, torch.arange(len(data.names(split))))):
        path = folder / f"{split}-{row}.png"
        Image.fromarray((picture[0] if len(picture) == 1 else picture.permute(1, 2, 0)).numpy()).save(path)
        yield row, str(path)


def files_by_name(data, split, folder):
    """Yield the number of each image of a split, and the file that it comes from."""
    return ((row, str(folder / name)) for row, name in enumerate(data.names(split)))


def sentences(data, split, folder):
    return ((row, " ".join(words)) for row, (words, _) in enumerate(data.sentences(split)))


def texts(data, split, folder):
    return ((row, text) for row, (text, _) in enumerate(data.texts(split)))


def sequences(data, split, folder):
    features = data.split(split).columns["features"]
    numbers, marks = features.values[:-1].view(len(features), -1, 2).unbind(2)
    for row in range(len(features)):
        pairs = zip(numbers[row].tolist(), marks[row].tolist(), strict=True)
        yield row, " ".join(f"{number!r}{'*' if mark else ''}" for number, mark in pairs)


def first_numbers(data, split, folder):
    return enumerate(map(repr, data.split(split).columns["features"][:, 0, 0].tolist()))


def points(data, split, folder):
    rows = data.split(split).columns["points"].tolist()
    return ((row, f"{first!r} {second!r}") for row, (first, second) in enumerate(rows))


def faces(data, split, folder):
    """Yield numbers whose faces are replaced by those of a split: an item draws a face that no split has."""
    draw = data._face
    data._face = lambda name: draw(name.replace("predict", split))
    return ((row, str(row)) for row in range(len(data.split(split))))


def conll_folder(folder):
    (folder / "train.conll").write_text(CONLL, encoding="utf-8")
    (folder / "test.conll").write_text("Smith B-per\nhates O\nrome O\n. O\n", encoding="utf-8")


def atis_folder(folder):
    for split in ("train", "test"):
        (folder / f"atis.{split}.iob").write_text(ATIS * 3)


def asked(data, split, folder):
    return ((row, question.item) for row, question in enumerate(data.questions(split)))


def stories_folder(folder):
    story = "1 Mary went home.\n2 Tom's hat is red.\n3 Where is Mary? \thome\t1\n4 Is it red?\tyes\t2\n"
    for split in ("train", "valid", "test"):
        (folder / f"qa1_{split}.txt").write_text(story)


def translated(data, split, folder):
    return ((row, source) for row, (source, _) in enumerate(data.pairs(split)))


def parallel_folder(folder):
    for split in ("train", "dev", "test"):
        (folder / f"{split}.source").write_text("It's  a\tdog .\n很好。\na\x97 b\n", encoding="utf-8")
        (folder / f"{split}.target").write_text("Ein Hund.\ngood\nx\n", encoding="utf-8")


def labeled_folder(folder):
    (folder / "train.tsv").write_text("text\tlabel\nIt's GOOD\t1\n很差 。\t0\na\x97 b\t1\n" * 4, encoding="utf-8")
    (folder / "test.tsv").write_text('text\tlabel\n"quoted" Bad\t0\n', encoding="utf-8")


def idx_folder(folder):
    for prefix, count in (("train", 20), ("t10k", 5)):
        header = bytes([0, 0, 8, 3]) + b"".join(number.to_bytes(4, "big") for number in (count, 28, 28))
        content = header + pixels(count).numpy().tobytes()
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
        labels = bytes(number % 10 for number in range(count))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1]) + count.to_bytes(4, "big") + labels)


def cifar_folder(folder):
    for name, count in (("data_batch_1", 12), ("test_batch", 4)):
        rows = [bytes([number % 10]) + image.numpy().tobytes() for number, image in enumerate(pixels(count, 3, 32, 32))]
        (folder / f"{name}.bin").write_bytes(b"".join(rows))


def image_folders(folder):
    """Write images of every kind that can be mixed, of several sizes, one of them turned."""
    turned = Image.Exif()
    turned[0x0112] = 6
    for split in ("train", "test"):
        for label in ("a", "b"):
            target = folder / split / label
            target.mkdir(parents=True)
            grey = pixels(1, 1, 9, 13, seed=len(split + label))[0, 0].numpy()
            image = Image.fromarray(grey)
            image.save(target / "grey.png")
            image.convert("RGB").save(target / "turned.jpg", exif=turned)
            image.convert("P").save(target / "palette.gif")
            image.convert("RGBA").save(target / "alpha.png")
            Image.fromarray(grey.astype("uint16") * 200).save(target / "deep.png")
            Image.fromarray(grey.astype("float32") / 255).save(target / "float.tif")
            Image.new("L", (5, 6), 250).save(target / "light.bmp")


def spoken_folder(folder):
    for path, content in digits(words=("0", "1"), takes=6).items():
        (folder / path).write_bytes(content)


def spoken_table(folder):
    spoken_folder(folder)
    names = sorted(path.name for path in folder.iterdir())
    rows = [",".join((name, *name.split("_")[:2])) for name in names]
    (folder / "words.csv").write_text("\n".join(["path,word,speaker", *rows]))


def transcribed_table(folder):
    spoken_table(folder)
    rows = (folder / "words.csv").read_text().splitlines()[1:]
    (folder / "words.csv").write_text("\n".join(["path,text,speaker", *rows]))


def spoken(data, split, folder):
    """Yield the number of each word of a split, and a file of it."""
    for row in range(len(data.segments(split))):
        path = folder / f"{split}-{row}.wav"
        path.write_bytes(audio(data.waveform(split, row).numpy(), 16_000, subtype="FLOAT"))
        yield row, str(path)


def recordings(data, split, folder):
    return ((row, str(folder / segment.file)) for row, segment in enumerate(data.segments(split)))


def frames_of_recordings(data, split, folder):
    return ((row, str(folder / name)) for row, name in enumerate(data.names(split)))


def utterances(data, split, folder):
    return ((row, segment.name) for row, segment in enumerate(data.segments(split)))


def table_file(folder):
    rows = [
        f"{'' if row == 9 else 20 + row},{'Oslo' if row % 3 else 'Rome'},{row * 0.7},{row % 2}" for row in range(30)
    ]
    (folder / "rows.csv").write_text("\n".join(["age,city,weight,ill", *rows]))


def table_rows(data, split, folder):
    items = dict(data.read_items(folder / "rows.csv"))
    return enumerate(items[place] for place in data.names(split))


#: By component: options, what writes its files (given as `path`), and what yields items of a split.
CASES = {
    "text.flights": ({"num_train": 30, "num_dev": 10, "num_test": 10}, None, sentences),
    "text.iob": ({"dev_size": 1}, conll_folder, sentences),
    "text.atis": ({"dev_size": 1}, atis_folder, sentences),
    "text.reviews": ({"num_train": 30, "num_dev": 10, "num_test": 10, "ngrams": 2, "max_length": 9}, None, texts),
    "text.labeled": ({"unit": "trigram"}, labeled_folder, texts),
    "text.stories": ({"num_train": 30, "num_dev": 10, "num_test": 10}, None, asked),
    "text.babi": ({}, stories_folder, asked),
    "text.english_german": ({"num_train": 30, "num_dev": 10, "num_test": 10}, None, translated),
    "text.parallel": ({"unit": "subword", "num_subwords": 40, "lowercase": True}, parallel_folder, translated),
    "text.adding_problem": ({"length": 9, "num_train": 7, "num_dev": 3, "num_test": 3}, None, sequences),
    "text.impulse": ({"length": 5, "value": 0.1}, None, first_numbers),
    "core.table": (
        {"target": "ill", "task": "classification", "missing": "mean", "missing_indicator": True},
        table_file,
        table_rows,
    ),
    "vision.digits": ({"shuffle_pixels": True}, None, pictures_as_files),
    "vision.textures": ({"train_size": 30, "test_size": 10, "size": 9, "grain": 0.1}, None, pictures_as_files),
    "vision.mnist": ({"dev_size": 2}, idx_folder, pictures_as_files),
    "vision.idx": ({"normalize": "symmetric"}, idx_folder, pictures_as_files),
    "vision.cifar": ({"dev_size": 2}, cifar_folder, pictures_as_files),
    "vision.cifar10": ({"dev_size": 2}, cifar_folder, pictures_as_files),
    "vision.image_folder": ({"size": (8, 11)}, image_folders, files_by_name),
    "generative.manga_faces": ({"count": 20, "size": 16}, None, faces),
    "generative.gaussian_ring": ({"count": 20}, None, points),
    "audio.tone_words": ({"num_words": 40, "num_speakers": 10}, None, utterances),
    "audio.spoken_words": ({"num_words": 40, "num_speakers": 10}, None, spoken),
    "audio.folder": ({"rate_hz": 8000, "features": {"deltas": 2}}, spoken_folder, recordings),
    "audio.fsdd": ({"pairs": "same_word"}, spoken_folder, recordings),
    "audio.manifest": ({"rate_hz": 8000, "features": {"kind": "log_mel"}}, spoken_table, recordings),
    "audio.tone_sentences": ({"num_words": 40, "num_speakers": 10, "sentences": 2}, None, utterances),
    "audio.digit_strings": ({"num_train": 4, "num_dev": 2, "num_test": 2}, spoken_folder, utterances),
    "audio.transcribed": ({"rate_hz": 8000, "units": "words"}, transcribed_table, recordings),
    "audio.frames": ({"rate_hz": 8000, "features": {"hop_ms": 70.0}}, spoken_folder, frames_of_recordings),
}
#: These take no items: an agent acts in an environment, speech is generated without any, and a style transfer draws
#: pictures of any size by itself.
WITHOUT_ITEMS = {
    "rl.environment",
    "rl.catch",
    "rl.atari",
    "audio.tone_waveforms",
    "audio.waveforms",
    "vision.content_and_style",
}
#: These take words, not examples of their splits, and are checked by `test_a_word_is_encoded_as_its_row_of_the_vocabulary`.
OF_WORDS = {"text.corpus", "text.analogy_corpus", "text.review_corpus", "text.vector_file"}


def build(name, **options):
    tables = {"audio.manifest": "words.csv", "audio.transcribed": "words.csv", "core.table": "rows.csv"}
    if name in tables and "path" in options:
        options["path"] = options["path"] / tables[name]
    return load_target(load_plugins().components["data"][name].spec.target)(**options)


def test_every_data_component_is_checked():
    assert set(load_plugins().components["data"]) - WITHOUT_ITEMS - OF_WORDS == set(CASES)


@pytest.mark.parametrize("name", sorted(OF_WORDS))
def test_a_word_is_encoded_as_its_row_of_the_vocabulary(name, tmp_path):
    (tmp_path / "vectors.txt").write_text("Rome 1 2\n很 3 4\nrome 5 6\na\u0085b 1 1\n", encoding="utf-8")
    files = {"path": tmp_path / "vectors.txt"} if name in ("text.corpus", "text.vector_file") else {}
    options = files | ({"unit": "blank", "lowercase": False, "min_count": 1} if name == "text.corpus" else {})
    data, predicting = build(name, **options), build(name, **options)
    predicting.restore(data.state())

    batch = read_in_order(data.split("test"), training=False)

    assert len(data.facts["words"]) > 3
    for row, word in enumerate(data.facts["words"]):
        encoded = predicting.encode(word)
        assert encoded["words"][0] == batch["words"][row, 0] == row
        assert encoded["signs"].tolist() == [1] + [0] * 15


def test_data_without_items_says_so():
    with pytest.raises(InputError, match="takes no items; leave them out"):
        build("rl.catch").encode("17")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_item_is_encoded_as_the_example_that_training_reads(name, training, tmp_path):
    needs_packages_of(name)
    options, write, items_of = CASES[name]
    folder = tmp_path / "data"
    folder.mkdir()
    if write:
        write(folder)
    data = build(name, **options, **({"path": folder} if write else {}))
    state, predicting = data.state(), build(name, **options, **({"path": folder} if write else {}))
    predicting.restore(state)

    for split in data.splits:
        batch = read_in_order(data.split(split), training)
        items = list(items_of(data if items_of is not faces else predicting, split, Path(folder)))
        assert len(items) == len(data.split(split))
        for row, item in items:
            for column, encoded in predicting.encode(item).items():
                assert torch.equal(*same_padding(encoded, batch[column][row])), (split, row, item, column)


def read_in_order(split, training):
    """Return a whole split as one batch, prepared for evaluation or for training."""
    if not training:
        return next(iter(Batches(split, "full", Compute(torch.device("cpu")), bucket=False, training=False).epoch(0)))
    batch = split.batch(torch.arange(len(split)))
    return split.prepare(batch, torch.Generator(), True) if split.prepare else batch


def same_padding(encoded, example):
    """Return both with the same shape; what one of them lacks is padding, which is 0."""
    if encoded.dim() == 3:
        return encoded, example
    shape = [max(pair) for pair in zip(encoded.shape, example.shape, strict=True)]
    padded = [torch.zeros(shape, dtype=encoded.dtype) for _ in range(2)]
    for target, tensor in zip(padded, (encoded, example), strict=True):
        target[tuple(map(slice, tensor.shape))] = tensor
    return padded
