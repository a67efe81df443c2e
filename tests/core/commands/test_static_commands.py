"""The whole program: commands that need no torch do not import it, and errors say where they are.

It runs in a process of its own where that matters, for what it imports and for plugins that are installed for it; else
in this one, which saves half a second each time.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

from dlpipe.cli import main

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


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """Let no variable of the environment decide what the program does."""
    for name in [name for name in os.environ if name.startswith(("DLPIPE_", "_DLPIPE"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def process(tmp_path):
    """Run the program in a process of its own and an empty folder."""

    def process(*arguments, program=("-m", "dlpipe"), **environ):
        return subprocess.run(
            [sys.executable, *program, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return process


@pytest.fixture
def dlpipe(tmp_path, monkeypatch, capfd):
    """Run the program in this process and an empty folder."""

    def dlpipe(*arguments):
        words = ["dlpipe", *map(str, arguments)]
        capfd.readouterr()
        with monkeypatch.context() as changed:
            changed.chdir(tmp_path)
            changed.setattr(sys, "argv", words)
            for module, name in ((sys, "stdout"), (sys, "stderr"), (warnings, "showwarning")):
                changed.setattr(module, name, getattr(module, name))  # the program replaces them
            with pytest.raises(SystemExit) as ended:
                main()
        return subprocess.CompletedProcess(words, ended.value.code, *capfd.readouterr())

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
        return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}

    return outside


# Nothing heavy


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["list", "pipelines"],
        ["new", "pipeline", "slot_filling"],
        ["new", "plugin", "mine"],
        ["doctor", "--help"],
        ["plugins"],
        ["check", SLOT_FILLING],
        ["show", SLOT_FILLING, "--origins"],
        ["show", "text.rnn_tagger"],
        ["schema"],
    ],
    ids=lambda arguments: "-".join(map(str, arguments[:2])),
)
def test_a_command_that_runs_no_model_imports_neither_torch_nor_numpy(process, arguments):
    answer = process(*arguments, program=("-c", WATCHED))

    assert (answer.returncode, answer.stderr.splitlines()[-1]) == (0, "[]")
    assert answer.stdout


def test_shell_completion_imports_neither_torch_nor_numpy(process):
    answer = process(program=("-c", WATCHED), _DLPIPE_COMPLETE="bash_complete", COMP_WORDS="dlpipe ch", COMP_CWORD="1")

    assert answer.stdout.split() == ["plain,check"]
    assert answer.stderr == "[]\n"


# Answers


def test_help_lists_every_command_and_the_exit_codes(dlpipe):
    answer = dlpipe("--help")

    assert answer.returncode == 0
    for word in ("run", "check", "list", "show", "plugins", "schema", "new", "Exit codes: 0 success"):
        assert word in answer.stdout


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_has_help_without_a_run(dlpipe, option):
    assert dlpipe("predict", option).stdout.startswith("Usage: dlpipe predict [OPTIONS] RUN [ITEMS]")


def test_list_shows_components_by_kind(dlpipe):
    everything, models = dlpipe("list").stdout, dlpipe("list", "model").stdout

    assert "text.flights" in everything
    assert "core.supervised" in everything
    assert "text.rnn_tagger" in models
    assert "text.flights" not in models


def test_list_and_show_say_what_a_component_lacks_and_how_to_install_it(process, outside):
    environ = outside(
        "from dlpipe import ModelSpec, hookimpl\n@hookimpl\ndef dlpipe_models():\n"
        "    return [ModelSpec('far', ':Far', 'needs more', requires=('no-such-dist',), extra='dlpipe-outside[far]')]\nclass Far: pass"
    )

    text = process("list", "model", **environ).stdout
    shown = process("show", "outside.far", **environ).stdout
    listed = json.loads(process("list", "model", "--json", **environ).stdout)["model"]
    (far,) = [component for component in listed if component["name"] == "outside.far"]

    assert 'needs more  (needs no-such-dist: pip install "dlpipe-outside[far]")' in text
    assert 'needs no-such-dist; install with: pip install "dlpipe-outside[far]"' in shown
    assert (far["needs"], far["install"], far["distribution"]) == (
        ["no-such-dist"],
        'pip install "dlpipe-outside[far]"',
        "dlpipe-outside 1.0",
    )


def test_plugins_shows_the_status_of_each(process, outside):
    environ = outside("1 / 0")

    answer = process("plugins", **environ)
    rows = {row["namespace"]: row for row in json.loads(process("plugins", "--json", **environ).stdout)}

    assert answer.returncode == 3
    assert answer.stderr.endswith("outside: cannot be used\n")
    assert "outside      broken       dlpipe-outside 1.0 ZeroDivisionError: division by zero" in answer.stdout
    assert rows["core"]["status"] == "ok"
    assert rows["core"]["offers"]["trainer"] >= 1
    assert rows["outside"]["cause"] == "ZeroDivisionError: division by zero"


CARELESS = """
import click, torch
from dlpipe import CommandSpec, EvaluatorSpec, ModelSpec, TrainerSpec, hookimpl
from dlpipe.fields import Positive
print("hello")
class Untyped:
    def __init__(self, width, *, depth: Positive = 0): pass
class Learn:
    def __init__(self, model, *, moves: int = 3): pass
class Judge: pass
def odd(): pass
@click.command()
def fails(): {}["size"]
@hookimpl
def dlpipe_commands(): return [CommandSpec("odd", ":odd", "x"), CommandSpec("fails", ":fails", "x")]
@hookimpl
def dlpipe_models(): return [ModelSpec("untyped", ":Untyped", "x"), ModelSpec("gone", "outside_gone:Gone", "x"),
    ModelSpec("far", ":Far", "x", requires=("no-such-dist",), extra="dlpipe-outside[far]")]
@hookimpl
def dlpipe_trainers(): return [TrainerSpec("learn", ":Learn", "x", budget=("move",))]
@hookimpl
def dlpipe_evaluators(): return [EvaluatorSpec("judge", ":Judge", "x", from_trainer=("gamma",))]
"""


def test_plugins_check_names_what_no_run_has_shown_yet(process, outside):
    answer = process("plugins", "--check", "outside", **outside(CARELESS))

    assert answer.returncode == 3
    lines = [line.removeprefix("outside: ") for line in answer.stdout.splitlines() if line.startswith("outside: ")]
    assert re.fullmatch(r'\w+ prints "hello" when it is imported; every command would show this', lines[0])
    assert re.fullmatch(r"\w+ imports torch and numpy; import them in the modules of the targets", lines[1])
    assert lines[2:] == [
        'model "outside.untyped" does not say the type of width, so any value is accepted; annotate it with types of '
        "Python, typing or dlpipe.fields",
        'model "outside.untyped" has the default depth = 0, which its own annotation refuses; expected a whole number '
        "above 0",
        "model \"outside.gone\" outside_gone:Gone cannot be imported: ModuleNotFoundError: No module named 'outside_gone'",
        'trainer "outside.learn" names "move" in its record, which is not a parameter of plugin_outside:Learn',
        'evaluator "outside.judge" names "gamma" in its record, which is not a parameter of plugin_outside:Judge',
        'command "outside.odd" plugin_outside:odd is a function; expected a click.Command',
        'not checked: model "outside.far" needs no-such-dist; pip install "dlpipe-outside[far]"',
    ]
    assert answer.stderr.endswith("8 findings\n")


def test_a_command_that_is_none_is_a_mistake_of_the_plugin(process, outside):
    answer = process("odd", **outside(CARELESS))

    assert (answer.returncode, answer.stderr) == (3, "plugin_outside:odd is a function; expected a click.Command\n")


def test_what_a_command_of_a_plugin_raises_is_named_as_its_own(process, outside):
    answer = process("fails", **outside(CARELESS))

    assert answer.returncode == 1
    assert re.match(
        r"`dlpipe fails` \(dlpipe-outside 1.0\): KeyError: 'size' \(.*plugin_outside.py:\d+, in fails\). Run it again",
        answer.stderr,
    )


def test_plugins_check_finds_nothing_wrong_with_the_built_in_plugins(dlpipe):
    answer = dlpipe("plugins", "--check", "--json")

    assert answer.returncode == 0, answer.stdout
    assert not any(told["findings"] for told in json.loads(answer.stdout).values())


def test_an_unknown_plugin_is_an_error_that_lists_those_there_are(dlpipe):
    answer = dlpipe("plugins", "nope")

    assert answer.returncode == 2
    assert answer.stderr.startswith('there is no plugin "nope"; installed: ')


def test_a_broken_plugin_is_one_line_on_stderr_and_affects_nothing_else(process, outside):
    answer = process("check", SLOT_FILLING, **outside("raise SystemExit(5)"))

    assert answer.returncode == 0
    assert answer.stderr == "warning: plugin 'outside' (dlpipe-outside 1.0) is broken: SystemExit: 5\n"


def test_check_says_that_there_are_no_mistakes(dlpipe):
    answer = dlpipe("check", SLOT_FILLING)

    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == f"{SLOT_FILLING}: no mistakes\n"
    assert json.loads(dlpipe("check", SLOT_FILLING, "--json").stdout) == {"ok": True, "problems": [], "warnings": []}


def test_check_reports_every_mistake_on_stderr_and_exits_with_2(dlpipe, write):
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


def test_check_as_json_has_every_mistake(dlpipe, write):
    write(MISTAKES)

    answer = dlpipe("check", "pipeline.toml", "--json", "--set", "model.cell=lsmt")
    answered = json.loads(answer.stdout)

    assert (answer.returncode, answer.stderr, answered["ok"]) == (2, "", False)
    assert len(answered["problems"]) == 7
    assert answered["problems"][0] == {
        "file": "--set",
        "line": 0,
        "message": '[model] cell = "lsmt": expected one of "elman", "jordan", "gru", "lstm". Did you mean "lstm"?',
    }


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_missing_plugin_exits_with_3(dlpipe, monkeypatch, options):
    monkeypatch.setenv("DLPIPE_DISABLE_PLUGINS", "text")

    answer = dlpipe("check", SLOT_FILLING, *options)

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


def test_show_prints_a_complete_pipeline_that_can_be_checked_again(dlpipe, write):
    answer = dlpipe("show", SLOT_FILLING, "--set", "model.cell=gru")

    resolved = tomllib.loads(answer.stdout)
    write(answer.stdout, "resolved.toml")
    assert resolved["model"]["cell"] == "gru"
    assert resolved["trainer"]["log_every"] == 50
    assert tomllib.loads(dlpipe("show", "resolved.toml").stdout) == resolved
    assert json.loads(dlpipe("show", "resolved.toml", "--json").stdout) == resolved


def test_show_has_settings_that_are_not_finite_in_json_as_toml_writes_them(dlpipe):
    answer = dlpipe("show", SLOT_FILLING, "--set", "trainer.max_grad_norm=inf", "--json")

    assert json.loads(answer.stdout)["trainer"]["max_grad_norm"] == "inf"


def test_show_origins_says_what_set_each_value(dlpipe, write):
    write('extends = "base.toml"\nseed = 8\n')
    write(SLOT_FILLING.read_text(encoding="utf-8"), "base.toml")
    line = SLOT_FILLING.read_text(encoding="utf-8").splitlines().index("hidden_dim = 100") + 1

    rows = dlpipe("show", "pipeline.toml", "--origins", "--set", "model.cell=gru").stdout.splitlines()

    origins = {row.partition(" = ")[0]: row.partition("  # ")[2].strip() for row in rows}
    assert origins["seed"] == "pipeline.toml:2"
    assert origins["model.hidden_dim"] == f"base.toml:{line}"
    assert origins["model.cell"] == "--set"
    assert origins["model.embed_dim"] == "default"


def test_show_of_a_component_lists_its_keys(dlpipe):
    text = dlpipe("show", "core.supervised").stdout
    answered = json.loads(dlpipe("show", "text.rnn_tagger", "--json").stdout)
    keys = {parameter["name"]: parameter for parameter in answered["parameters"]}

    assert "provided by dlpipe or by the data: model, data, compute, seed" in text
    assert "batch_size = 32\n      a whole number above 0" in text
    assert "\n  patience" in text
    assert (answered["name"], answered["kind"], answered["needs"]) == (
        "text.rnn_tagger",
        "model",
        ["vocabulary", "num_trigrams", "labels"],
    )
    assert keys["dropout"]["expects"] == "a number of at least 0 and below 1"
    assert keys["dropout"]["default"] == 0.5


@pytest.mark.parametrize(
    ("name", "kind", "key"),
    [
        ("adam", "optimizer", "weight_decay"),
        ("step", "schedule", "gamma"),
        ("huber", "loss", "delta"),
        ("l1", "loss", ""),
    ],
)
def test_show_knows_what_list_has_without_a_namespace(dlpipe, name, kind, key):
    text = dlpipe("show", name).stdout
    answered = json.loads(dlpipe("show", name, "--json").stdout)

    assert text.startswith(f"{name}  ({kind})\n")
    assert (answered["name"], answered["kind"]) == (name, kind)
    assert key in [parameter["name"] for parameter in answered["parameters"]] or not key
    assert "params" not in text


def test_show_of_data_leaves_out_what_dlpipe_provides(dlpipe):
    text = dlpipe("show", "text.atis").stdout

    assert "provided by dlpipe or by the data: offline" in text
    assert "offline = false" not in text


def test_show_says_what_is_required(process, outside):
    environ = outside(
        "from dlpipe import CallbackSpec, hookimpl\n@hookimpl\ndef dlpipe_callbacks():\n"
        "    return [CallbackSpec('mail', ':Mail', 'writes')]\n"
        "class Mail:\n    def __init__(self, address: str): ..."
    )

    assert "address (required)\n      a string" in process("show", "outside.mail", **environ).stdout


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("rl.forgotten", "is a rule of `dlpipe coach`, and no component; `dlpipe list rules` says what it finds"),
        ("text.rnn_taggr", 'is neither a pipeline, a run folder nor a component. Did you mean "text.rnn_tagger"?'),
        ("core.check", "core.check is neither a pipeline, a run folder nor a component."),
        ("admw", 'nor a component. Did you mean "adamw"?'),
        ("slot_filing", 'nor a component. Did you mean "slot_filling"?'),
        ("missing.toml", "missing.toml: there is no such pipeline file."),
        (".", "is not a run folder: it has no resolved.toml; expected a folder created by `dlpipe run`"),
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


def test_closing_the_output_is_not_an_error(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "dlpipe", "schema"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.read(1)
        process.stdout.close()

        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    "text", [b"\xff\xfe", b"\0", b"a = " + b"[" * 10_000, b"a." * 50_000, b"a = " + b"9" * 5000, b"'\\u0000' = 3"]
)
def test_no_file_gives_a_traceback(dlpipe, write, text):
    write(text)

    answer = dlpipe("check", "pipeline.toml")

    assert answer.returncode == 2
    assert answer.stderr.startswith("pipeline.toml:")
    assert "Traceback" not in answer.stderr


def test_a_misspelled_command_names_the_nearest_one(dlpipe):
    done = dlpipe("rnu", "pipeline.toml")

    assert done.returncode == 2
    assert "unknown command 'rnu'. Did you mean \"run\"?" in done.stderr


# The pipelines that come with dlpipe


def test_list_pipelines_shows_names_and_summaries(dlpipe):
    rows = json.loads(dlpipe("list", "pipelines", "--json").stdout)["pipeline"]
    text = dlpipe("list", "pipelines").stdout

    assert {"slot_filling", "recipe/depth"} <= {row["name"] for row in rows}
    assert "  recipe/depth  " in text
    assert "text.flights" not in text


def test_list_names_rules_as_the_coach_prints_them(dlpipe):
    rows = json.loads(dlpipe("list", "rules", "--json").stdout)["rule"]

    assert {"vanishing-gradients", "rl.entropy-collapsed"} <= {row["name"] for row in rows}


@pytest.mark.parametrize("kind", ["model", "models"])
def test_list_takes_the_singular_and_the_plural(dlpipe, kind):
    assert "text.rnn_tagger" in dlpipe("list", kind).stdout


@pytest.mark.parametrize("command", ["check", "show"])
def test_a_pipeline_of_dlpipe_is_found_by_name(dlpipe, command):
    answer = dlpipe(command, "slot_filling")

    assert (answer.returncode, answer.stderr) == (0, "")
    assert "no mistakes" in answer.stdout or 'use = "text.flights"' in answer.stdout


def test_a_file_takes_precedence_over_a_pipeline_of_dlpipe(dlpipe, write):
    write("sede = 3", "slot_filling")

    assert "`sede`: unknown key" in dlpipe("check", "slot_filling").stderr


def test_new_pipeline_copies_a_pipeline_with_the_file_that_it_extends(dlpipe, tmp_path):
    answer = dlpipe("new", "pipeline", "slot_filling_feedforward", "--output", "mine.toml")

    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "mine.toml\nslot_filling.toml  (needed by mine.toml)\n"
    assert "dlpipe run mine.toml" in answer.stderr
    assert "#:schema" not in (tmp_path / "mine.toml").read_text(encoding="utf-8")
    assert dlpipe("check", "mine.toml").returncode == 0


def test_a_former_name_is_answered_with_the_new_one(process, outside, tmp_path):
    environ = outside(
        "from dlpipe import CallbackSpec, hookimpl\n@hookimpl\ndef dlpipe_callbacks():\n"
        "    return [CallbackSpec('near', ':Near', 'a callback', formerly=('far',), renamed={'often': 'every'})]\n"
        "class Near:\n    def __init__(self, *, every: int = 1): pass"
    )
    file = tmp_path / "old.toml"
    file.write_text(f'extends = "{SLOT_FILLING}"\n[callbacks.mine]\nuse = "outside.far"\noften = 3\n')
    warnings = [
        f"{file}:4: [callbacks.mine] often was renamed to every; use the new name",
        f'{file}:3: [callbacks.mine] use = "outside.far" was renamed to "outside.near"; use the new name',
    ]
    told = "".join(f"warning: {warning}\n" for warning in reversed(warnings))

    answer = process("show", "outside.far", **environ)
    assert answer.stderr == 'warning: outside.far was renamed to "outside.near"\n'
    assert answer.stdout.startswith("outside.near  (callback, ")
    assert process("check", str(file), **environ).stderr == told
    assert sorted(json.loads(process("check", str(file), "--json", **environ).stdout)["warnings"]) == sorted(warnings)
    shown = process("show", str(file), **environ)
    assert (shown.stderr, "every = 3" in shown.stdout) == (told, True)
