"""What a stranger's names do to a terminal: nothing."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dlpipe.cli import main
from dlpipe.commands.terminal import echo, echo_weighted, echo_wrapped
from dlpipe.messages import Weighted
from dlpipe.training.progress import Progress

ESCAPE = "\x1b]0;owned\x07"


def test_what_commands_print_is_escaped_and_their_own_style_is_kept(capfd):
    echo(f"class {ESCAPE}", bold=True)
    echo(ESCAPE, err=True)

    told = capfd.readouterr()
    assert "\x1b]" not in told.out + told.err
    assert r"class \u001b]0;owned\u0007" in told.out


def test_what_a_run_reports_is_escaped_on_the_terminal_and_in_its_log(tmp_path):
    shown = io.StringIO()
    progress = Progress(tmp_path / "log.txt", Console(file=shown, force_terminal=True))

    progress.message(f"label {ESCAPE}")
    progress.warning(ESCAPE)
    progress.evaluated(3, 1, {ESCAPE: 0.5}, {f"dev/right/{ESCAPE}": 1.0}, f"dev/right/{ESCAPE}", better=True)

    assert "\x1b]" not in shown.getvalue() + (tmp_path / "log.txt").read_text()
    assert r"label \u001b]0;owned\u0007" in (tmp_path / "log.txt").read_text()


def test_an_error_with_a_strangers_name_is_escaped(tmp_path, monkeypatch, capfd):
    (tmp_path / "run.toml").write_text(
        f'name = "x"\n["{ESCAPE}"]\n'.replace("\x1b", r"\u001b").replace("\x07", r"\u0007")
    )
    (tmp_path / f"{ESCAPE}.toml").write_text("name = 3")
    monkeypatch.chdir(tmp_path)

    for file in ("run.toml", f"{ESCAPE}.toml"):
        monkeypatch.setattr("sys.argv", ["dlpipe", "--debug", "check", file])
        with pytest.raises(SystemExit, match="2"):
            main()

    told = capfd.readouterr().err
    assert r"\u001b]0;owned\u0007" in told
    assert "\x1b]" not in told


def test_weighted_pieces_are_colored_by_sign_bold_by_size_and_escaped(capsys, monkeypatch):
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_: False)

    echo_weighted(
        "words", [Weighted("a ", 10.0), Weighted("b ", -4.0), Weighted(f"{ESCAPE} ", 0.5), Weighted("d ", -6.0)]
    )

    assert capsys.readouterr().out == (
        "words: \x1b[36m\x1b[1ma \x1b[0m\x1b[31mb \x1b[0m\\u001b]0;owned\\u0007 \x1b[31m\x1b[1md \x1b[0m\n"
    )


def test_colors_are_removed_where_there_is_no_terminal(capsys):
    echo_weighted("words", [Weighted("good ", 1.0), Weighted("film", 0.0)])

    assert capsys.readouterr().out == "words: good film\n"


@pytest.mark.parametrize(
    ("columns", "lines"), [(30, ["  name  a summary of the", "        component"]), (None, 1), (27, 1)]
)
def test_text_is_wrapped_on_a_terminal_below_its_beginning_and_nowhere_else(monkeypatch, capsys, columns, lines):
    monkeypatch.setattr("dlpipe.commands.terminal.terminal_width", lambda: columns)

    echo_wrapped("  name  a summary of the component", 8)

    told = capsys.readouterr().out.splitlines()
    assert told == (["  name  a summary of the component"] if lines == 1 else lines)
