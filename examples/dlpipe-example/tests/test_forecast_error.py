"""MAE and MASE, computed by hand."""

from types import SimpleNamespace

import pytest
import torch

from dlpipe_example.forecast_error import ForecastError, seasonal_naive
from dlpipe_example.mlp import MLP


def examples(context, targets, forecast):
    """One batch and the predictions for it."""
    batch = {"context": context, "targets": targets}
    return SimpleNamespace(predictions=lambda model: iter([(batch, forecast, forecast)]))


def test_errors_are_those_computed_by_hand(tmp_path):
    context, targets = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[4.0, 5.0]])
    evaluator = ForecastError(season=2, naive_error=0.5)

    metrics = evaluator.evaluate(None, examples(context, targets, torch.tensor([[4.0, 6.0]])))
    evaluator.write(tmp_path)

    assert metrics == {"mae": 0.5, "mase": 1.0, "naive_mae": 2.0, "naive_mase": 4.0}  # the naive one says 2, 3
    assert (tmp_path / "error_by_step.csv").read_text().split() == ["step,mae,naive_mae", "1,0.0,2.0", "2,1.0,2.0"]
    assert (tmp_path / "forecasts.png").stat().st_size > 1000


def test_the_naive_forecast_repeats_the_last_season():
    context = torch.tensor([[9.0, 1.0, 2.0, 3.0]])

    assert seasonal_naive(context, 3, 5).tolist() == [[1, 2, 3, 1, 2]]


def test_a_forecast_moves_and_stretches_with_its_context():
    torch.manual_seed(0)
    model, context = MLP(6, 4), torch.randn(3, 6)

    torch.testing.assert_close(model(5 * context + 7), 5 * model(context) + 7, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_loss_does_not_depend_on_the_unit_of_the_series(scale):
    torch.manual_seed(0)
    model, context, targets = MLP(6, 4), torch.randn(3, 6), torch.randn(3, 4)
    wanted = model.loss(model(context), context, targets)

    found = model.loss(model(scale * context), scale * context, scale * targets)

    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_context_without_variation_is_no_division_by_zero():
    model, context = MLP(6, 4), torch.full((2, 6), 3.0)

    assert model(context).isfinite().all()
