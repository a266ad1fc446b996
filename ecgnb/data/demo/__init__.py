"""Synthetic demo recordings with known diagnoses."""
