"""The scores of single examples, and what they say about other examples."""
