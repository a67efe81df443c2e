"""Name the test files with tests that were skipped since a package is missing, from a report of pytest (JUnit XML)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

#: Programs that no package index has.
NOT_PACKAGES = ("Chromium", "git is not")


def main(report: str) -> None:
    """Print the files, and the reasons to standard error."""
    files, reasons = set(), set()
    for case in ElementTree.parse(report).iter("testcase"):
        for skipped in case.iter("skipped"):
            reason = f"{skipped.get('message')} {skipped.text}"
            if re.search(r"not installed|could not import|No module named", reason) and not any(
                name in reason for name in NOT_PACKAGES
            ):
                module = case.get("classname") or case.get("name") or ""
                while not (path := Path(*module.split(".")).with_suffix(".py")).is_file():
                    module = module.rpartition(".")[0]
                files.add(str(path))
                reasons.add(f"{path}: {skipped.get('message')}")
    print(*sorted(reasons), sep="\n", file=sys.stderr)
    print(*sorted(files))


if __name__ == "__main__":
    main(sys.argv[1])
