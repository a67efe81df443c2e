"""Every key of a TOML text is found on its line."""

import tomllib

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from dlpipe.config.toml_lines import MAX_DEPTH, TooDeep, key_lines, repeated_keys

BARE = st.text("abcXYZ019_-", min_size=1, max_size=4)
KEYS = BARE | st.text(st.characters(codec="utf-8"), max_size=4)
SCALARS = (
    st.integers(-999, 999)
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.dates()
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.text("\"'#[]{}=,\\\n", max_size=8)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5)


def paths(value, path=()):
    """Return the path of every key, table and element."""
    found = [path] if path else []
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += paths(part, (*path, key))
    return found


@given(DOCUMENTS, st.booleans())
def test_every_key_of_a_document_is_found(document, multiline):
    text = tomli_w.dumps(document, multiline_strings=multiline)

    lines = key_lines(text)

    assert set(paths(tomllib.loads(text))) <= set(lines)
    assert repeated_keys(text) == []


@given(st.lists(st.tuples(KEYS, SCALARS), max_size=8, unique_by=lambda pair: pair[0]), st.data())
def test_a_key_is_found_on_the_line_on_which_it_was_written(pairs, data):
    text, expected = "", {}
    for key, value in pairs:
        filler = data.draw(st.sampled_from(["", "\n", '# = [[x]] """ \'\n', " \t\n", "\n# \u00e9\n"]))
        text += filler
        expected[(key,)] = text.count("\n") + 1
        text += tomli_w.dumps({key: value}, multiline_strings=data.draw(st.booleans()))

    assert {path: line for path, line in key_lines(text).items() if len(path) == 1} == expected


@given(st.text("ab.=[]{}\"'\\#,1 \n", max_size=60))
def test_a_text_that_is_not_toml_neither_crashes_nor_hangs(text):
    try:
        lines = key_lines(text)
    except TooDeep:
        return

    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


@given(st.text("ab.=[]{}\"'\\#,1 \n", max_size=30))
def test_everything_that_tomllib_reads_is_found_once(text):
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return

    assert set(paths(document)) <= set(key_lines(text))
    assert repeated_keys(text) == []


TEXT = '''\
# a comment with [brackets] = "and quotes
name = "x" # here = 1
'quoted key' = 1
"tab\\tkey" = 2
a . "b.c" . d = 3

[table]
text = """
not = "a key"
[nor.a.table]
"""
raw = \'\'\'
nor = this\'\'\'
array = [
  1, # one
  [2,
   3],
  { x = 1, y = [ {z = 1} ] },
]
inline = { k.l = 1, m = { n = 2 } }
[table.sub]
[[rows]]
v = 1
[rows.deep]
w = 2
[[rows]]
v = 3
[[rows.inner]]
u = 4
[rows.inner.x]
[[rows.inner]]
'''
EXPECTED = {
    ("name",): 2,
    ("quoted key",): 3,
    ("tab\tkey",): 4,
    ("a",): 5,
    ("a", "b.c"): 5,
    ("a", "b.c", "d"): 5,
    ("table",): 7,
    ("table", "text"): 8,
    ("table", "raw"): 12,
    ("table", "array"): 14,
    ("table", "array", 0): 15,
    ("table", "array", 1): 16,
    ("table", "array", 1, 0): 16,
    ("table", "array", 1, 1): 17,
    ("table", "array", 2): 18,
    ("table", "array", 2, "x"): 18,
    ("table", "array", 2, "y"): 18,
    ("table", "array", 2, "y", 0): 18,
    ("table", "array", 2, "y", 0, "z"): 18,
    ("table", "inline"): 20,
    ("table", "inline", "k"): 20,
    ("table", "inline", "k", "l"): 20,
    ("table", "inline", "m"): 20,
    ("table", "inline", "m", "n"): 20,
    ("table", "sub"): 21,
    ("rows",): 22,
    ("rows", 0): 22,
    ("rows", 0, "v"): 23,
    ("rows", 0, "deep"): 24,
    ("rows", 0, "deep", "w"): 25,
    ("rows", 1): 26,
    ("rows", 1, "v"): 27,
    ("rows", 1, "inner"): 28,
    ("rows", 1, "inner", 0): 28,
    ("rows", 1, "inner", 0, "u"): 29,
    ("rows", 1, "inner", 0, "x"): 30,
    ("rows", 1, "inner", 1): 31,
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_form_of_toml_is_understood(newline):
    assert key_lines(TEXT.replace("\n", newline)) == EXPECTED
    assert set(paths(tomllib.loads(TEXT))) == set(EXPECTED)


@pytest.mark.parametrize("text", ["", "\n\n# only a comment", "   "])
def test_a_text_without_keys_has_none(text):
    assert key_lines(text) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\nb = 2\na = 3\n", [(("a",), 1, 3)]),
        ("[t]\nx = 1\n\n[t]\ny = 2\n", [(("t",), 1, 4)]),
        ("[t]\nx = 1\n'x' = 2\n", [(("t", "x"), 2, 3)]),
        ("t = { x = 1, x = 2 }\n", [(("t", "x"), 1, 1)]),
        ("a.b = 1\na.c = 2\na.b = 3\n", [(("a", "b"), 1, 3)]),
        ("[[r]]\nx = 1\n[[r]]\nx = 1\nx = 2\n", [(("r", 1, "x"), 4, 5)]),
        ("a = 1\na = 2\na = 3\nb = 1\nb = 1\n", [(("a",), 1, 2), (("a",), 1, 3), (("b",), 4, 5)]),
        ("[a.b]\n[a]\n", []),
        ("[[r]]\n[r.s]\n[[r]]\n[r.s]\n", []),
        ('a = ["x" "y"]\n', []),
        ("a = 1\n= = =\na = 2\n", []),  # nothing after a syntax error counts
    ],
)
def test_repeated_keys_are_found(text, expected):
    assert repeated_keys(text) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = " + "[" * 10_000, 2),
        ("a = 1\nb = " + "[" * 10_000 + "]" * 10_000, 2),
        ("b = " + "{a=" * 10_000, 1),
        ("\n\n" + "a." * 100_000 + "a = 1", 3),
        ("\n[" + "a." * 100_000 + "a]", 2),
        ("b = " + "[\n" * 30, 1 + MAX_DEPTH - 1),
    ],
)
def test_text_that_is_nested_too_deeply_is_refused_at_its_line(text, line):
    with pytest.raises(TooDeep, match=f"nested more than {MAX_DEPTH} levels deep") as caught:
        key_lines(text)

    assert caught.value.line == line


def test_text_that_is_nested_as_deeply_as_allowed_is_read():
    text = ".".join("a" * MAX_DEPTH) + " = 1\nb = " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)

    assert ("a",) * MAX_DEPTH in key_lines(text)
    assert ("b", *[0] * (MAX_DEPTH - 2)) in key_lines(text)
