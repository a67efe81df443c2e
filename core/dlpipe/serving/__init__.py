"""A trained model behind HTTP: requests that arrive together go through the model in one batch."""
