"""The pipelines that come with dlpipe can be found by name, described and copied."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dlpipe.config.shipped import copy_shipped, shipped_pipelines, summary_of
from dlpipe.errors import InputError


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_names_are_paths_below_the_folder_without_suffix(root):
    shipped = shipped_pipelines()

    assert shipped["slot_filling"] == root / "pipelines" / "slot_filling.toml"
    assert shipped["recipe/depth"] == root / "pipelines" / "recipe" / "depth.toml"
    assert len(shipped) == len(list((root / "pipelines").rglob("*.toml")))


def test_pipelines_within_the_package_take_precedence(tmp_path, monkeypatch):
    folder = tmp_path / "dlpipe" / "pipelines" / "sub"
    folder.mkdir(parents=True)
    (folder / "one.toml").write_text("")
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path / package)

    assert shipped_pipelines.__wrapped__() == {"sub/one": folder / "one.toml"}


def test_a_package_without_pipelines_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path / "core" / package)

    assert shipped_pipelines.__wrapped__() == {}


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("#:schema ./x.json\n# One. Two.\nname = 1\n", "One."),
        ("# One line\n# and another one: 3.5 of it! More.\n\n# Later.", "One line and another one: 3.5 of it!"),
        ("#:schema ./x.json\nname = 1 # One.\n", ""),
        ("", ""),
    ],
)
def test_the_summary_is_the_first_sentence_of_the_comment_at_the_top(write, text, summary):
    assert summary_of(write(text)) == summary


def test_a_copy_has_the_same_content_and_no_missing_schema(root):
    (file,) = copy_shipped("slot_filling")

    original = (root / "pipelines" / "slot_filling.toml").read_text(encoding="utf-8")
    assert file == Path("slot_filling.toml")
    assert original == f"#:schema ./pipeline.schema.json\n{file.read_text(encoding='utf-8')}"


def test_a_copy_next_to_a_schema_names_it(write):
    write("{}", "pipeline.schema.json")

    (file,) = copy_shipped("recipe/base", Path("mine.toml"))

    assert file.read_text(encoding="utf-8").startswith("#:schema ./pipeline.schema.json\n# ")


@pytest.mark.parametrize("name", shipped_pipelines())
def test_every_pipeline_is_copied_with_the_files_that_it_needs(name, tmp_path):
    (tmp_path / "new").mkdir()

    files = copy_shipped(name, Path("new"))

    assert files[0] == Path("new", f"{name.rpartition('/')[2]}.toml")
    for file in files:
        if file.suffix == ".toml":
            values = tomllib.loads(file.read_text(encoding="utf-8"))
            for needed in [*values.get("plugins", []), *([values["extends"]] if "extends" in values else [])]:
                assert (file.parent / needed) in files


def test_a_needed_file_with_the_same_content_is_left_alone():
    copy_shipped("recipe/depth")

    assert copy_shipped("recipe/loss") == [Path("loss.toml")]


def test_existing_files_are_not_overwritten(write):
    write("mine", "slot_filling.toml")

    with pytest.raises(InputError, match="^slot_filling.toml already exists; remove it, or choose another --output$"):
        copy_shipped("slot_filling")
    with pytest.raises(InputError, match="^slot_filling.toml already exists;"):
        copy_shipped("slot_filling_feedforward")
    assert not Path("slot_filling_feedforward.toml").exists()
    assert Path("slot_filling.toml").read_text(encoding="utf-8") == "mine"


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(
        InputError, match="has no pipeline 'slot_filing'. Did you mean \"slot_filling\"\\? See: dlpipe list"
    ):
        copy_shipped("slot_filing")


def test_a_file_that_cannot_be_written_is_reported():
    with pytest.raises(
        InputError, match="^nowhere/x.toml cannot be written: No such file or directory; choose another"
    ):
        copy_shipped("slot_filling", Path("nowhere/x.toml"))
