"""What the commands do, as functions and objects for Python and notebooks; docs/python.md."""
