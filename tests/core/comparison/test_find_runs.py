import pytest

from dlpipe.comparison.find_runs import find_runs
from dlpipe.errors import InputError


@pytest.fixture
def runs(make_run):
    make_run("2026-01-03_000000-aaaa", began="2026-01-03T00:00:00+0900")  # a day later to the west
    make_run("2026-01-02_200000-cccc", began="2026-01-02T20:00:00-0500")
    folder = make_run("2026-01-02_230000-bbbb", pipeline="other", began="2026-01-02T23:00:00+0000").parents[1]
    (folder / "digits" / "latest").symlink_to("2026-01-02_200000-cccc")
    (folder / "digits" / "sweeps").mkdir()
    return folder


def letters(found):
    return [path.name[-4:] for path in found]


def test_a_pipeline_stands_for_its_newest_run(runs):
    assert letters(find_runs(["digits", str(runs / "other")], runs)) == ["cccc", "bbbb"]


def test_a_run_counts_once_also_as_latest_and_tables_of_sweeps_are_no_runs(runs):
    assert letters(find_runs([str(runs / "digits" / "*")], runs)) == ["cccc", "aaaa"]
    assert letters(find_runs(sorted(map(str, (runs / "digits").iterdir())), runs)) == ["cccc", "aaaa"]


def test_the_newest_of_a_pipeline_or_of_all(runs):
    assert letters(find_runs([], runs, last=2)) == ["bbbb", "cccc"]
    assert letters(find_runs(["digits"], runs, last=5)) == ["aaaa", "cccc"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digts", "digts: there is no such run folder, nor runs of a pipeline of that name; there are digits$"),
        ("x*", "x\\*: no folder matches; expected run folders"),
        ("empty", "empty is not a run folder: it has no resolved.toml, and there are no runs in it"),
    ],
)
def test_what_is_no_run_is_refused(runs, name, message):
    (runs / "empty").mkdir()

    with pytest.raises(InputError, match=message):
        find_runs([name], runs)
