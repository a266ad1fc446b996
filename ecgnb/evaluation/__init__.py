"""All numbers: metrics, bootstrap intervals, calibration, thresholds."""
