"""For evaluators: the examples of a split, and what a classifier answered."""

from dlpipe.evaluation.classification import Answers, collect, confusion_of
from dlpipe.evaluation.examples import Examples

__all__ = ["Answers", "Examples", "collect", "confusion_of"]
