"""What differs between runs, and whether their scores differ by more than noise."""
