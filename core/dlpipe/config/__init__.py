"""From a pipeline file to a checked pipeline. Does not import torch."""
