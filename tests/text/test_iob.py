"""Labeled sentences from files: three formats, five tag schemes, and malformed files."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlpipe.errors import DataError
from dlpipe_text import iob
from dlpipe_text.chunks import chunks
from dlpipe_text.iob import to_iob2
from dlpipe_text.packed_sentences import PackedSentences

FLIGHT = (["fly", "to", "new", "york"], ["O", "O", "B-city", "I-city"])
YES = (["yes"], ["O"])
DENVER = (["denver", "please"], ["B-city", "O"])


def read_sentences(path):
    return list(iob.read_sentences(path))


def converted(tags):
    """Return the tags of sentences converted to IOB2."""
    return [found for _, found in to_iob2(PackedSentences.of((each, each) for each in tags))]


def as_columns(sentences, separator=" ", middle=()):
    """Write sentences as CoNLL columns."""
    rows = [[separator.join([word, *middle, tag]) for word, tag in zip(*each, strict=True)] for each in sentences]
    return "\n\n".join("\n".join(lines) for lines in rows) + "\n"


def as_lines(sentences):
    """Write sentences as words<TAB>tags."""
    return "".join(f"{' '.join(words)}\t{' '.join(tags)}\n" for words, tags in sentences)


def refused(path, message):
    """Check that reading a path raises DataError with this text, which names the path."""
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_sentences(path)
    assert str(path.name) in str(caught.value)


# Formats


@pytest.mark.parametrize(("separator", "middle"), [(" ", ()), ("\t", ()), ("  ", ("NN",)), ("\t", ("NN", "B-NP"))])
def test_the_first_column_is_the_word_and_the_last_its_tag(write, separator, middle):
    path = write(as_columns([FLIGHT, YES, DENVER], separator, middle))

    assert read_sentences(path) == [FLIGHT, YES, DENVER]


def test_lines_have_words_before_the_tab_and_tags_after_it(write):
    assert read_sentences(write(as_lines([YES, FLIGHT, YES, DENVER]))) == [YES, FLIGHT, YES, DENVER]


def test_tags_of_a_line_may_be_separated_by_any_white_space(write):
    assert read_sentences(write("denver  please \t  B-city \u00a0 O \nto denver\tO\tB-city\n")) == [
        DENVER,
        (["to", "denver"], ["O", "B-city"]),
    ]


def test_tags_of_a_line_may_be_separated_by_tabs(write):
    assert read_sentences(write("denver please\tB-city\tO\n")) == [DENVER]


def test_parallel_files_are_read_from_their_folder(write):
    write("fly to new york \ndenver please \n", "train/seq.in")
    folder = write("O O B-city I-city\nB-city O\n", "train/seq.out").parent

    assert read_sentences(folder) == [FLIGHT, DENVER]


def test_bos_and_eos_are_dropped_with_their_tags_and_the_intent(write):
    assert read_sentences(write("BOS denver please EOS\tO B-city O atis_airport\nBOS yes EOS\tO O O\n")) == [
        DENVER,
        YES,
    ]


def test_bos_without_eos_is_a_word(write):
    assert read_sentences(write("BOS to denver\tB-city O B-city\n")) == [
        (["BOS", "to", "denver"], ["B-city", "O", "B-city"])
    ]


def test_an_utterance_of_only_bos_and_eos_is_skipped(write):
    assert read_sentences(write("BOS EOS\tO O\nBOS yes EOS\tO O O\n")) == [YES]


def test_extra_blank_lines_add_no_sentence(write):
    assert read_sentences(write("\n\nyes O\n\n \t\n\ndenver B-city\nplease O\n\n\n")) == [YES, DENVER]


def test_a_last_line_without_line_ending_is_read(write):
    assert read_sentences(write("denver B-city\nplease O")) == [DENVER]


def test_docstart_lines_are_skipped_and_end_a_sentence(write):
    path = write("-DOCSTART- -X- O\n\nyes UH O\n-DOCSTART- -X- O\ndenver NN B-city\nplease UH O\n")

    assert read_sentences(path) == [YES, DENVER]


def test_comments_are_skipped_and_a_number_sign_with_a_tag_is_a_token(write):
    path = write(
        "# sent_id = 1\n# text = flight # 7\nflight NN O\n# unsure of this O\n# SYM O\n7 CD B-number\n# a comment\n"
    )

    assert read_sentences(path) == [(["flight", "#", "7"], ["O", "O", "B-number"])]


def test_a_number_sign_on_the_first_line_may_be_a_token(write):
    assert read_sentences(write("# SYM O\n7 CD B-number\n")) == [(["#", "7"], ["O", "B-number"])]


def test_comments_between_lines_are_skipped_unless_they_have_tags(write):
    path = write("-DOCSTART- -X-\tO O\n# by hand\n# and checked\n# twice\n# 7 please\tO B-number O\n")

    assert read_sentences(path) == [(["#", "7", "please"], ["O", "B-number", "O"])]


def test_dos_line_endings_and_a_byte_order_mark_are_accepted(write):
    path = write(b"\xef\xbb\xbf" + as_columns([YES, DENVER]).replace("\n", "\r\n").encode())

    assert read_sentences(path) == [YES, DENVER]


def test_ideographic_and_no_break_spaces_are_words_not_separators(write):
    assert read_sentences(write("\u3000 O\n10\u00a0000 B-number\n")) == [(["\u3000", "10\u00a0000"], ["O", "B-number"])]


# Which format


def test_one_word_sentences_among_longer_ones_are_lines(write):
    assert read_sentences(write(as_lines([YES] * 5 + [DENVER]))) == [YES] * 5 + [DENVER]


def test_words_and_tags_one_to_one_everywhere_are_columns(write):
    assert read_sentences(write("denver\tB-city\nplease\tO\n")) == [DENVER]


def test_one_stray_line_does_not_turn_columns_into_sentences(write):
    path = write(as_columns([FLIGHT, FLIGHT], "\t") + "new york\tB-city I-city\n")

    refused(path, "given.iob:10: ")


def test_one_broken_line_does_not_turn_sentences_into_columns(write):
    refused(write(as_lines([FLIGHT, DENVER]) + "denver please\n"), 'given.iob:3: "denver please" has no tags; expected')


def test_a_file_whose_sentences_all_lack_one_tag_is_read_as_sentences(write):
    refused(write("fly to denver\tO B-city\nto denver now\tB-city O\n"), "given.iob:1: 3 words, 2 tags; expected one")


def test_a_file_half_of_broken_sentences_is_not_misread_as_columns(write):
    refused(write("a b\tO O\na b\tO\n"), "given.iob:2: 2 words, 1 tags; expected one tag per word")


# Tag schemes


@pytest.mark.parametrize(
    ("scheme", "given_tags", "expected"),
    [
        ("IOBES", "S-a O B-a I-a E-a S-b B-b E-b", "B-a O B-a I-a I-a B-b B-b I-b"),
        ("BILOU", "U-a O B-a I-a L-a U-b B-b L-b", "B-a O B-a I-a I-a B-b B-b I-b"),
        ("IOB1", "I-a I-a B-a O I-b I-a I-a", "B-a I-a B-a O B-b B-a I-a"),
        ("IOB2", "B-a I-a B-a O B-b B-a I-a", "B-a I-a B-a O B-b B-a I-a"),
        ("malformed IOB2", "B-a O I-a B-b", "B-a O I-a B-b"),
        ("only O", "O O", "O O"),
    ],
)
def test_tag_schemes_become_iob2(write, scheme, given_tags, expected):
    words = " ".join("w" * len(given_tags.split()))

    assert read_sentences(write(f"{words}\t{given_tags}\n"))[0][1] == expected.split()


def test_iob1_is_recognized_by_the_whole_file():
    iob1, malformed = [["I-a", "B-a"], ["O", "I-b"]], [["I-a", "B-a"], ["O", "B-b"]]

    assert converted(iob1) == [["B-a", "B-a"], ["O", "B-b"]]
    assert converted(malformed) == malformed


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b"]))))
def test_converting_changes_no_chunk_of_iob_tags(tags):
    assert [chunks(sentence) for sentence in converted(tags)] == [chunks(sentence) for sentence in tags]


# Any content

TEXT_WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\t\n\r "), min_size=1, max_size=6).filter(
    lambda word: word not in {"BOS", "EOS"} and not word.startswith(("#", "-DOCSTART-", "\ufeff"))
)
# No I-: with it, some of these would be IOB1 and be converted.
TAGGED = st.tuples(TEXT_WORDS, st.sampled_from(["O", "B-a", "B-b-c", "B-\u00e9"]))
SENTENCES = st.lists(
    st.lists(TAGGED, min_size=2, max_size=5).map(lambda pairs: tuple(map(list, zip(*pairs, strict=True)))),
    min_size=1,
    max_size=4,
)


@settings(max_examples=100, deadline=None)
@given(SENTENCES, st.sampled_from([" ", "\t", " \t "]), st.sampled_from([(), ("NN",), ("#", "O")]))
def test_any_sentences_written_as_columns_are_read_back(tmp_path_factory, sentences, separator, middle):
    path = tmp_path_factory.getbasetemp() / "any.conll"

    path.write_bytes(as_columns(sentences, separator, middle).encode())

    assert read_sentences(path) == sentences


@settings(max_examples=100, deadline=None)
@given(SENTENCES)
def test_any_sentences_written_as_lines_are_read_back(tmp_path_factory, sentences):
    path = tmp_path_factory.getbasetemp() / "any.iob"

    path.write_bytes(as_lines(sentences).encode())

    assert read_sentences(path) == sentences


@settings(max_examples=100, deadline=None)
@given(SENTENCES)
def test_any_sentences_written_as_parallel_files_are_read_back(tmp_path_factory, sentences):
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)

    (folder / "seq.in").write_bytes("".join(" ".join(words) + " \n" for words, _ in sentences).encode())
    (folder / "seq.out").write_bytes("".join(" ".join(tags) + "\n" for _, tags in sentences).encode())

    assert read_sentences(folder) == sentences


ALMOST_RIGHT = st.lists(
    st.sampled_from([b"word", b" ", b"\t", b"\n", b"\r\n", b"O", b"B-a", b"X", b"# ", b"-DOCSTART-", b"BOS", b"EOS"])
).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80) | ALMOST_RIGHT)
def test_any_bytes_are_read_or_refused_as_bad_data(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.iob"
    path.write_bytes(content)

    try:
        sentences = read_sentences(path)
    except DataError as error:
        assert str(error).startswith(str(path))
    else:
        assert sentences
        assert all(len(words) == len(tags) > 0 for words, tags in sentences)


# Errors


def test_the_error_for_a_missing_file_suggests_the_nearest_names(write):
    near = write("yes O\n", "train.iob")

    refused(near.with_name("trian.iob"), 'trian.iob: no such file or folder. Did you mean "train.iob"?')


def test_the_error_for_a_missing_file_without_near_names_lists_the_folder(write):
    there = write("yes O\n", "train.iob")

    refused(there.with_name("zzz"), "contains train.iob. Use one of these")


def test_the_error_for_a_missing_folder_names_it(tmp_path):
    refused(tmp_path / "nowhere" / "train.iob", f"{tmp_path / 'nowhere'} is not a folder; expected the folder of a")


def test_an_invalid_path_is_refused():
    refused(Path("train\0.iob"), "cannot be read (embedded null byte)")


@pytest.mark.parametrize("present", ["seq.in", "notes.txt"])
def test_a_folder_without_both_parallel_files_is_refused(write, present):
    folder = write("yes\n", f"train/{present}").parent

    refused(folder, f"a folder that contains {present}; expected a file, or a folder with seq.in and seq.out. Give one")


def test_a_file_without_read_permission_is_refused(write, monkeypatch):
    path = write("yes O\n")

    def no_right(*_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", no_right)

    refused(path, "given.iob: cannot be read ([Errno 13] Permission denied")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_before_it_blocks(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    refused(tmp_path / "pipe", "pipe: neither a file nor a folder; expected a file with text. Copy it to one")


def test_an_empty_file_is_refused(write):
    refused(write(""), "given.iob: the file is empty; expected text. Use another file")


def test_an_empty_parallel_file_is_refused(write):
    write("yes\n", "train/seq.in")
    folder = write("", "train/seq.out").parent

    with pytest.raises(DataError, match=r"seq\.out: the file is empty"):
        read_sentences(folder)


@pytest.mark.parametrize("content", ["\n \n\t\n", "# nothing\n-DOCSTART- O\n", "BOS EOS\tO O\n", b"\xef\xbb\xbf"])
def test_a_file_without_sentences_is_refused(write, content):
    refused(write(content), "given.iob: no sentences, only blank lines")


def test_a_token_without_tag_is_refused(write):
    refused(write("denver B-city\nplease\n"), 'given.iob:2: "please" has no tag; expected a word and, in the last')


def test_a_token_with_a_different_number_of_columns_is_refused(write):
    path = write("# a comment\ndenver NN B-city\nplease O\n")

    refused(path, 'given.iob:3: "please O" has 2 columns; expected 3, as in line 2')


@pytest.mark.parametrize(
    ("words", "tags", "line"),
    [("a b\nc d e\n", "O O\nO O\n", "2: 3 words, 2 tags"), ("a\n", "O\nO O\n", "2: 0 words, 2 tags")],
)
def test_parallel_lines_of_different_length_are_refused(write, words, tags, line):
    write(words, "train/seq.in")
    folder = write(tags, "train/seq.out").parent

    refused(folder, f"seq.out:{line}; expected one tag per word")


@pytest.mark.parametrize("tag", ["city", "B-", "o", "X-city", "B", "Bcity", "Other", "atis_flight"])
def test_a_tag_of_an_unknown_scheme_is_refused(write, tag):
    refused(write(f"to O\ndenver {tag}\n"), f'given.iob:2: tag "{tag}"; expected O, B-<type> or I-<type>')
    refused(write(f"yes please\tO O\nto denver\tO {tag}\n"), f'given.iob:2: tag "{tag}"; expected O, B-<type>')


def test_quotations_are_truncated(write):
    with pytest.raises(DataError, match=r'tag "x{57}\.\.\."'):
        read_sentences(write(f"yes {'x' * 500}\n"))


def test_bytes_that_are_not_utf8_are_refused_with_their_position(write):
    path = write("yes O\nzürich B-city\n".encode("latin-1"))

    refused(path, "given.iob:2: byte 7 is 0xfc, not UTF-8 (invalid start byte); expected text in UTF-8")


@pytest.mark.parametrize(("content", "place"), [(b"yes O\nno\0 O\n", "2: a NUL at byte 8"), ("yes O", "1: a NUL at")])
def test_a_nul_is_refused_with_its_position(write, content, place):
    path = write(content if isinstance(content, bytes) else content.encode("utf-16-le"))

    refused(path, f"given.iob:{place}")


def test_the_longest_sentence_allowed_is_read_and_one_word_more_is_refused(write, monkeypatch):
    monkeypatch.setattr(iob, "MAX_WORDS", 3)
    message = "given.iob:4: a sentence of 4 words; expected at most 3"

    assert len(read_sentences(write("a O\nb O\nc O\n"))[0][0]) == 3
    refused(write("# x\na O\n\na O\nb O\nc O\nd O\n"), message)
    refused(write("a\tO\n\nb\tO\na b c d\tO O O O\n"), message)


def test_a_file_over_the_limit_is_refused_before_it_is_read(write, monkeypatch):
    monkeypatch.setattr(iob, "MAX_BYTES", 5)

    assert read_sentences(write("yes O")) == [YES]
    refused(write(b"\xff" * 6), "given.iob: 6 bytes; expected at most 5")
