"""Read labeled sentences from users' own files.

The format is detected from the content:

* *Columns* (CoNLL): one token per line, columns separated by spaces or tabs. The first
  column is the word, the last its tag; a blank line ends a sentence.
* *Lines* (ATIS): one sentence per line, ``words<TAB>tags``.
* *Parallel files*: a folder with ``seq.in`` (words) and ``seq.out`` (tags).

Lines that start with ``-DOCSTART-`` are skipped. Lines that start with ``# `` are also
skipped, unless they have the columns of a token (or the words and tags of a sentence).
"""

import difflib
import json
import math
import os.path
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from stat import S_ISDIR, S_ISREG

import numpy as np

from dlpipe.data import split_named
from dlpipe.errors import DataError
from dlpipe_text.distinct_lines import DistinctLines
from dlpipe_text.packed_sentences import PackedSentences, Sentence
from dlpipe_text.strings import Strings

# A batch is padded to its longest sentence: 32 of 10,000 words, 256 numbers each, take 330 MB per layer.
MAX_WORDS = 10_000
MAX_BYTES = 4 * 10**9  # takes about 18 GB in memory while it is read (benchmarks/text_start.py)

SPLITS = ("train", "dev", "test")
EXTENSIONS = (".iob", ".conll", ".txt", ".tsv")
PARALLEL = ("seq.in", "seq.out")
DOCSTART = "-DOCSTART-"  # marks a new document in CoNLL-2003
# What a line is: EITHER is a token or a sentence of one word, and a BLANK one ends a sentence.
BLANK, COMMENT, TOKEN, SENTENCE, EITHER, WRONG = range(6)

# Not str.split(): in some corpora, no-break and ideographic spaces are words.
FIELD = re.compile(r"[^ \t]+")
TAG = re.compile(r"O|[BIESLU]-\S+")
IOB2_PREFIX = {"S-": "B-", "U-": "B-", "E-": "I-", "L-": "I-"}  # of IOBES and BILOU


def read_sentences(path: Path) -> PackedSentences:
    """Read the sentences of a file or of a folder of parallel files, with tags converted to IOB2."""
    sentences = PackedSentences.of(read_parallel(path)) if is_folder(path) else read_file(path)
    if not sentences:
        raise DataError(
            f"{path}: no sentences, only blank lines, comments or BOS and EOS; "
            "expected words and tags. Use another file"
        )
    return to_iob2(sentences)


def read_file(path: Path) -> PackedSentences:
    """Read the sentences of a file of columns, or of one with a sentence in each line."""
    try:
        check_file(path, MAX_BYTES)
        lines = DistinctLines(path, text_of)
    except OSError as error:
        raise DataError(f"{path}: {why_unreadable(path, error)}") from error
    if is_one_sentence_a_line(lines):
        return PackedSentences.of(read_lines(path, lines))
    return read_columns(path, lines)


def find_splits(path: Path, **named: Path) -> dict[str, Path]:
    """Find the files of "train", "dev" and "test" in a folder, without those that are named; train must exist.

    ``train.<ext>`` and a subfolder ``train`` of parallel files are preferred over
    ``<prefix>.train.<ext>``. The same holds for dev and test, and for other common names of the splits.
    All splits have the same prefix as train, so that two data sets never mix, if that is in the folder.  A path
    that read_sentences can read directly is "train".

    Args:
        named: the files of some splits, by the names of these.

    Raises:
        DataError: nothing is left to be found, there is no training file, or several files could be one split.
    """
    is_train = not is_folder(path) or is_parallel(path)
    provided = ("train",) if is_train else SPLITS
    wanted = [split for split in provided if split not in named]
    if not wanted:
        raise DataError(f"path = {path} has no effect with {', '.join(provided)}; remove path")
    if is_train:
        return {"train": path}
    found: dict[str, dict[str, list[Path]]] = {}  # prefix -> split -> files
    for entry in entries_of(path):
        if which := split_of(entry):
            prefix, split = which
            found.setdefault(prefix, {}).setdefault(split, []).append(entry)
    sets = [files for files in found.values() if "train" in files]
    if train := named.get("train"):
        own = [files for files in sets if train.resolve() in map(Path.resolve, files["train"])]
        sets = own or sets or list(found.values())
    if not sets:
        raise DataError(
            f"{path}: no train split in this folder, which contains {listing(path)}; expected train or "
            f"<prefix>.train with {', '.join(EXTENSIONS)}, or train/seq.in and train/seq.out. "
            "Rename the files, or set train, dev and test to their paths"
        )
    chosen = [found[""]] if found.get("") in sets else [files for files in sets if not files.keys().isdisjoint(wanted)]
    splits: dict[str, Path] = {}
    for split in wanted:
        candidates = [file for files in chosen for file in files.get(split, [])]
        if len(candidates) > 1:
            names = ", ".join(file.name for file in candidates)
            raise DataError(
                f"{path}: {len(candidates)} candidates for {split}: {names}; expected one. "
                "Set train, dev and test to the paths of the files"
            )
        if candidates:
            splits[split] = candidates[0]
    if len(chosen) > 1:
        raise DataError(
            f"{path}: files of {len(chosen)} data sets; expected those of one. Set train, dev and test to the paths of "
            "the files"
        )
    return splits


def to_iob2(sentences: PackedSentences) -> PackedSentences:
    """Convert the tags of one file to IOB2.

    Any tag with S-, E-, U- or L- indicates IOBES or BILOU. IOB1 is recognized by an I-
    that starts a chunk, if every B- follows a chunk of the same type.  Other tags,
    including malformed ones, are unchanged.  Converting IOB1 does not change the chunks
    that conlleval counts.
    """
    tags = sentences.tags
    if any(tag[:2] in IOB2_PREFIX for tag in tags.distinct):
        converted = tags.renamed(lambda tag: IOB2_PREFIX.get(tag[:2], tag[:2]) + tag[2:])
        return PackedSentences(sentences.words, converted, sentences.lengths)
    kinds: dict[str, int] = {"": 0}
    of_tag = np.array([kinds.setdefault(tag[2:], len(kinds)) for tag in tags.distinct], np.int32)[tags.numbers]
    before = np.roll(of_tag, 1)
    before[(sentences.lengths.cumsum() - sentences.lengths)[sentences.lengths > 0]] = kinds[""]
    inside, begins = (np.array([tag[0] == letter for tag in tags.distinct], bool)[tags.numbers] for letter in "IB")
    opens = inside & (before != of_tag)
    if not opens.any() or (begins & (before != of_tag)).any():
        return sentences
    renamed = [*tags.distinct, *("B" + tag[1:] for tag in tags.distinct)]
    converted = Strings.numbered(tags.numbers + len(tags.distinct) * opens, renamed)
    return PackedSentences(sentences.words, converted, sentences.lengths)


def is_one_sentence_a_line(lines: DistinctLines) -> bool:
    """Return whether the file has lines of ``words<TAB>tags`` rather than columns.

    Each line of the file is a vote.  A line with two or more items on both sides of its first
    tab is a vote for sentences, even if their numbers differ, so that a missing tag is reported
    as such.  ``word<TAB>tag`` is ambiguous: it counts as a token only after a blank line.
    Every other line is a vote for columns.  The majority decides; a tie means sentences, since
    most tokens cannot be mistaken for them.  A file of one-word sentences only is
    indistinguishable from columns and is read as columns.
    """
    votes = np.array(list(map(vote_of, lines.texts)))[lines.numbers]
    after_blank = votes[np.argmax(votes == BLANK) :] if (votes == BLANK).any() else votes[:0]
    sentences = int((votes == SENTENCE).sum())
    return 0 < sentences >= int((votes == TOKEN).sum() + (after_blank == EITHER).sum())


def vote_of(text: str) -> int:
    """Return what a line is, as far as that is known without the others."""
    left, _, right = text.partition("\t")
    sizes = len(FIELD.findall(left)), len(right.split())
    if min(sizes) >= 2:
        return SENTENCE
    if not FIELD.search(text):
        return BLANK
    return COMMENT if is_comment(text) else EITHER if sizes == (1, 1) else TOKEN


def read_columns(path: Path, lines: DistinctLines) -> PackedSentences:
    """Return the sentences of a file with one token per line."""
    columns = [FIELD.findall(text) for text in lines.texts]
    first, width = width_of(lines, columns)
    kinds = np.array([kind_of(text, found, width) for text, found in zip(lines.texts, columns, strict=True)])
    kinds = kinds[lines.numbers]
    wrong = np.flatnonzero(kinds == WRONG)
    rows = np.flatnonzero(kinds[: wrong[0]] == TOKEN) if len(wrong) else np.flatnonzero(kinds == TOKEN)
    sentence = np.cumsum(kinds == BLANK)[rows]
    starts = np.flatnonzero(np.diff(sentence, prepend=-1))
    lengths = np.diff(starts, append=len(rows))
    for row, length in zip(rows[starts[lengths > MAX_WORDS]], lengths[lengths > MAX_WORDS], strict=True):
        check_length(length, f"{path}:{row + 1}", "end each sentence with a blank line")
    for row in wrong[:1].tolist():
        number = lines.numbers[row]
        check_columns(lines.texts[number], columns[number], width, f"{path}:{row + 1}", first)
    words, tags = (
        Strings.numbered(lines.numbers[rows], [found[place] if found else "" for found in columns]) for place in (0, -1)
    )
    return PackedSentences(words, tags, lengths)


def width_of(lines: DistinctLines, columns: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Return the number, from 1, of the first line with a token, and of its columns; zeros if there is none."""
    for row, number in enumerate(lines.numbers.tolist(), start=1):
        text, found = lines.texts[number], columns[number]
        if found and not text.startswith(DOCSTART) and not is_comment(text, TAG.fullmatch(found[-1]) is not None):
            return row, len(found)
    return 0, 0


def kind_of(text: str, columns: Sequence[str], width: int) -> int:
    """Return what a line of a file with `width` columns is."""
    if not columns or text.startswith(DOCSTART):
        return BLANK
    right = len(columns) == width and TAG.fullmatch(columns[-1]) is not None
    return COMMENT if is_comment(text, right) else TOKEN if right and width > 1 else WRONG


def check_columns(text: str, columns: Sequence[str], width: int, where: str, first: int) -> None:
    """Raise DataError for a line that is not a token."""
    if len(columns) < 2:
        raise DataError(
            f"{where}: {quoted(text)} has no tag; expected a word and, in the last column, "
            "its tag, or words<TAB>tags. Add the tag"
        )
    if len(columns) != width:
        raise DataError(
            f"{where}: {quoted(text)} has {len(columns)} columns; expected {width}, as in "
            f"line {first}. Give every line the same number of columns (no spaces within a column), or, if this "
            "is a sentence, put a tab between words and tags"
        )
    check_tag(columns[-1], where)


def read_lines(path: Path, lines: DistinctLines) -> Iterator[Sentence]:
    """Yield the sentences of a file with one sentence per line."""
    for number, text in enumerate(map(lines.texts.__getitem__, lines.numbers.tolist()), start=1):
        left, tab, right = text.partition("\t")
        words, tags = FIELD.findall(left), right.split()
        if not FIELD.search(text) or is_comment(text, len(words) == len(tags)):
            continue
        if not tab:
            raise DataError(
                f"{path}:{number}: {quoted(text)} has no tags; expected words<TAB>tags. "
                "Add a tab and one tag per word after the words"
            )
        yield from sentence_in(words, tags, f"{path}:{number}")


def read_parallel(folder: Path) -> Iterator[Sentence]:
    """Yield the sentences of ``seq.in`` with the tags of ``seq.out``."""
    inputs, outputs = (folder / name for name in PARALLEL)
    if not is_parallel(folder):
        raise DataError(
            f"{folder}: a folder that contains {listing(folder)}; expected a file, or a folder with seq.in and "
            "seq.out. Give one file, or add the missing files"
        )
    # The shorter file is padded with blank lines, so that the first unmatched line is named.
    for number, (left, right) in enumerate(zip_longest(lines_of(inputs), lines_of(outputs), fillvalue=(0, "")), 1):
        yield from sentence_in(FIELD.findall(left[1]), right[1].split(), f"{outputs}:{number}")


def is_comment(text: str, has_tags: bool = False) -> bool:
    """Return whether to skip a line; `has_tags` is whether it has the form of a token or a sentence."""
    return text.startswith(DOCSTART) or (text.startswith("# ") and not has_tags)


def sentence_in(words: list[str], tags: list[str], where: str) -> Iterator[Sentence]:
    """Yield the checked sentence without the BOS and EOS of ATIS, or nothing if no words are left."""
    if len(words) != len(tags):
        raise DataError(
            f"{where}: {len(words)} words, {len(tags)} tags; expected one tag per word. Add the missing ones, or "
            "remove the extra ones"
        )
    # Only as a pair: BOS alone may be Boston's airport.  The tag of EOS may be the intent.
    if words[:1] == ["BOS"] and words[-1] == "EOS":
        words, tags = words[1:-1], tags[1:-1]
    for tag in tags:
        check_tag(tag, where)
    check_length(len(words), where, "split the line")
    if words:
        yield words, tags


def check_tag(tag: str, where: str) -> None:
    """Raise DataError for a tag that belongs to none of the schemes."""
    if not TAG.fullmatch(tag):
        raise DataError(
            f"{where}: tag {quoted(tag)}; expected O, B-<type> or I-<type> (IOB), or these with E-, S-, L- "
            "and U- (IOBES, BILOU). Correct it, or delete the line if it is a heading"
        )


def check_length(count: int, where: str, remedy: str) -> None:
    """Raise DataError if a sentence of `count` words is too long: a batch padded to it would not fit in memory."""
    if count > MAX_WORDS:
        raise DataError(
            f"{where}: a sentence of {count} words; expected at most {MAX_WORDS}, since a batch is "
            f"padded to its longest sentence. To fix this, {remedy}"
        )


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number (from 1) and the text (without line ending) of each line of a UTF-8 file."""
    offset = 0
    try:
        check_file(path, MAX_BYTES)
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                yield number, text_of(raw, f"{path}:{number}", offset)
                offset += len(raw)
    except OSError as error:
        raise DataError(f"{path}: {why_unreadable(path, error)}") from error


def text_of(raw: bytes, where: str, offset: int) -> str:
    """Decode one line that starts at this byte offset of its file."""
    if b"\0" in raw:
        raise DataError(
            f"{where}: a NUL at byte {offset + raw.index(0)}; expected text in UTF-8. "
            "If this is UTF-16, convert it: iconv -f UTF-16 -t UTF-8; otherwise it is not a text file"
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: byte {offset + error.start} is 0x{raw[error.start]:02x}, not UTF-8 ({error.reason}); "
            "expected text in UTF-8. Convert it, for example: iconv -f LATIN1 -t UTF-8"
        ) from error
    return (text.removeprefix("\ufeff") if offset == 0 else text).rstrip("\r\n")


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; raise DataError if it does not exist."""
    try:
        return S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {why_unreadable(path, error)}") from error


def is_parallel(folder: Path) -> bool:
    """Return whether a folder contains seq.in and seq.out; False if it cannot be accessed."""
    return all(
        os.path.isfile(folder / name)  # noqa: PTH113  Path.is_file raises without access rights
        for name in PARALLEL
    )


def check_file(path: Path, most: float = math.inf, *, may_be_empty: bool = False) -> None:
    """Raise DataError unless the path is a regular file (a pipe would block), not empty, of at most `most` bytes."""
    info = path.stat()
    if S_ISDIR(info.st_mode):
        raise DataError(f"{path}: a folder; expected a file with text. Move its files, or remove it")
    if not S_ISREG(info.st_mode):
        raise DataError(f"{path}: neither a file nor a folder; expected a file with text. Copy it to one")
    if info.st_size == 0 and not may_be_empty:
        raise DataError(f"{path}: the file is empty; expected text. Use another file")
    if info.st_size > most:
        raise DataError(
            f"{path}: {info.st_size} bytes; expected at most {most}, as the file is kept in memory. Use a part of it"
        )


def entries_of(folder: Path) -> list[Path]:
    """List a folder, sorted by name."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: {why_unreadable(folder, error)}") from error


def split_of(entry: Path) -> tuple[str, str] | None:
    """Return (prefix, split) from the name of a file or subfolder, or None if it is not a split."""
    if is_parallel(entry):
        prefix, name = "", entry.name
    elif entry.suffix.lower() in EXTENSIONS:
        prefix, _, name = entry.stem.rpartition(".")
    else:
        return None
    split = split_named(name)
    return (prefix, split) if split else None


def listing(folder: Path) -> str:
    """Return the names of the first entries of a folder."""
    names = [entry.name for entry in entries_of(folder)]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "nothing"


def why_missing(path: Path) -> str:
    """Return why a path does not exist, with the nearest names."""
    if not path.parent.is_dir():
        return f"{path.parent} is not a folder; expected the folder of a file. Correct the path"
    near = difflib.get_close_matches(path.name, [entry.name for entry in entries_of(path.parent)])
    if near:
        return f"no such file or folder. Did you mean {' or '.join(map(quoted, near))}?"
    return f"no such file or folder; {path.parent} contains {listing(path.parent)}. Use one of these"


def why_unreadable(path: Path, error: Exception) -> str:
    """Return why a path cannot be read."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return why_missing(path)
    return f"cannot be read ({error}). Check the path and its read permission"


def quoted(text: str) -> str:
    """Quote a string from a file, truncated to 60 characters."""
    return json.dumps(text if len(text) <= 60 else text[:57] + "...", ensure_ascii=False)
