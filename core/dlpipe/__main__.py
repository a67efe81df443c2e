"""Run dlpipe as ``python -m dlpipe``."""

from dlpipe.cli import main

main()
