"""The program itself, in processes of its own: what needs no torch must not import it, and tells where it went wrong."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SLOT_FILLING = Path(__file__).parents[3] / "pipelines" / "slot_filling.toml"
MISTAKES = """\
name = "x"
sede = 3
[data]
use = "text.fligths"
[model]
use = "text.rnn_tagger"
hiden_dim = 3
epochs = 3
[trainer]
use = "core.supervised"
epochs = "ten"
optimizer = { use = "adm" }
"""
#: Runs the program and says at its end what it has imported.
WATCHED = """
import atexit, sys
atexit.register(lambda: print(sorted({"torch", "numpy"} & set(sys.modules)), file=sys.stderr))
sys.argv[0] = "dlpipe"
from dlpipe.cli import main
main()
"""


@pytest.fixture
def dlpipe(tmp_path):
    """Run the program in an empty folder."""

    def dlpipe(*arguments, program=("-m", "dlpipe"), **environ):
        known = {key: value for key, value in os.environ.items() if not key.startswith(("DLPIPE_", "_DLPIPE"))}
        return subprocess.run(
            [sys.executable, *program, *map(str, arguments)],
            cwd=tmp_path,
            env={**known, **environ},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return dlpipe


@pytest.fixture
def outside(tmp_path):
    """Install a plugin for one process: a folder to put on PYTHONPATH."""

    def outside(code, namespace="outside"):
        folder = tmp_path / "site"
        info = folder / f"dlpipe_{namespace}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dlpipe-{namespace}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[dlpipe.plugins]\n{namespace} = plugin_{namespace}\n")
        (folder / f"plugin_{namespace}.py").write_text(code)
        return {"PYTHONPATH": str(folder)}

    return outside


# Nothing heavy


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["plugins"],
        ["check", SLOT_FILLING],
        ["show", SLOT_FILLING, "--origins"],
        ["show", "text.rnn_tagger"],
        ["schema"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_only_reads_imports_neither_torch_nor_numpy(dlpipe, arguments):
    answer = dlpipe(*arguments, program=("-c", WATCHED))

    assert (answer.returncode, answer.stderr) == (0, "[]\n")
    assert answer.stdout


def test_shell_completion_imports_neither_torch_nor_numpy(dlpipe):
    answer = dlpipe(program=("-c", WATCHED), _DLPIPE_COMPLETE="bash_complete", COMP_WORDS="dlpipe ch", COMP_CWORD="1")

    assert answer.stdout.split() == ["plain,check"]
    assert answer.stderr == "[]\n"


# Answers


def test_help_lists_every_command_and_the_exit_codes(dlpipe):
    answer = dlpipe("--help")

    assert answer.returncode == 0
    for word in ("run", "check", "list", "show", "plugins", "schema", "Exit codes: 0 done"):
        assert word in answer.stdout


def test_list_shows_components_by_kind(dlpipe):
    everything, models = dlpipe("list").stdout, dlpipe("list", "model").stdout

    assert "text.flights" in everything
    assert "core.supervised" in everything
    assert "text.rnn_tagger" in models
    assert "text.flights" not in models


def test_list_says_what_a_component_lacks(dlpipe, outside):
    environ = outside(
        "from dlpipe import ModelSpec, hookimpl\n@hookimpl\ndef dlpipe_models():\n"
        "    return [ModelSpec('far', 'm:X', 'needs more', requires=('no-such-dist',), extra='dlpipe[far]')]"
    )

    text = dlpipe("list", "model", **environ).stdout
    listed = json.loads(dlpipe("list", "model", "--json", **environ).stdout)["model"]
    (far,) = [component for component in listed if component["name"] == "outside.far"]

    assert 'needs more  (needs no-such-dist: pip install "dlpipe[far]")' in text
    assert (far["needs"], far["install"], far["distribution"]) == (
        ["no-such-dist"],
        "dlpipe[far]",
        "dlpipe-outside 1.0",
    )


def test_plugins_shows_what_became_of_each(dlpipe, outside):
    environ = outside("1 / 0")

    answer = dlpipe("plugins", **environ)
    rows = {row["namespace"]: row for row in json.loads(dlpipe("plugins", "--json", **environ).stdout)}

    assert answer.returncode == 0
    assert "outside      broken       dlpipe-outside 1.0 ZeroDivisionError: division by zero" in answer.stdout
    assert rows["core"]["status"] == "ok"
    assert rows["core"]["offers"]["trainer"] >= 1
    assert rows["outside"]["cause"] == "ZeroDivisionError: division by zero"


def test_a_broken_plugin_is_one_line_on_stderr_and_harms_nothing(dlpipe, outside):
    answer = dlpipe("check", SLOT_FILLING, **outside("raise SystemExit(5)"))

    assert answer.returncode == 0
    assert answer.stderr == "warning: plugin 'outside' (dlpipe-outside 1.0) is broken: SystemExit: 5\n"


def test_check_says_that_nothing_is_wrong(dlpipe):
    answer = dlpipe("check", SLOT_FILLING)

    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == f"{SLOT_FILLING}: no mistakes\n"
    assert json.loads(dlpipe("check", SLOT_FILLING, "--json").stdout) == {"ok": True, "problems": []}


def test_check_names_every_mistake_on_stderr_and_exits_with_2(dlpipe, write):
    write(MISTAKES)

    answer = dlpipe("check", "pipeline.toml")

    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr.splitlines() == [
        'pipeline.toml:2: `sede`: unknown key. Did you mean "seed"?',
        'pipeline.toml:4: [data] use = "text.fligths": no plugin offers this data. Did you mean "text.flights"?',
        'pipeline.toml:7: [model] hiden_dim: unknown key of text.rnn_tagger. Did you mean "hidden_dim"?',
        "pipeline.toml:8: `epochs` belongs to [trainer], not to [model]",
        'pipeline.toml:11: [trainer] epochs = "ten": expected a whole number above 0',
        'pipeline.toml:12: [trainer] optimizer use = "adm": unknown optimizer. Did you mean "adam"?',
    ]


def test_check_as_json_holds_every_mistake(dlpipe, write):
    write(MISTAKES)

    answer = dlpipe("check", "pipeline.toml", "--json", "--set", "model.cell=lsmt")
    told = json.loads(answer.stdout)

    assert (answer.returncode, answer.stderr, told["ok"]) == (2, "", False)
    assert len(told["problems"]) == 7
    assert told["problems"][0] == {
        "file": "--set",
        "line": 0,
        "message": '[model] cell = "lsmt": expected one of "elman", "jordan", "gru", "lstm"',
    }


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_missing_plugin_exits_with_3(dlpipe, options):
    answer = dlpipe("check", SLOT_FILLING, *options, DLPIPE_DISABLE_PLUGINS="text")

    assert answer.returncode == 3
    assert "plugin 'text' (" in answer.stdout + answer.stderr
    assert "is disabled: DLPIPE_DISABLE_PLUGINS names it" in answer.stdout + answer.stderr


def test_a_local_plugin_runs_only_when_allowed(dlpipe, write):
    write("raise RuntimeError('it ran')", "mine.py")
    write('plugins = ["./mine.py"]\n' + SLOT_FILLING.read_text(encoding="utf-8"))

    refused = dlpipe("check", "pipeline.toml")
    allowed = dlpipe("check", "pipeline.toml", "--allow-local-plugins")

    assert refused.returncode == 2
    assert 'pipeline.toml:1: plugins: "./mine.py" would run Python code; allow it with' in refused.stderr
    assert allowed.returncode == 3
    assert allowed.stderr.startswith("pipeline.toml:1: plugin 'mine' (")
    assert "is broken: RuntimeError: it ran" in allowed.stderr


def test_show_prints_a_pipeline_that_is_complete_and_right(dlpipe, write):
    answer = dlpipe("show", SLOT_FILLING, "--set", "model.cell=gru")

    resolved = tomllib.loads(answer.stdout)
    write(answer.stdout, "resolved.toml")
    assert resolved["model"]["cell"] == "gru"
    assert resolved["trainer"]["log_every"] == 50
    assert tomllib.loads(dlpipe("show", "resolved.toml").stdout) == resolved
    assert json.loads(dlpipe("show", "resolved.toml", "--json").stdout) == resolved


def test_show_origins_says_who_set_each_value(dlpipe, write):
    write('extends = "base.toml"\nseed = 8\n')
    write(SLOT_FILLING.read_text(encoding="utf-8"), "base.toml")
    line = SLOT_FILLING.read_text(encoding="utf-8").splitlines().index("hidden_dim = 100") + 1

    rows = dlpipe("show", "pipeline.toml", "--origins", "--set", "model.cell=gru").stdout.splitlines()

    origins = {row.partition(" = ")[0]: row.partition("  # ")[2].strip() for row in rows}
    assert origins["seed"] == "pipeline.toml:2"
    assert origins["model.hidden_dim"] == f"base.toml:{line}"
    assert origins["model.cell"] == "--set"
    assert origins["model.embed_dim"] == "default"


def test_show_of_a_component_tells_its_keys(dlpipe):
    text = dlpipe("show", "core.supervised").stdout
    told = json.loads(dlpipe("show", "text.rnn_tagger", "--json").stdout)
    keys = {parameter["name"]: parameter for parameter in told["parameters"]}

    assert "given by dlpipe or by the data: model, data, compute, seed" in text
    assert "batch_size = 32\n      a whole number above 0" in text
    assert "\n  patience" in text
    assert (told["name"], told["kind"], told["needs"]) == (
        "text.rnn_tagger",
        "model",
        ["vocab_size", "num_trigrams", "labels"],
    )
    assert keys["dropout"]["expects"] == "a number at least 0 and below 1"
    assert keys["dropout"]["default"] == 0.5


def test_show_of_data_leaves_out_what_dlpipe_gives(dlpipe):
    text = dlpipe("show", "text.atis").stdout

    assert "given by dlpipe or by the data: offline" in text
    assert "offline = false" not in text


def test_show_says_what_must_be_given(dlpipe, outside):
    environ = outside(
        "from dlpipe import CallbackSpec, hookimpl\n@hookimpl\ndef dlpipe_callbacks():\n"
        "    return [CallbackSpec('mail', ':Mail', 'writes')]\n"
        "class Mail:\n    def __init__(self, address: str): ..."
    )

    assert "address (must be given)\n      text" in dlpipe("show", "outside.mail", **environ).stdout


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("text.rnn_taggr", 'is neither a pipeline file, a run folder nor a component. Did you mean "text.rnn_tagger"?'),
        ("core.check", "core.check is neither a pipeline file, a run folder nor a component."),
        ("missing.toml", "missing.toml: there is no such pipeline file."),
        (".", "is not a run folder: it has no resolved.toml; expected a folder that `dlpipe run` has made"),
    ],
)
def test_show_of_nothing_exits_with_2(dlpipe, what, message):
    answer = dlpipe("show", what)

    assert answer.returncode == 2
    assert message in answer.stderr


def test_schema_is_printed_or_written(dlpipe, tmp_path):
    printed = dlpipe("schema")
    written = dlpipe("schema", "--output", "pipeline.schema.json")

    assert json.loads(printed.stdout)["$schema"] == "http://json-schema.org/draft-04/schema#"
    assert (written.returncode, written.stdout) == (0, "")
    assert (tmp_path / "pipeline.schema.json").read_text(encoding="utf-8") == printed.stdout


def test_schema_that_cannot_be_written_exits_with_2(dlpipe):
    answer = dlpipe("schema", "--output", "no/such/folder.json")

    assert answer.returncode == 2
    assert answer.stderr == (
        "no/such/folder.json cannot be written: No such file or directory; choose another --output\n"
    )


# Errors


@pytest.mark.parametrize("arguments", [["chekc"], ["list", "modle"], ["check"], ["check", "a", "--wrong"]])
def test_a_wrong_command_line_exits_with_2(dlpipe, arguments):
    answer = dlpipe(*arguments)

    assert (answer.returncode, answer.stdout) == (2, "")
    assert "Usage: dlpipe" in answer.stderr


def test_debug_shows_the_traceback(dlpipe):
    plain, debug = dlpipe("check", "missing.toml"), dlpipe("--debug", "check", "missing.toml")

    assert plain.stderr == "missing.toml: there is no such pipeline file.\n"
    assert plain.returncode == debug.returncode == 2
    assert "Traceback (most recent call last)" in debug.stderr
    assert debug.stderr.endswith(plain.stderr)


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "dlpipe", "schema"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.read(1)
        process.stdout.close()

        assert process.stderr.read() == b""
        assert process.wait(timeout=60) in (0, 1)


@pytest.mark.parametrize(
    "text", [b"\xff\xfe", b"\0", b"a = " + b"[" * 10_000, b"a." * 50_000, b"a = " + b"9" * 5000, b"'\\u0000' = 3"]
)
def test_no_file_gives_a_traceback(dlpipe, write, text):
    write(text)

    answer = dlpipe("check", "pipeline.toml")

    assert answer.returncode == 2
    assert answer.stderr.startswith("pipeline.toml:")
    assert "Traceback" not in answer.stderr


def test_a_misspelt_command_names_the_nearest_one(dlpipe):
    done = dlpipe("rnu", "pipeline.toml")

    assert done.returncode == 2
    assert "No such command 'rnu'. Did you mean \"run\"?" in done.stderr
