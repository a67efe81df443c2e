"""What a run keeps on disk, and how it gets there."""
