"""Metrics, calibration, robustness and the model card."""
