"""Models to compare others with: the most frequent class, the mean, and those of scikit-learn."""
