"""One line per log point, and what is truncated after a kill."""

import pytest

from dlpipe.errors import DlpipeError, RunFolderError
from dlpipe.runs.metrics_log import MetricsLog


def test_metrics_are_appended_and_read_back(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")

    log.append({"step": 1, "train/loss": 0.5})
    log.append({"step": 2, "train/loss": 0.25})

    assert log.records() == [{"step": 1, "train/loss": 0.5}, {"step": 2, "train/loss": 0.25}]


def test_what_was_written_after_a_checkpoint_is_cut_off(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"step": 1})
    size = log.size()
    log.append({"step": 2})
    with log.path.open("a") as file:
        file.write('{"step": 3, "tra')  # killed in the middle of a line

    log.truncate(size)

    assert log.records() == [{"step": 1}]


def test_a_log_that_was_never_written_has_no_records(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")

    log.truncate(0)

    assert log.size() == 0
    assert log.records() == []


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(DlpipeError, match=r"metrics.jsonl cannot be written: No such file or directory"):
        MetricsLog(tmp_path / "gone" / "metrics.jsonl").append({"step": 1})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"metrics\.jsonl:2 cannot be read: Expecting property name"),
        ("[1]", r"metrics\.jsonl:2 holds a list; expected an object"),
        (
            '{"step": 1, "train/loss": "low"}',
            r'metrics\.jsonl:2: "train/loss\S*" is "low": .*; it was not written by dlp',
        ),
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path, line, message):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1, "train/loss": null}}\n{line}\n')

    with pytest.raises(RunFolderError, match=message):
        MetricsLog(path).records()
