"""Metrics, intervals, calibration, figures and the report."""
