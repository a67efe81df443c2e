"""The vision plugin: image data, models and evaluators."""
