"""`dlpipe doctor` finds what keeps an installation or a pipeline from working, and says what to do."""

from __future__ import annotations

import builtins
import importlib
import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlpipe import figures
from dlpipe.cli import make_program
from dlpipe.commands import diagnosis
from dlpipe.commands.diagnosis import diagnose_pipeline
from dlpipe.errors import PluginError
from dlpipe.registry.loading import Plugin, Registry, load_plugins

ITEMS = ["environment", "devices", "dependencies", "cache", "runs", "fonts", "plugins"]


@pytest.fixture(autouse=True)
def healthy(tmp_path, monkeypatch):
    """An installation with one copy of dlpipe, whose folders can be written to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path / "cache"))
    core = Path(figures.__file__).parents[1]
    there = {path for path in sys.path if (Path(path) / "dlpipe" / "__init__.py").is_file()}
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in there or Path(path).resolve() == core])


def doctor(*arguments, registry=None):
    registry = registry or load_plugins()
    return CliRunner().invoke(make_program(registry), ["doctor", *map(str, arguments)], obj=registry)


def write(text, name="mine.toml"):
    Path(name).write_text(text)
    return name


def test_a_healthy_installation_has_no_problem():
    answer = doctor()

    assert answer.exit_code == 0, answer.output
    assert [line for line in answer.stdout.splitlines() if line in ITEMS] == ITEMS
    assert "dlpipe 0.1.0, imported from" in answer.stdout
    assert not re.search("^!", answer.stdout, re.M)


def test_json_has_the_same_findings():
    found = json.loads(doctor("--json").stdout)

    assert {finding["area"] for finding in found} == set(ITEMS)
    assert set(found[0]) == {"area", "status", "text", "advice"}
    assert all(finding["advice"] for finding in found if finding["status"] != "ok")


def test_a_second_copy_of_dlpipe_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "old" / "dlpipe").mkdir(parents=True)
    (tmp_path / "old" / "dlpipe" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "old")])

    assert f"! there is another copy of dlpipe in {tmp_path}/old/dlpipe\n    uninstall one of them" in doctor().stdout


@pytest.mark.parametrize("error", [ImportError("libcudart.so"), OSError("wrong ELF class"), SystemExit("no")])
def test_without_a_working_torch_the_rest_is_examined(monkeypatch, error):
    known = importlib.import_module

    def import_module(name, *rest):
        if name == "torch":
            raise error
        return known(name, *rest)

    monkeypatch.setattr(importlib, "import_module", import_module)
    answer = doctor()

    assert f"! torch cannot be imported: {type(error).__name__}: {error}\n    install it again" in answer.stdout
    assert "fonts" in answer.stdout
    assert isinstance(answer.exception, PluginError)


def test_a_torch_without_cuda_is_called_that(monkeypatch):
    torch = importlib.import_module("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)

    assert "- torch was built without CUDA; pipelines run on the CPU\n    for an NVIDIA GPU" in doctor().stdout


def test_a_version_out_of_bounds_and_a_missing_extra_come_with_the_command(monkeypatch):
    requirements = ["click>=99", "numpy<99,>=1.26", "absent-one>=2; extra == 'speech'", "pytest>=99; extra == 'test'"]
    monkeypatch.setattr(diagnosis.metadata, "requires", lambda _: requirements)

    found = [(each.status, each.text, each.advice) for each in diagnosis._dependencies()]

    assert found[0][0] == "problem"
    assert re.fullmatch(r"click \S+; dlpipe needs click>=99", found[0][1])
    assert found[0][2] == 'pip install "click>=99"'
    assert found[1][:2] == ("ok", "1 installed packages have versions that dlpipe supports")
    assert found[2][1] == "the extra speech is not installed completely: without absent-one"
    assert "[speech]" in found[2][2]
    assert len(found) == 3


def test_a_folder_that_cannot_be_written_to_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path / "file" / "cache"))

    stdout = doctor("--runs", tmp_path / "file").stdout

    assert "file/cache cannot be written to\n    set DLPIPE_CACHE to a folder that you can write to" in stdout
    assert "file cannot be written to\n    choose another folder with --runs" in stdout


def test_a_full_disk_and_a_large_cache_are_told(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "data").write_bytes(bytes(5_000))
    monkeypatch.setattr(diagnosis.shutil, "disk_usage", lambda _: diagnosis.shutil._ntuple_diskusage(9, 2, 7_000_000))

    stdout = doctor().stdout

    assert "cache, 5 kB used, 7 MB free\n    free some space" in stdout
    assert "- runs (not there yet), 7 MB free" in stdout


def test_fonts_are_examined_without_matplotlib(monkeypatch):
    known = builtins.__import__

    def imported(name, *rest):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError("No module named 'matplotlib'")
        return known(name, *rest)

    figures._fonts_for.cache_clear()
    monkeypatch.setattr(builtins, "__import__", imported)
    found = diagnosis._font()

    assert found.text == "figures cannot be drawn: ModuleNotFoundError: No module named 'matplotlib'"
    assert "[report]" in found.advice


def test_a_font_for_chinese_is_recommended(monkeypatch):
    monkeypatch.setattr(figures, "_fonts_for", lambda characters: ([], list(characters)))

    found = diagnosis._font()

    assert found.text.startswith("no installed font has")
    assert found.advice.startswith("install a font that has them")


def test_a_broken_plugin_is_a_problem_and_a_disabled_one_is_not():
    registry = load_plugins()
    registry.plugins.append(Plugin("bad", "bad.plugin", "dlpipe-bad 1.0", "broken", "ImportError: no"))
    registry.plugins.append(
        Plugin("off", "off.plugin", "dlpipe-off 1.0", "disabled", "DLPIPE_PLUGINS does not name it")
    )

    answer = doctor(registry=registry)

    assert "! plugin 'bad' (dlpipe-bad 1.0) is broken: ImportError: no\n    dlpipe plugins --check bad" in answer.stdout
    assert "- plugin 'off' (dlpipe-off 1.0) is disabled" in answer.stdout
    assert answer.exception.exit_code == 3
    assert str(answer.exception) == "1 problem"


def test_a_shipped_pipeline_is_fine():
    answer = doctor("slot_filling")

    assert answer.exit_code == 0
    assert "slot_filling.toml: no mistakes, everything that it needs is installed" in answer.stdout


def test_what_a_pipeline_needs_comes_with_the_next_step():
    file = write('name = "x"\n[data]\nuse = "absent.words"\n')

    answer = doctor(file)

    assert "! mine.toml:3: [data] use" in answer.stdout
    assert "no installed plugin has the namespace 'absent'" in answer.stdout
    assert answer.exception.exit_code == 3


def test_a_pipeline_file_that_is_not_there_is_a_finding():
    assert "nothing.toml" in doctor("nothing.toml").stdout


def test_data_files_that_do_not_exist_are_named(root):
    (found, *_) = diagnose_pipeline(load_plugins(), absent_data(), allow_local_plugins=False)

    assert found.status == "problem"
    assert re.search(r"\[data\] \w+ = .*there.*: does not exist", found.text), found
    assert found.advice.startswith("create it, or set ")


def absent_data():
    return Path(
        write(
            'name = "x"\n[data]\nuse = "vision.image_folder"\npath = "not/there"\n'
            '[model]\nuse = "core.mlp"\n[trainer]\nuse = "core.supervised"\nepochs = 1\n'
            '[evaluators.loss]\nuse = "core.loss"\n'
        )
    )


def test_an_empty_registry_does_not_crash():
    assert not [*diagnosis._plugins(Registry())]
