"""What is wrong with a trained run, by which evidence, and what to try next: rules along the recipe of training."""
