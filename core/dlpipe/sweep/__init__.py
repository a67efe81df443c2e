"""What a ``[sweep]`` means, its trials, and the table of their results."""
