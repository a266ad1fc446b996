"""Inference with a trained model: bundles, windows, lower precisions, the hub."""
