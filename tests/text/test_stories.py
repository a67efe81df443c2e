from __future__ import annotations

import pytest

from dlpipe_text.stories import stories
from dlpipe_text.story_sentences import DROP, MOVE, OBJECTS, PEOPLE, PLACES, TAKE, split_of_story, story_questions

KINDS = ("person", "thing", "yes_no", "count")


def told(story):
    """Return where people and things are and who carries what, read from the sentences by other means."""
    place, carrier = {}, {}
    for sentence in story:
        person, rest = sentence.split(" ", 1)
        if verb := next((verb for verb in MOVE if rest.startswith(verb)), None):
            place[person] = rest.removeprefix(verb).strip()
        elif verb := next((verb for verb in TAKE if rest.startswith(verb)), None):
            carrier[rest.removeprefix(verb).strip()] = person
        else:
            verb = next(verb for verb in DROP if rest.startswith(verb))
            thing = rest.removeprefix(verb).strip()
            assert carrier.pop(thing) == person
            place[thing] = place[person]
    return place, carrier


def answer(question) -> str:
    place, carrier = told(question.story)
    words = question.question.split()
    if question.kind == "person":
        return place[words[2]]
    if question.kind == "thing":
        return place[carrier.get(words[3], words[3])]
    if question.kind == "yes_no":
        return "yes" if place[words[1]] == words[4] else "no"
    return ("none", "one", "two", "three", "four")[sum(person == words[4] for person in carrier.values())]


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_answers_follow_from_the_stories(split):
    questions = story_questions(split, 400, 3)

    assert [question.answer for question in questions] == [answer(question) for question in questions]
    assert [question.kind for question in questions[:5]] == [*KINDS, KINDS[0]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_supporting_facts_alone_have_the_same_answer(kind):
    for question in story_questions("train", 100, 3, [kind]):
        facts = [question.story[number] for number in question.facts]
        if kind == "count":  # things that were put down have been taken somewhere
            facts = [fact for fact in question.story if fact.startswith(question.question.split()[4])]
            assert [question.story[number] for number in question.facts] == [
                fact for fact in facts if any(thing in fact for thing in OBJECTS)
            ]
            continue
        if kind == "thing" and any(verb in facts[-1] for verb in DROP):
            assert facts[0].endswith(question.answer)
            continue
        place, carrier = told(facts)
        subject = question.question.split()[{"person": 2, "thing": 3, "yes_no": 1}[kind]]
        assert len(facts) == 1 + (kind == "thing")
        assert place[carrier.get(subject, subject)] == told(question.story)[0][carrier.get(subject, subject)]


def test_no_story_is_in_two_splits():
    splits = {
        split: {tuple(each.story) for each in story_questions(split, 300, 1)} for split in ("train", "dev", "test")
    }

    assert not splits["train"] & (splits["dev"] | splits["test"])
    assert not splits["dev"] & splits["test"]
    assert all(split_of_story(story) == split for split, found in splits.items() for story in found)


def test_a_larger_count_adds_stories_and_another_seed_gives_others():
    assert story_questions("dev", 9, 1)[:5] == story_questions("dev", 5, 1) != story_questions("dev", 5, 2)


def test_the_stories_are_the_same_everywhere():
    assert story_questions("train", 1, 1)[0].item == (
        "boris came to the library. boris came to the station. chloe walked to the station. alma came to the library. "
        "boris drove to the library. alma walked to the station. boris picked up the umbrella. chloe picked up the "
        "lantern. alma picked up the violin. where is alma?"
    )


def test_the_splits_have_the_requested_sizes_and_kinds():
    data = stories(num_train=8, num_dev=3, num_test=2, kinds=["thing", "count"])

    assert {split: len(data.split(split)) for split in data.splits} == {"train": 8, "dev": 3, "test": 2}
    assert {question.kind for question in data.questions("train")} == {"thing", "count"}
    assert set(data.facts["labels"]) <= {*PLACES, "none", "one", "two", "three", "four"}
    assert not set(data.facts["labels"]) & set(PEOPLE)
