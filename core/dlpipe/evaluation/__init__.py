"""For evaluators: the examples of a split, what was found for each, what a classifier answered, and tables."""

from dlpipe.evaluation.classification import Answers, collect, confusion_of
from dlpipe.evaluation.csv_files import write_csv
from dlpipe.evaluation.example_scores import ExampleScores
from dlpipe.evaluation.examples import Examples

__all__ = ["Answers", "ExampleScores", "Examples", "collect", "confusion_of", "write_csv"]
