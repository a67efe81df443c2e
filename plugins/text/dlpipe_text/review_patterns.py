"""The words and patterns of `review_sentences`, in English and in Traditional Chinese.

Braces are replaced: ``{noun}`` by what is reviewed, ``{word}`` by a word of praise or blame. Patterns that keep the
polarity of the word also contain negations ("could not be more …", 再…不過了): a negation alone decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]


@dataclass(frozen=True)
class Patterns:
    """What the reviews of a language consist of.

    Args:
        praise: words of praise.
        blame: words of blame.
        nouns: what is reviewed, in any split.
        unseen_nouns: what is reviewed in the test split only.
        keeping: clauses that say what their word says.
        reversing: clauses that say the opposite of their word.
        contrasts: two clauses of opposite polarity; ``{main}`` decides.
        additions: two clauses of the same polarity.
        openings: what may come before a review.
        closings: what may come after it.
    """

    praise: tuple[str, ...]
    blame: tuple[str, ...]
    nouns: tuple[str, ...]
    unseen_nouns: tuple[str, ...]
    keeping: tuple[str, ...]
    reversing: tuple[str, ...]
    contrasts: tuple[str, ...]
    additions: tuple[str, ...]
    openings: tuple[str, ...]
    closings: tuple[str, ...]


ENGLISH = Patterns(
    praise=("good", "great", "wonderful", "brilliant", "funny", "moving", "clever", "beautiful", "charming", "fresh"),
    blame=("bad", "awful", "terrible", "dull", "boring", "weak", "clumsy", "ugly", "silly", "stale"),
    nouns=("the film", "the movie", "the plot", "the acting", "the music", "the ending", "the dialogue", "this story"),
    unseen_nouns=("the camera work", "the sequel", "the screenplay", "the soundtrack"),
    keeping=(
        "{word}",
        "very {word}",
        "{noun} is {word}",
        "{noun} was very {word}",
        "{noun} is really {word}",
        "{noun} is so {word}",
        "i found {noun} rather {word}",
        "{noun} could not be more {word}",
        "{noun} has never been more {word}",
        "never have i seen anything so {word}",
        "nothing is as {word} as {noun}",
        "they say {noun} is {word} and they are not wrong",
    ),
    reversing=(
        "not {word}",
        "not {word} at all",
        "{noun} is not {word}",
        "{noun} is not very {word}",
        "{noun} isn't really {word}",
        "{noun} was never {word}",
        "{noun} is hardly {word}",
        "{noun} is far from {word}",
        "{noun} is anything but {word}",
        "i would not call {noun} {word}",
        "nobody finds {noun} {word}",
        "they say {noun} is {word} and they are wrong",
    ),
    contrasts=(
        "{other} but {main}",
        "{other} , yet {main}",
        "although {other} , {main}",
        "even if {other} , {main}",
        "{main} although {other}",
        "{main} , even though {other}",
    ),
    additions=("{other} and {main}", "{other} , and besides , {main}", "{other} ; {main} as well"),
    openings=("honestly ,", "in my opinion ,", "after two hours i can say :"),
    closings=(".", "!", ". that is all", ", i think"),
)

CHINESE = Patterns(
    praise=("好", "棒", "精彩", "好看", "有趣", "感人", "優秀", "動人", "高明", "用心"),
    blame=("差", "糟", "爛", "無聊", "難看", "乏味", "拙劣", "幼稚", "沉悶", "老套"),
    nouns=("這部電影", "這部片", "劇情", "演技", "音樂", "結局", "對白", "這個故事"),
    unseen_nouns=("攝影", "續集", "劇本", "配樂"),
    keeping=(
        "{word}透了",
        "太{word}了",
        "{noun}很{word}",
        "{noun}太{word}了",
        "{noun}真{word}",
        "{noun}非常{word}",
        "{noun}{word}極了",
        "{noun}再{word}不過了",
        "{noun}{word}得不得了",
        "沒有什麼比{noun}更{word}",
        "從來沒看過這麼{word}的",
        "大家都說{noun}{word}，說得沒錯",
    ),
    reversing=(
        "不{word}",
        "一點也不{word}",
        "{noun}不{word}",
        "{noun}不太{word}",
        "{noun}並不{word}",
        "{noun}一點都不{word}",
        "{noun}稱不上{word}",
        "{noun}沒有那麼{word}",
        "我不覺得{noun}{word}",
        "沒有人會說{noun}{word}",
        "誰說{noun}{word}了",
        "大家都說{noun}{word}，可惜說錯了",
    ),
    contrasts=(
        "雖然{other}，但是{main}",
        "{other}，不過{main}",
        "{other}，可是{main}",
        "即使{other}，{main}",
        "{main}，雖然{other}",
        "{main}，儘管{other}",
    ),
    additions=("{other}，而且{main}", "{other}，{main}", "不但{other}，{main}"),
    openings=("老實說，", "我覺得，", "看完之後只能說："),
    closings=("。", "！", "，就這樣", "，真的"),
)

PATTERNS: dict[Language, Patterns] = {"en": ENGLISH, "zh": CHINESE}
