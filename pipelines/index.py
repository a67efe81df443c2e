"""Write README.md next to this file: one table row per pipeline, from the header comments of the files.

    python pipelines/index.py

A header follows the ``#:schema`` line: a sentence that says what the pipeline shows, further lines of
detail if needed, then one line each for ``command``, ``score``, ``baseline``, ``time`` and ``docs``.
Scores and baselines are copied from the page that ``docs`` names, or say "not measured".
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
KEYS = ("command", "score", "baseline", "time", "docs")
#: Headings by the folder that a group of pipelines documents itself in, or lies in.
GROUPS = {
    "docs": "Any domain",
    "text": "Text",
    "vision": "Images",
    "audio": "Audio",
    "generative": "Generative models",
    "rl": "Reinforcement learning",
    "recipe": "The recipe of training",
    "studies": "Studies",
}
INTRODUCTION = """# Pipelines

<!-- Written by `python pipelines/index.py` from the header comments of the files; edit those. -->

Each file is a complete experiment. `dlpipe run FILE` runs it and `dlpipe sweep FILE` runs all its trials. Scores are
measured; the page linked in each row has the seeds, the machine and what the numbers mean. "Not measured" means what it
says. The times are those of the machines described there. MNIST, CIFAR-10, ATIS, rt-polarity, ChnSentiCorp and FSDD are
not part of dlpipe: `FOLDER`, `ARCHIVE` and `PATH` are your copies of them.
"""


def read_header(path: Path) -> dict[str, str]:
    """Return the fields of a pipeline's header comment, and its first sentence as ``shows``.

    Raises:
        ValueError: a field is missing, empty, repeated or out of order.
    """
    comments: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        if not line.startswith("# "):
            break
        comments.append(line[2:])
    fields = [line.partition(": ") for line in comments if line.partition(": ")[0] in KEYS]
    if tuple(key for key, _, _ in fields) != KEYS or not all(value for _, _, value in fields):
        found = ", ".join(key for key, _, _ in fields) or "none"
        raise ValueError(f"{path}: its header has the fields {found}; expected one line each of {', '.join(KEYS)}")
    if comments[-len(KEYS) :] != [": ".join((key, value)) for key, _, value in fields] or comments[0] in comments[-5:]:
        raise ValueError(f"{path}: expected a sentence, details if needed, and the fields {', '.join(KEYS)} last")
    return {key: value for key, _, value in fields} | {"shows": comments[0]}


def index() -> str:
    """Return the text of README.md."""
    rows: dict[str, list[str]] = {group: [] for group in GROUPS}
    for path in sorted(FOLDER.rglob("*.toml")):
        header = read_header(path)
        name = path.relative_to(FOLDER).as_posix()
        group = Path(name).parent.name or Path(header["docs"]).parent.name
        cells = [
            f"[{name}]({name}): {header['shows']}",
            f"`{header['command']}`",
            f"[{header['score']}](../{header['docs']})",
            header["baseline"],
            header["time"],
        ]
        rows[group].append(f"| {' | '.join(cells)} |")
    title = "| pipeline and what it shows | command | score | simple baseline | time |\n|---|---|---|---|---|\n"
    tables = [f"## {heading}\n\n{title}" + "\n".join(rows[group]) + "\n" for group, heading in GROUPS.items()]
    return "\n".join([INTRODUCTION, *tables])


if __name__ == "__main__":
    (FOLDER / "README.md").write_text(index(), encoding="utf-8")
