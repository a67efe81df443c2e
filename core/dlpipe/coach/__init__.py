"""For rules of ``dlpipe coach``: what is known of a training, what a rule finds, and changes that often help."""

from dlpipe.coach.case import Case, Finding, Remedy
from dlpipe.coach.curves import Curve
from dlpipe.coach.remedies import longer, lower_rate
from dlpipe.coach.verdict import Scores

__all__ = ["Case", "Curve", "Finding", "Remedy", "Scores", "longer", "lower_rate"]
