"""The output of a cell: one, replaced at most once a second, with everything escaped."""

from types import SimpleNamespace

import pytest

from dlpipe import notebook
from dlpipe.notebook import MAX_LINES, NotebookOutput, in_notebook
from dlpipe.progress import Activity, Display, make_console
from dlpipe.training.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(notebook.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def drawn(monkeypatch, clock):
    """All contents that were displayed, and the kinds of calls."""
    contents = []

    class Handle:
        def update(self, content, raw):
            contents.append(("update", content))

    def display(content, raw, display_id):
        contents.append(("display", content))
        return Handle()

    monkeypatch.setitem(notebook.sys.modules, "IPython.display", SimpleNamespace(display=display))
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(notebook.sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    return contents


def test_text_is_one_output_that_is_replaced_at_most_once_a_second(drawn, clock):
    output = NotebookOutput()
    for number in range(50):
        clock[0] += 0.1
        output.write(f"line {number}\n")
    output.close()

    assert [kind for kind, _ in drawn][:2] == ["display", "update"]
    assert len(drawn) <= 7
    assert drawn[-1][1]["text/plain"].splitlines()[-1] == "line 49"


def test_how_far_something_is_stands_below_the_text_until_it_ends(drawn, clock):
    output = NotebookOutput()
    output.write("begun\n")
    clock[0] += 1
    output.show(["step 5/20"])
    output.close()

    assert [content["text/plain"] for _, content in drawn] == ["begun", "begun\nstep 5/20", "begun"]


def test_what_has_not_changed_is_not_drawn_again(drawn, clock):
    output = NotebookOutput()
    for _ in range(5):
        clock[0] += 2
        output.show(["step 5/20"])

    assert len(drawn) == 1


def test_text_is_escaped(drawn):
    NotebookOutput().write("<script>alert(1)</script>\n")

    assert "<script>" not in drawn[0][1]["text/html"]
    assert "&lt;script&gt;" in drawn[0][1]["text/html"]


def test_of_many_lines_the_last_are_shown(drawn):
    output = NotebookOutput()
    output.write("".join(f"{number}\n" for number in range(MAX_LINES + 7)))

    lines = drawn[-1][1]["text/plain"].splitlines()
    assert lines[:2] == ["… 7 earlier lines", "7"]
    assert len(lines) == MAX_LINES + 1


def test_progress_of_a_run_goes_to_the_cell_without_codes_of_a_terminal(drawn, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")

    with Progress(None) as progress:
        progress.warning("too small")

    assert drawn[-1][1]["text/plain"] == "warning: too small"


def test_the_display_draws_activities_into_the_cell(drawn, clock, monkeypatch):
    console = make_console(notebook.sys.stderr)
    display = Display(console)
    display._activities.append(Activity("reading", 20, done=5))  # not add(), which starts a thread

    class Ended:
        answers = iter([False, True])

        def wait(self, seconds):
            clock[0] += seconds
            return next(self.answers)

    display._draw(Ended())

    assert [content["text/plain"] for _, content in drawn] == ["reading 5/20  0:01", ""]


def test_a_terminal_and_ipython_in_one_are_no_notebook(monkeypatch):
    monkeypatch.delitem(notebook.sys.modules, "IPython", raising=False)
    assert not in_notebook()
    monkeypatch.setitem(
        notebook.sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=None))
    )
    assert not in_notebook()
