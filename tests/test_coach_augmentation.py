"""The rules of the coach for images and recordings that are the same in every epoch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dlpipe.coach import Scores

PIPELINE = """
name = "patient"
[data]
use = "{data}"
[model]
use = "{model}"
[trainer]
use = "core.supervised"
steps = 10
"""
DIGITS = PIPELINE.format(data="vision.digits", model="core.mlp")
SENTENCES = PIPELINE.format(data="audio.tone_sentences", model="audio.ctc_recognizer")
FLIGHTS = PIPELINE.format(data="text.flights", model="text.rnn_tagger")


def scores(other):
    return Scores("score/accuracy", "max", 0.99, other, "dev", 1000, 0.1, train_count=1000)


@pytest.mark.parametrize(
    ("text", "changes", "other", "found"),
    [
        (DIGITS, [], 0.77, {"vision.no-augmentation": {"data.augment": {"shift": 1}}}),
        (DIGITS, ["data.augment={shift=2}"], 0.77, {}),
        (DIGITS, [], 0.99, {}),
        (SENTENCES, [], 0.77, {"audio.no-augmentation": {"data.augment": {"speed": 0.1, "noise": 0.1}}}),
        (SENTENCES, ["data.augment={noise=0.1}"], 0.77, {}),
        (FLIGHTS, [], 0.77, {}),
    ],
)
def test_examples_that_are_never_changed_are_found_if_the_model_learns_them_by_heart(
    patient, text, changes, other, found
):
    patient = patient(text)

    answers = patient.asked_about(replace(patient.case({}, *changes), scores=scores(other)), *changes)

    assert {
        name: dict(each.remedies[0].values) for name, each in answers.items() if name.endswith("no-augmentation")
    } == found
