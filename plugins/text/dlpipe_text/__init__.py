"""Text: slot filling with feed-forward and recurrent networks."""
