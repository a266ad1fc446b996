"""Measurements against the common recipes, side by side on one machine."""
