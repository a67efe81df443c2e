"""Which pages have a file of scores, and which of their figures follow the instruction set of the CPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from scoring.compare import follows_instructions
from scoring.sheet import DOCS, Sheet, pages, read_sheet, shown
from scoring.text import MARKED

#: The page with the table of all pages, and the name of its block.
FIGURES_PAGE, BLOCK = DOCS / "figures.md", "pages"
#: Not 2.14.1, which is a version.
_DECIMAL = re.compile(r"(?<![\d.])\d+\.\d+(?!\.?\d)")
_FENCED = re.compile(r"^```.*?^```", re.M | re.S)


def covered(text: str) -> tuple[int, int]:
    """Return how many decimal numbers of a page, outside of code, come from its file of scores, and of how many."""
    prose = _FENCED.sub("", text)
    return sum(len(_DECIMAL.findall(block[2])) for block in MARKED.finditer(prose)), len(_DECIMAL.findall(prose))


def followers(sheet: Sheet) -> tuple[int, int]:
    """Return how many figures differ between the instruction sets, and of how many this is known."""
    known = [
        follows_instructions(experiment, figure)
        for experiment in sheet.experiments.values()
        for figure in experiment.figures
    ]
    return known.count(True), len(known) - known.count(None)


def uncovered_pages() -> Iterator[tuple[Path, int]]:
    """Yield the pages without a file of scores that have decimal numbers, and how many."""
    known = pages()
    for page in sorted(DOCS.rglob("*.md")):
        if page not in known and (count := covered(page.read_text(encoding="utf-8"))[1]):
            yield page, count


def overview() -> list[str]:
    """Return the lines of the table of all pages."""
    lines = [
        "| page | experiments | figures | differ between AVX-512 and AVX2 | numbers made of them |",
        "|---|---|---|---|---|",
    ]
    for page in pages():
        sheet = read_sheet(page)
        figures = sum(len(experiment.figures) for experiment in sheet.experiments.values())
        differ, known = followers(sheet)
        made, every = covered(page.read_text(encoding="utf-8"))
        name = page.relative_to(DOCS).as_posix()
        lines.append(
            f"| [{name}]({name}) | {len(sheet.experiments)} | {figures} | "
            f"{f'{differ} of {known}' if known else 'not measured'} | {made} of {every} |"
        )
    return lines


def overview_page() -> dict[Path, str]:
    """Return the text that the page of the overview should have."""
    table = "\n".join(["", *overview(), ""])
    text = FIGURES_PAGE.read_text(encoding="utf-8")
    return {
        FIGURES_PAGE: re.sub(rf"(<!-- scores: {BLOCK} -->).*?(<!-- /scores -->)", rf"\1{table}\2", text, flags=re.S)
    }


def listing() -> str:
    """Return the table for a terminal, and the pages that have none of their numbers recorded."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in overview()]
    cells = [[re.sub(r"\[(.*?)\]\(.*\)", r"\1", cell) for cell in row] for row in rows if row[0] != "---"]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    rest = ", ".join(f"{shown(page)} ({count})" for page, count in uncovered_pages())
    return "\n".join([*lines, "", f"without a file of scores, and how many decimal numbers they have: {rest}"])
