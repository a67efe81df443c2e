"""Building the components of a pipeline, running its stages, and using a trained run."""
