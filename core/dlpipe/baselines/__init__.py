"""Classifiers to compare others with: the most frequent class, and three of scikit-learn's."""
