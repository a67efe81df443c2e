"""Tables: reading, splits, and the numbers that a model gets of their columns."""
