from __future__ import annotations

import pytest

from dlpipe_text.text_units import UNITS, characters_of, spaced, trigrams_of, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("it's not bad!", ["it's", "not", "bad", "!"]),
        ("這部film很棒。", ["這", "部", "film", "很", "棒", "。"]),
        ("good ... really?!", ["good", "...", "really", "?", "!"]),
        ("a\x97b\x85c", ["a", "\x97", "b", "c"]),
        ("O'Neill’s rock'n'roll 'quoted'", ["O'Neill’s", "rock'n'roll", "'", "quoted", "'"]),
        ("_a_ 3.5", ["_", "a", "_", "3", ".", "5"]),
        ("हिन्दी भाषा।", ["हिन्दी", "भाषा", "।"]),
        ("cafe\u0301's u\u0308ber", ["cafe\u0301's", "u\u0308ber"]),
        ("می\u200cخواهم สวัสดี", ["می\u200cخواهم", "สวัสดี"]),
        ("good ❤\ufe0f", ["good", "❤", "\ufe0f"]),
    ],
)
def test_words(text, words):
    assert words_of(text) == words


def test_characters_keep_single_blanks():
    assert characters_of(" 很 棒\n\nok ") == ["很", " ", "棒", " ", "o", "k"]


def test_trigrams_follow_the_words_and_need_no_blanks():
    assert trigrams_of("so 不太好") == ["#so", "so#", "#不太", "不太好", "太好#"]
    assert len(trigrams_of("好" * 50)) == 50


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("text", ["\x97", "—", "\u200b", "_", "𠮷", "é"])
def test_any_visible_text_has_a_unit(unit, text):
    assert UNITS[unit](text)


def test_blanks_are_shown_between_words_but_not_beside_chinese():
    assert "".join(spaced(words_of("the film很棒，really good"), "word")) == "the film很棒，really good"
    assert spaced(["很", " ", "a"], "char") == ["很", " ", "a"]


@pytest.mark.parametrize("blank", [" ", "\t", "\n", "\x1c", "\x85", "\u2003", "\u3000"])
def test_all_blanks_divide_words_and_long_parts_are_divided_like_short_ones(blank):
    long = "ab" * 20 + "!" * 20 + "it's" * 10

    assert words_of(f"{long}{blank}a!{blank}{blank}很好") == ["ab" * 20, "!" * 20, "it's" * 10, "a", "!", "很", "好"]


def test_what_is_done_to_the_words_of_a_text_changes_no_other_text():
    words_of("not bad").clear()

    assert words_of("not bad") == ["not", "bad"]
