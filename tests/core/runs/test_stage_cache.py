from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dlpipe.runs.stage_cache import discard_incomplete, find_same, finish, is_finished, reuse_stage


def finished(runs, run, **content):
    """Make a run with one finished stage."""
    folder = runs / run / "stages" / "tag"
    (folder / "checkpoints" / "step-00000003").mkdir(parents=True)
    (folder / "checkpoints" / "step-00000003" / "weights").write_text("w")
    (folder / "checkpoints" / "best").symlink_to("step-00000003")
    (folder / "wandb" / "run" / "logs").mkdir(parents=True)
    (folder / "wandb" / "run" / "logs" / "debug-core.log").symlink_to("/nowhere")
    (folder / "metrics.jsonl").write_text('{"step": 3}\n')
    finish(folder, content)
    return folder


def test_a_stage_that_was_never_finished_says_so(tmp_path):
    assert find_same(tmp_path, tmp_path / "now", "tag", {"seed": 1}) == (None, "it has never been finished before")


def test_a_stage_with_the_same_ingredients_is_found(tmp_path):
    folder = finished(tmp_path, "one", seed=1, sizes=(2, 3))

    found, why = find_same(tmp_path, tmp_path / "now", "tag", {"seed": 1, "sizes": (2, 3)})

    assert found == folder
    assert why.startswith("nothing has changed since")


def test_what_changed_since_the_newest_one_is_named(tmp_path):
    newer, older = finished(tmp_path, "one", seed=2, epochs=3), finished(tmp_path, "two", seed=1)
    for folder, began in ((older, "2026-05-04T09:00:00+0900"), (newer, "2026-05-04T02:00:00+0000")):
        (folder.parents[1] / "provenance.json").write_text(f'{{"time": "{began}"}}')

    found, why = find_same(tmp_path, tmp_path / "now", "tag", {"seed": 5, "model.dim": 7})

    assert found is None
    assert why == "seed was 2 and is 5 now; epochs was 3 and is not set now; model.dim was not set and is 7 now"


def test_a_damaged_record_is_not_a_result(tmp_path):
    folder = finished(tmp_path, "one", seed=1)
    (folder / "stage.json").write_text('{"ingredients": 3}')

    found, why = find_same(tmp_path, tmp_path / "now", "tag", {"seed": 1})

    assert found is None
    assert why.endswith("stage.json does not say what it began with")


def test_a_run_does_not_find_itself(tmp_path):
    folder = finished(tmp_path, "one", seed=1)

    assert find_same(tmp_path, folder.parents[1], "tag", {"seed": 1})[0] is None


def test_the_link_to_the_newest_run_is_not_another_run(tmp_path):
    folder = finished(tmp_path, "one", seed=1)
    (tmp_path / "latest").symlink_to("one")

    assert find_same(tmp_path, folder.parents[1], "tag", {"seed": 1})[0] is None


def test_a_stage_that_is_taken_over_outlives_the_run_it_came_from(tmp_path):
    folder = finished(tmp_path, "one", seed=1)
    mine = tmp_path / "now" / "stages" / "tag"

    reuse_stage(folder, mine)
    for path in sorted((tmp_path / "one").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    assert is_finished(mine)
    assert (mine / "checkpoints" / "best" / "weights").read_text() == "w"


def test_the_files_of_a_stage_that_is_taken_over_are_its_own_and_the_checkpoints_linked(tmp_path):
    folder = finished(tmp_path, "one", seed=1)
    mine = tmp_path / "now" / "stages" / "tag"

    reuse_stage(folder, mine)

    own = {path.name: path.stat().st_nlink == 1 for path in mine.rglob("*") if path.is_file()}
    assert own == {"weights": False, "metrics.jsonl": True, "stage.json": True}


@pytest.mark.parametrize("last", ["metrics.jsonl", "stage.json", "weights"])
def test_a_stage_is_not_there_until_all_of_it_is(tmp_path, monkeypatch, last):
    folder = finished(tmp_path, "one", seed=1)
    mine = tmp_path / "now" / "stages" / "tag"
    for module, name, method in ((shutil, "copy2", shutil.copy2), (Path, "hardlink_to", Path.hardlink_to)):

        def killed(one, other, method=method):
            if last in (Path(one).name, Path(other).name):
                raise KeyboardInterrupt
            return method(one, other)

        monkeypatch.setattr(module, name, killed)

    with pytest.raises(KeyboardInterrupt):
        reuse_stage(folder, mine)
    assert not mine.exists()
    discard_incomplete(mine)

    assert not list(mine.parent.iterdir())
