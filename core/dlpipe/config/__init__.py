"""From a pipeline file to a checked pipeline. Imports no torch."""
