from __future__ import annotations

import re
import unicodedata

import pytest

from dlpipe_text.letters import COMBINING, plain


def test_combining_marks_are_those_of_unicode_and_no_punctuation():
    # Those of an old version, which are known to every version of Python.
    old = [each for each in map(chr, range(0x20000)) if unicodedata.ucd_3_2_0.category(each) != "Cn"]
    kinds = {each: unicodedata.category(each) for each in old}

    found = set(re.findall(f"[{COMBINING}]", "".join(old)))

    assert {each for each, kind in kinds.items() if kind in ("Mn", "Mc")} <= found
    assert not {each for each in found if kinds[each][0] in "PSZ"}


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("It's — 3.5!", "its35"),
        ("Straße, é", "strasseé"),
        ("हिन्दी भाषा।", "हिन्दीभाषा"),
        ("good ❤\ufe0f!", "good"),
        ("…", ""),
    ],
)
def test_plain_text_has_letters_with_their_marks_only(text, letters):
    assert plain(text) == letters
