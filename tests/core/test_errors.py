"""Messages, their order, and the exit code that each error ends a command with."""

import datetime
import pickle

import pytest
import torch

from dlpipe import errors
from dlpipe.errors import DlpipeError, PipelineError, Problem, RunFolderError, in_words, reason_of, with_place


def every_error(base=DlpipeError):
    return [base, *(error for child in base.__subclasses__() for error in every_error(child))]


def test_the_tree_in_the_docstring_has_every_error_and_its_exit_code():
    # Each line of the tree: name, exit code (if missing, that of the line above), meaning.
    listed, above = {}, 0
    for line in errors.__doc__.splitlines()[2:]:
        name, *rest = line.lstrip("│├└─ ").split()
        above = listed[name] = int(rest[0]) if rest[0].isdigit() else above

    assert listed == {error.__name__: error.exit_code for error in every_error() if error.__module__ == "dlpipe.errors"}


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("a.toml", 12, "is wrong"), "a.toml:12: is wrong"),
        (Problem("a.toml", 0, "is missing"), "a.toml: is missing"),
        (Problem("--set", 0, "is wrong"), "--set: is wrong"),
    ],
)
def test_a_problem_starts_with_its_place(problem, text):
    assert str(problem) == text


def test_problems_are_in_the_order_of_their_lines_and_once_each():
    later, earlier = Problem("a.toml", 10, "x"), Problem("a.toml", 9, "y")

    error = PipelineError([later, earlier, later], exit_code=3)

    assert error.problems == (earlier, later)
    assert str(error) == "a.toml:9: y\na.toml:10: x"
    assert error.exit_code == 3


def test_a_folder_that_is_not_a_run_is_reported_with_what_it_lacks(tmp_path):
    error = RunFolderError.missing(tmp_path, "resolved.toml")

    assert str(error) == (
        f"{tmp_path} is not a run folder: it has no resolved.toml; expected a folder created by `dlpipe run`"
    )


def test_the_advice_to_run_the_code_of_a_file_is_not_passed_on(tmp_path):
    torch.save({"when": datetime.timedelta(1)}, tmp_path / "state.pt")
    with pytest.raises(pickle.UnpicklingError) as caught:
        torch.load(tmp_path / "state.pt", weights_only=True)

    for said in (reason_of(caught.value), in_words(caught.value), with_place(caught.value)):
        assert "weights_only" not in said
        assert "the file contains datetime.timedelta, which could run code" in said
    assert reason_of(ValueError(" as it is ")) == "as it is"


def test_colors_of_a_terminal_are_no_part_of_a_message():
    assert (
        in_words(RuntimeError("\x1b[96mno such operator\x1b[0m: \x1b[1;31maten::odd\x1b[0m"))
        == "RuntimeError: no such operator: aten::odd"
    )
