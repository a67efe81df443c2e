"""Labelled sentences from people's own files.

The format is recognised by content:

* *Columns* (CoNLL): a token a line, columns between blanks or tabs, the first the word
  and the last its tag; a blank line ends a sentence.
* *Lines* (ATIS): a sentence a line, ``words<TAB>tags``.
* *Parallel files*: a folder holding ``seq.in`` (words) and ``seq.out`` (tags).

Lines that begin with ``-DOCSTART-`` are skipped, and so are those that begin with
``# ``, unless they have the columns of a token (or the two sides of a sentence).
"""

import difflib
import json
import os.path
import re
from collections.abc import Iterator
from itertools import chain, pairwise, zip_longest
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from dlpipe.errors import DataError

Sentence = tuple[list[str], list[str]]  # words, tags

# A batch is padded to its longest sentence: 32 of 10,000 words, 256 numbers each, take 330 MB per layer.
MAX_WORDS = 10_000
MAX_BYTES = 10**9  # read, this becomes some 10 GB of Python strings

SPLITS = {"train": ("train",), "dev": ("dev", "valid", "validation"), "test": ("test",)}
EXTENSIONS = (".iob", ".conll", ".txt", ".tsv")
PARALLEL = ("seq.in", "seq.out")
DOCSTART = "-DOCSTART-"  # marks a new document in CoNLL-2003

# Not str.split(): no-break and ideographic spaces are words in some corpora.
FIELD = re.compile(r"[^ \t]+")
TAG = re.compile(r"O|[BIESLU]-\S+")
IOB2_PREFIX = {"S-": "B-", "U-": "B-", "E-": "I-", "L-": "I-"}  # of IOBES and BILOU


def read_sentences(path: Path) -> list[Sentence]:
    """Read the sentences of a file, or of a folder of parallel files, tags as IOB2."""
    if is_folder(path):
        sentences = list(read_parallel(path))
    elif is_one_sentence_a_line(path):
        sentences = list(read_lines(path))
    else:
        sentences = list(read_columns(path))
    if not sentences:
        raise DataError(
            f"{path}: no sentence in it, only blank lines, comments or BOS and EOS; "
            "expected words and tags. Give another file"
        )
    tags = to_iob2([tags for _, tags in sentences])
    return [(words, converted) for (words, _), converted in zip(sentences, tags, strict=True)]


def find_splits(path: Path) -> dict[str, Path]:
    """Find the files of "train", "dev" and "test" in a folder; only train must exist.

    First choice are ``train.<ext>`` and sub-folders ``train`` of parallel files, second
    ``<prefix>.train.<ext>``; the same for test, and dev, valid or validation.  All splits
    have the prefix of train, so that those of two data sets never mix.  A path that
    read_sentences reads by itself is "train".
    """
    if not is_folder(path) or is_parallel(path):
        return {"train": path}
    found: dict[str, dict[str, list[Path]]] = {}  # prefix -> split -> files
    for entry in entries_of(path):
        named = split_of(entry)
        if named:
            prefix, split = named
            found.setdefault(prefix, {}).setdefault(split, []).append(entry)
    sets = [files for files in found.values() if "train" in files]
    if not sets:
        raise DataError(
            f"{path}: no train split in this folder, which holds {listing(path)}; expected train or "
            f"<prefix>.train with {', '.join(EXTENSIONS)}, or train/seq.in and train/seq.out. "
            "Rename the files, or give them by name"
        )
    chosen = [found[""]] if "train" in found.get("", {}) else sets
    for split in SPLITS:
        candidates = [file for files in chosen for file in files.get(split, [])]
        if len(candidates) > 1:
            names = ", ".join(file.name for file in candidates)
            raise DataError(
                f"{path}: {len(candidates)} candidates for {split}: {names}; expected one. Give the files by name"
            )
    return {split: chosen[0][split][0] for split in SPLITS if split in chosen[0]}


def to_iob2(tags: list[list[str]]) -> list[list[str]]:
    """Convert the tags of one file, a list per sentence, to IOB2.

    Recognised are IOBES and BILOU, by any tag with S-, E-, U- or L-, and IOB1, by an I-
    that starts a chunk while every B- follows a chunk of its own type.  Other tags stay
    as they are, malformed ones too.  The chunks that conlleval counts in IOB1 tags are
    the same before and after.
    """
    if any(tag[:2] in IOB2_PREFIX for sentence in tags for tag in sentence):
        return [[IOB2_PREFIX.get(tag[:2], tag[:2]) + tag[2:] for tag in sentence] for sentence in tags]
    if is_iob1(tags):
        return [
            ["B" + tag[1:] if opens(tag, previous) else tag for previous, tag in pairwise(["O", *sentence])]
            for sentence in tags
        ]
    return tags


def is_iob1(tags: list[list[str]]) -> bool:
    """Tell whether some I- starts a chunk and every B- follows a chunk of its own type."""
    neighbours = [pair for sentence in tags for pair in pairwise(["O", *sentence])]
    return any(opens(tag, previous) for previous, tag in neighbours) and all(
        previous[2:] == tag[2:] for previous, tag in neighbours if tag[0] == "B"
    )


def opens(tag: str, previous: str) -> bool:
    """Tell whether tag is an I- that does not continue the previous tag's chunk."""
    return tag[0] == "I" and previous[2:] != tag[2:]


def is_one_sentence_a_line(path: Path) -> bool:
    """Tell ``words<TAB>tags`` from columns, by the whole file.

    A line with two or more items on both sides of its first tab speaks for sentences, equal
    in number or not, so that a missing tag is reported as such.  ``word<TAB>tag`` may be both:
    it is a token if a blank line came before.  Every other line speaks for columns.  More
    voices decide; a draw goes to sentences, which most tokens cannot pass for.  A file of
    one-word sentences alone cannot be told from columns, and is read as columns.
    """
    sentences = tokens = 0
    after_blank = False
    for _, text in lines_of(path):
        left, _, right = text.partition("\t")
        sizes = len(FIELD.findall(left)), len(right.split())
        if min(sizes) >= 2:
            sentences += 1
        elif not FIELD.search(text):
            after_blank = True
        elif not is_comment(text) and (sizes != (1, 1) or after_blank):
            tokens += 1
    return sentences > 0 and sentences >= tokens


def read_columns(path: Path) -> Iterator[Sentence]:
    """Yield the sentences of a file with a token a line."""
    words: list[str] = []
    tags: list[str] = []
    width = first = 0  # columns of a token, and the line that says so
    start = 1
    for number, text in chain(lines_of(path), [(0, "")]):
        columns = FIELD.findall(text)
        if not columns or text.startswith(DOCSTART):
            if words:
                check_length(words, f"{path}:{start}", "end each sentence with a blank line")
                yield words, tags
            words, tags = [], []
            continue
        is_token = width in (0, len(columns)) and TAG.fullmatch(columns[-1]) is not None
        if is_comment(text, is_token):
            continue
        if len(columns) < 2:
            raise DataError(
                f"{path}:{number}: {quoted(text)} has no tag; expected a word and, in the last column, "
                "its tag, or words<TAB>tags. Add what is missing"
            )
        if not width:
            width, first = len(columns), number
        if len(columns) != width:
            raise DataError(
                f"{path}:{number}: {quoted(text)} has {len(columns)} columns; expected {width}, as in "
                f"line {first}. Make them equal (no blank within a column), or, where this is a sentence, put a tab "
                "between words and tags"
            )
        check_tag(columns[-1], f"{path}:{number}")
        if not words:
            start = number
        words.append(columns[0])
        tags.append(columns[-1])


def read_lines(path: Path) -> Iterator[Sentence]:
    """Yield the sentences of a file with a sentence a line."""
    for number, text in lines_of(path):
        left, tab, right = text.partition("\t")
        words, tags = FIELD.findall(left), right.split()
        if not FIELD.search(text) or is_comment(text, len(words) == len(tags)):
            continue
        if not tab:
            raise DataError(
                f"{path}:{number}: {quoted(text)} has no tags; expected words<TAB>tags. "
                "Put a tab and one tag for each word behind the words"
            )
        yield from sentence_in(words, tags, f"{path}:{number}")


def read_parallel(folder: Path) -> Iterator[Sentence]:
    """Yield the sentences of ``seq.in``, with the tags of ``seq.out``."""
    inputs, outputs = (folder / name for name in PARALLEL)
    if not is_parallel(folder):
        raise DataError(
            f"{folder}: a folder; expected a file, or a folder with seq.in and seq.out; it holds "
            f"{listing(folder)}. Give one file, or add what is missing"
        )
    # A file that ends early reads as blank lines, so that the line without partner is named.
    for number, (left, right) in enumerate(zip_longest(lines_of(inputs), lines_of(outputs), fillvalue=(0, "")), 1):
        yield from sentence_in(FIELD.findall(left[1]), right[1].split(), f"{outputs}:{number}")


def is_comment(text: str, has_tags: bool = False) -> bool:
    """Tell whether to skip a line, given whether it has what a token or a sentence has."""
    return text.startswith(DOCSTART) or (text.startswith("# ") and not has_tags)


def sentence_in(words: list[str], tags: list[str], where: str) -> Iterator[Sentence]:
    """Yield the checked sentence without ATIS's BOS and EOS, or nothing if no word is left."""
    if len(words) != len(tags):
        raise DataError(
            f"{where}: {len(words)} words, {len(tags)} tags; expected one tag for each word. Add or remove what differs"
        )
    # Only together: BOS alone may be Boston's airport.  The tag of EOS may be the intent.
    if words[:1] == ["BOS"] and words[-1] == "EOS":
        words, tags = words[1:-1], tags[1:-1]
    for tag in tags:
        check_tag(tag, where)
    check_length(words, where, "split the line")
    if words:
        yield words, tags


def check_tag(tag: str, where: str) -> None:
    """Refuse a tag that is of none of the schemes."""
    if not TAG.fullmatch(tag):
        raise DataError(
            f"{where}: tag {quoted(tag)}; expected O, B-<type> or I-<type> (IOB), or these with E-, S-, L- "
            "and U- (IOBES, BILOU). Correct it, or delete the line if it is a heading"
        )


def check_length(words: list[str], where: str, remedy: str) -> None:
    """Refuse a sentence whose padded batch would not fit."""
    if len(words) > MAX_WORDS:
        raise DataError(
            f"{where}: a sentence of {len(words)} words; expected at most {MAX_WORDS}, since a batch is "
            f"padded to its longest. To mend it, {remedy}"
        )


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number (from 1) and text (without line end) of each line of a UTF-8 file."""
    offset = 0
    try:
        check_file(path)
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                yield number, text_of(raw, f"{path}:{number}", offset)
                offset += len(raw)
    except OSError as error:
        raise DataError(unreadable(path, error)) from error


def text_of(raw: bytes, where: str, offset: int) -> str:
    """Decode one line that begins at byte offset of its file."""
    if b"\0" in raw:
        raise DataError(
            f"{where}: a NUL at byte {offset + raw.index(0)}; expected text in UTF-8. "
            "If this is UTF-16, convert it: iconv -f UTF-16 -t UTF-8; if not, it is no text file"
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: byte {offset + error.start} is 0x{raw[error.start]:02x}, not UTF-8 ({error.reason}); "
            "expected text in UTF-8. Convert it, for instance: iconv -f LATIN1 -t UTF-8"
        ) from error
    return (text.removeprefix("\ufeff") if offset == 0 else text).rstrip("\r\n")


def is_folder(path: Path) -> bool:
    """Tell folder from file, and refuse a path that does not exist."""
    try:
        return S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError) as error:
        raise DataError(unreadable(path, error)) from error


def is_parallel(folder: Path) -> bool:
    """Tell whether a folder holds seq.in and seq.out; False also where it may not be entered."""
    return all(
        os.path.isfile(folder / name)  # noqa: PTH113  Path.is_file raises where one may not look
        for name in PARALLEL
    )


def check_file(path: Path) -> None:
    """Refuse what is not a regular file (a pipe would block), is empty, or too large."""
    info = path.stat()
    if not S_ISREG(info.st_mode):
        raise DataError(f"{path}: neither a file nor a folder; expected labelled sentences. Copy them into a file")
    if info.st_size == 0:
        raise DataError(f"{path}: the file is empty; expected labelled sentences. Give another file")
    if info.st_size > MAX_BYTES:
        raise DataError(
            f"{path}: {info.st_size} bytes; expected at most {MAX_BYTES}, as all is kept in memory. Give a part of it"
        )


def entries_of(folder: Path) -> list[Path]:
    """List a folder, sorted by name."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(unreadable(folder, error)) from error


def split_of(entry: Path) -> tuple[str, str] | None:
    """Read (prefix, split) off the name of a file or sub-folder, None if it is no split."""
    if is_parallel(entry):
        prefix, name = "", entry.name
    elif entry.suffix in EXTENSIONS:
        prefix, _, name = entry.stem.rpartition(".")
    else:
        return None
    return next(((prefix, split) for split, names in SPLITS.items() if name in names), None)


def listing(folder: Path) -> str:
    """Name the first entries of a folder."""
    names = [entry.name for entry in entries_of(folder)]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "nothing"


def missing(path: Path) -> str:
    """Say that a path does not exist, and what is nearest to it."""
    if not path.parent.is_dir():
        return f"{path}: {path.parent} is not a folder; expected labelled sentences. Correct the path"
    near = difflib.get_close_matches(path.name, [entry.name for entry in entries_of(path.parent)])
    if near:
        return f"{path}: no such file or folder. Did you mean {' or '.join(map(quoted, near))}?"
    return f"{path}: no such file or folder; {path.parent} holds {listing(path.parent)}. Give one of these"


def unreadable(path: Path, error: Exception) -> str:
    """Say why a path that may exist cannot be read."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return missing(path)
    return f"{path}: cannot be read ({error}); expected labelled sentences. Check the path and your right to read it"


def quoted(text: str) -> str:
    """Quote what was found, the first 60 characters of it."""
    return json.dumps(text if len(text) <= 60 else text[:57] + "...", ensure_ascii=False)
