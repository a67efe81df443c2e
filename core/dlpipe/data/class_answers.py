"""What data answers about classes: one form, and the same names, for all classifiers and taggers.

Axes: T positions of a sequence, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dlpipe.errors import InputError

#: Decimals of a probability.
DECIMALS = 4


def class_answer(
    labels: Sequence[str], prediction: Tensor, probabilities: Tensor | None, top: int = 0
) -> dict[str, Any]:
    """Return ``label``, its ``probability`` and, on request, the most probable classes, ``top``.

    Args:
        labels: the names of the K classes.
        prediction: the number of the predicted class, a scalar.
        probabilities: (K,) of all classes; None if the model has none, and then there is no ``probability``.
        top: number of classes in ``top``, the most probable first; 0 leaves it out.

    Raises:
        InputError: the prediction is not one of the classes.
    """
    if prediction.dim() or prediction.is_floating_point() or not 0 <= int(prediction) < len(labels):
        shown = f"{prediction.dtype} of shape {tuple(prediction.shape)}" if prediction.dim() else str(prediction.item())
        raise InputError(f"the model predicts {shown}; expected the number of one of {len(labels)} classes")
    _require(labels, probabilities, top, ())
    answer: dict[str, Any] = {"label": labels[int(prediction)]}
    if probabilities is not None:
        answer["probability"] = _rounded(probabilities[int(prediction)])
        if top:
            answer["top"] = _ranked(labels, probabilities, top)
    return answer


def sequence_answer(
    labels: Sequence[str], predictions: Tensor, probabilities: Tensor | None, top: int = 0
) -> dict[str, Any]:
    """Return the ``labels`` of a sequence and, on request, the ``probabilities`` of these and the ``top`` classes.

    Args:
        labels: the names of the K classes.
        predictions: (T,) numbers of the predicted classes.
        probabilities: (T, K) of all classes at each position; None if the model has none.
        top: number of classes in each list of ``top``, the most probable first; 0 leaves out the probabilities, too.

    Raises:
        InputError: probabilities are asked for, and the model has none.
    """
    _require(labels, probabilities, top, tuple(predictions.shape))
    answer: dict[str, Any] = {"labels": [labels[number] for number in predictions.tolist()]}
    if probabilities is not None and top:
        answer["probabilities"] = list(map(_rounded, probabilities.gather(1, predictions[:, None])[:, 0]))
        answer["top"] = [_ranked(labels, each, top) for each in probabilities]
    return answer


def _require(labels: Sequence[str], probabilities: Tensor | None, top: int, positions: tuple[int, ...]) -> None:
    if probabilities is None:
        if top:
            raise InputError(
                "this model gives no probabilities: it has a predict() of its own, or returns no scores of classes; "
                "leave out --top"
            )
    elif probabilities.shape != (*positions, len(labels)):
        raise InputError(
            f"the model gives probabilities of shape {tuple(probabilities.shape)}; expected "
            f"{(*positions, len(labels))}, those of the {len(labels)} classes of the data"
        )


def _ranked(labels: Sequence[str], probabilities: Tensor, top: int) -> list[dict[str, Any]]:
    best = probabilities.argsort(descending=True, stable=True)[:top].tolist()
    return [{"label": labels[number], "probability": _rounded(probabilities[number])} for number in best]


def _rounded(probability: Tensor) -> float:
    return round(float(probability), DECIMALS)
