"""Time-series forecasting for dlpipe."""
