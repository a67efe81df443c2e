"""Models for data of any domain."""
