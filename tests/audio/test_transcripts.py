from __future__ import annotations

import json
import re
import warnings

import pytest
import torch

from dlpipe.data import IGNORE_INDEX
from dlpipe.errors import DataError, InputError
from dlpipe_audio.digit_strings import digit_strings
from dlpipe_audio.tone_sentences import tone_sentences
from dlpipe_audio.transcribed import transcribed

from .conftest import audio, digits, tone

SMALL = {"num_words": 40, "num_speakers": 10, "sentences": 2}


def table(lines, suffix=".tsv"):
    return {f"list{suffix}": "\n".join("\t".join(line) for line in lines), **recordings()}


def recordings(count=6, seconds=0.5):
    return {f"{number}.wav": audio(tone(seconds - 0.02 * number, hertz=300 + 50 * number)) for number in range(count)}


def listed(texts, header=("path", "text"), *more):
    rows = [(f"{number}.wav", text, *(column[number] for column in more)) for number, text in enumerate(texts)]
    return table([header, *rows])


TEXTS = ["ab a", "ba", "a", "b a b", "aab", "bb"]


def test_a_sentence_is_written_letter_by_letter_with_the_blanks():
    data = tone_sentences(**SMALL)

    segments, columns = data.segments("train"), data.split("train")
    batch = columns.batch(torch.arange(len(columns)))

    assert data.facts["alphabet"][0] == " "
    for row, segment in enumerate(segments):
        assert "".join(data.named(batch["targets"][row])) == segment.word
        assert batch["targets_lengths"][row] == len(segment.word)
        assert segment.name.startswith(f"{segment.word}_{segment.speaker}_")
    assert data.present("", batch["targets"][0]) == {"text": segments[0].word}


def test_no_word_and_no_speaker_of_sentences_is_in_two_splits():
    data = tone_sentences(**SMALL)
    splits = [data.segments(split) for split in ("train", "dev", "test")]

    for parts in (lambda each: each.word.split(), lambda each: [each.speaker]):
        found = [{part for each in split for part in parts(each)} for split in splits]
        assert not found[0] & found[1]
        assert not found[0] & found[2]
        assert not found[1] & found[2]


def test_any_sentence_of_known_letters_can_be_synthesized():
    data = tone_sentences(**SMALL)

    assert len(data.encode("sanoki timu_12_0")["frames"]) > len(data.encode("sanoki_12_0")["frames"])
    for item in ("_1_0", " _1_0", "sanoki", "SANOKI_1_0", "sanoki_1_x"):
        with pytest.raises(
            InputError, match=r'expected WORDS_SPEAKER_NUMBER such as "sanoki timu_12_0", with words of'
        ):
            data.encode(item)


def test_recordings_of_a_table_are_held_out_although_no_text_occurs_twice(write):
    data = transcribed(write(listed(TEXTS)) / "list.tsv", test_size=0.3, dev_size=0.3, rate_hz=8000)

    assert {split: len(data.segments(split)) for split in data.splits} == {"train": 3, "dev": 1, "test": 2}


def test_speakers_of_a_table_are_held_out(write):
    files = listed(TEXTS, ("path", "text", "speaker"), ["ann", "bob", "ann", "cem", "bob", "ann"])

    data = transcribed(write(files) / "list.tsv", test_speakers=["bob"], dev_speakers=["cem"], rate_hz=8000)

    assert [segment.word for segment in data.segments("test")] == ["ba", "aab"]
    assert [segment.word for segment in data.segments("dev")] == ["b a b"]


def test_letters_are_small_and_blanks_single_unless_asked_otherwise(write):
    path = write(listed([" A  b ", *TEXTS[1:]])) / "list.tsv"

    found = [
        {each.word for split in ("train", "dev", "test") for each in data.segments(split)}
        for data in (transcribed(path, rate_hz=8000), transcribed(path, rate_hz=8000, lowercase=False))
    ]

    assert "a b" in found[0]
    assert "A b" in found[1]


def test_units_may_be_words_or_phones(write):
    files = listed(TEXTS, ("path", "text", "phones"), ["ey b ey", "b ey", "ey", "b ey b", "ey ey b", "b b"])
    path = write(files) / "list.tsv"

    words, phones = (
        transcribed(path, units=units, rate_hz=8000, test_size=0.0, dev_size=0.0) for units in ("words", "phones")
    )

    assert words.facts["alphabet"] == ["a", "aab", "ab", "b", "ba", "bb"]
    assert words.written(["ab", "a"]) == "ab a"
    assert phones.facts["alphabet"] == ["b", "ey"]
    assert phones.labels_of(phones.segments("train")[0]) == ["ey", "b", "ey"]


def test_phones_that_are_not_there_are_refused(write):
    data = transcribed(write(listed(TEXTS)) / "list.tsv", units="phones", rate_hz=8000)

    with pytest.raises(
        DataError, match=r"list\.tsv: 0\.wav has no phones; fill in the column phones, or choose other units"
    ):
        data.split("train")


@pytest.mark.parametrize(
    ("header", "text", "message"),
    [
        (("path", "word"), "a", "no column 'text'; there are path, word"),
        (("path", "text"), "", "path '0.wav', text ''; expected both to be filled in"),
        (("path", "text", "speker"), "a", "unknown column 'speker'. Did you mean \"speaker\"?"),
    ],
)
def test_a_table_without_transcripts_is_refused(write, header, text, message):
    files = table([header, ("0.wav", text, "ann")[: len(header)]])

    with pytest.raises(DataError, match=re.escape(message)):
        transcribed(write(files) / "list.tsv", rate_hz=8000).split("train")


def test_a_transcript_that_no_path_can_say_is_refused(write):
    texts = ["a" * 30, *TEXTS[1:]]  # 51 frames, and 30 letters with 29 blanks between them
    path = write(listed(texts)) / "list.tsv"
    options = {"rate_hz": 8000, "test_size": 0.0, "dev_size": 0.0}

    with pytest.raises(
        DataError,
        match=r"0\.wav: 51 frames, for 30 labels; expected at least 59, one for each label and one between two that are "
        r"the same\. Correct the transcript, or set a smaller features\.hop_ms",
    ):
        transcribed(path, **options).split("train")
    with pytest.warns(UserWarning, match="1 of 6 recordings of the train split cannot be used and are left out"):
        assert len(transcribed(path, **options, skip_bad=True).split("train")) == 5
    transcribed(path, **options, features={"hop_ms": 5.0}).split("train")


def test_augmentation_that_leaves_too_few_frames_is_refused(write):
    path = write(listed(["a" * 24, *TEXTS[1:]])) / "list.tsv"
    options = {"rate_hz": 8000, "test_size": 0.0, "dev_size": 0.0}

    transcribed(path, **options).split("train")
    with pytest.raises(
        DataError, match=r"51 frames, of which augment\.speed leaves 42, for 24 labels; expected at least 47"
    ):
        transcribed(path, **options, augment={"speed": 0.2}).split("train")


def test_augmentation_shortens_recordings_of_training_only(write):
    files = listed(["a" * 24, *TEXTS[1:]], ("path", "text", "split"), ["test", *5 * ["train"]])

    data = transcribed(write(files) / "list.tsv", rate_hz=8000, augment={"speed": 0.2})

    assert len(data.split("test")) == 1


def test_all_that_is_said_in_a_file_belongs_to_one_split(write):
    rows = [(f"{number % 6}.wav", text, str(0.1 * (number // 6)), "") for number, text in enumerate(3 * TEXTS)]
    path = write(table([("path", "text", "start", "end"), *rows])) / "list.tsv"

    data = transcribed(path, rate_hz=8000, test_size=0.3, dev_size=0.3)

    files = {split: {segment.file for segment in data.segments(split)} for split in data.splits}
    assert [len(files[split]) for split in ("train", "dev", "test")] == [3, 1, 2]
    assert len(set.union(*files.values())) == 6


def test_a_letter_and_its_accent_are_one_label_however_they_are_encoded(write):
    path = write(listed(["caf\u00e9", "cafe\u0301", *TEXTS[2:]])) / "list.tsv"

    data = transcribed(path, rate_hz=8000, test_size=0.0, dev_size=0.0)

    assert [segment.word for segment in data.segments("train")][:2] == 2 * ["caf\u00e9"]


def test_a_model_of_other_units_is_refused(write):
    path = write(listed(TEXTS)) / "list.tsv"
    letters, words = (transcribed(path, rate_hz=8000, units=units) for units in ("letters", "words"))

    with pytest.raises(InputError, match='units = "words": the model was trained to write letters'):
        words.restore(letters.state())
    assert words.fingerprint() != letters.fingerprint()


def test_labels_that_training_does_not_have_are_said_and_have_no_number(write):
    files = listed([*TEXTS[:5], "xya"], ("path", "text", "split"), [*5 * ["train"], "test"])
    data = transcribed(write(files) / "list.tsv", rate_hz=8000)

    with pytest.warns(
        UserWarning,
        match=r'training has no \["x", "y"\], which the test split has 2 times: no model writes what it was never shown',
    ):
        batch = data.split("test").batch(torch.tensor([0]))

    assert batch["targets"].tolist() == [[IGNORE_INDEX, IGNORE_INDEX, data.facts["alphabet"].index("a")]]


def test_a_trained_model_keeps_its_labels(write):
    path = write(listed(TEXTS)) / "list.tsv"
    state = json.loads(json.dumps(transcribed(path, rate_hz=8000).state()))
    other = write(listed(["zz"] * 6), "other") / "list.tsv"

    data = transcribed(other, rate_hz=8000)
    data.restore(state)

    assert data.facts["alphabet"] == state["alphabet"]
    assert data.named(torch.tensor([0, IGNORE_INDEX, 1])) == state["alphabet"][:2]


def strings(write, **options):
    folder = write(digits(("1", "2", "3"), takes=8))
    counts = {"num_train": 12, "num_dev": 6, "num_test": 6}
    return digit_strings(folder, **{**counts, **options})


def test_strings_are_of_one_speaker_and_of_recordings_of_their_split(write):
    data = strings(write, test_speakers=["bob"])

    for split, count in (("train", 12), ("dev", 6), ("test", 6)):
        segments = data.segments(split)
        assert len(segments) == count
        assert all(3 <= len(segment.word.split()) <= 7 for segment in segments)
        speakers = {segment.speaker for segment in segments}
        assert speakers == ({"bob"} if split == "test" else {"ann", "cem"})
        for segment in segments:
            assert {part.speaker for part in data.source._parts[segment.name]} == {segment.speaker}
    assert data.facts["alphabet"] == ["one", "three", "two"]
    assert any(
        first == second
        for each in data.segments("train")
        for first, second in zip(each.word.split(), each.word.split()[1:], strict=False)
    )


def test_the_parts_of_strings_are_those_of_the_official_split(write):
    data = strings(write)

    for split in data.splits:
        for segment in data.segments(split):
            takes = {
                int(part.name.removesuffix(".wav").rpartition("_")[2]) for part in data.source._parts[segment.name]
            }
            assert takes <= set(range(5)) if split == "test" else takes <= set(range(5, 8))


def test_a_string_sounds_the_same_each_time_and_is_longer_than_its_digits(write):
    data = strings(write)
    segment = data.segments("train")[0]

    first, again = data.source.waveform(segment), data.source.waveform(segment)

    parts = data.source._parts[segment.name]
    assert torch.equal(first, again)
    assert len(first) > sum(len(data.source._recordings.waveform(part)) for part in parts)
    assert data.fingerprint() == strings(write).fingerprint() != strings(write, max_digits=6).fingerprint()


def test_a_string_of_the_data_can_be_asked_for_by_its_name(write):
    data = strings(write)
    segment = data.segments("test")[1]

    frames = data.encode(segment.name)["frames"]

    assert torch.equal(
        frames,
        data.split("test")
        .columns["frames"]
        .gather(torch.arange(len(frames)) + len(data.encode(data.segments("test")[0].name)["frames"])),
    )
    with pytest.raises(
        InputError, match=r"'test_9_ann' is not a string of this data; expected one such as train_0_ann, or"
    ):
        data.encode("test_9_ann")


def test_a_least_number_of_digits_above_the_most_is_refused(write):
    with pytest.raises(InputError, match=r"min_digits = 8, max_digits = 7: expected a range, such as 3 and 7"):
        strings(write, min_digits=8)


def test_nothing_is_said_of_good_transcripts(write):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = transcribed(write(listed(TEXTS)) / "list.tsv", rate_hz=8000, test_size=0.0, dev_size=0.0)
        data.split("train")


def test_a_sentence_may_be_longer_than_a_word_but_not_a_lecture(write):
    files = {**listed(TEXTS), "5.wav": audio(tone(30)), "lecture.wav": audio(tone(61))}
    folder = write(files)
    data = transcribed(folder / "list.tsv", rate_hz=8000, test_size=0.0, dev_size=0.0)

    assert max(data.split("train").columns["frames"].lengths) > 2900
    data.encode(str(folder / "5.wav"))
    for read in (data.encode, lambda item: data.encode_content(item, files["lecture.wav"])):
        with pytest.raises(InputError, match=r"lecture\.wav: 61 s; expected at most 60 s"):
            read(str(folder / "lecture.wav"))
