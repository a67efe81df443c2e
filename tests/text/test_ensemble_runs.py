"""Models that others are built with: they read the same ids as where they were trained, members predict the same classes."""

from __future__ import annotations

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import dry_run
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins

PIPELINE = """
name = "together"
device = "cpu"
threads = 1
[stages.one.data]
use = "text.labeled"
path = "one.csv"
{one}
[stages.one.model]
use = "text.cnn_classifier"
embed_dim = 3
num_filters = 2
[stages.one.trainer]
use = "core.supervised"
steps = 1
[stages.all.data]
use = "text.labeled"
path = "{path}"
ngrams = 1
[stages.all.model]
use = "core.ensemble"
members = [{{ stage = "one" }}]
[stages.all.trainer]
use = "core.no_training"
[stages.all.evaluators.classes]
use = "core.classification"
"""
ROWS = {"one.csv": ("a,good", "b,bad", "a c,good"), "two.csv": ("a,good", "b,poor", "a c,good")}


@pytest.fixture
def check(write, monkeypatch, tmp_path):
    """Rehearse the pipeline with these keys of the data of its first stage, and this table for its second one."""
    monkeypatch.chdir(tmp_path)
    for name, rows in ROWS.items():
        write("\n".join(["text,label", *rows * 9]), name)

    def rehearse(one="", path="one.csv"):
        file = write(PIPELINE.format(one=one, path=path), "it.toml")
        return dry_run(load_pipeline(file, load_plugins()))

    return rehearse


def test_members_with_the_words_and_classes_of_the_data_fit_whatever_other_members_count(check):
    assert check()["all"]["model"] == "Ensemble"


@pytest.mark.parametrize(
    ("one", "path", "difference"),
    [
        ("min_count = 10", "one.csv", 'other vocabulary: number 3 is missing there and "b" here'),
        ("", "two.csv", 'other labels: number 0 is "bad" there and "good" here'),
        ("ngrams = 2", "one.csv", r'other ngrams: number 3 is "a\\nc" there and "b" here'),
    ],
)
def test_members_that_know_other_words_or_classes_are_refused(check, one, path, difference):
    with pytest.raises(
        InputError,
        match=rf"\[stages.all.model\] members: stage one was trained with {difference}; expected the same, since a model",
    ):
        check(one, path)
