"""Transforms of signals, batched, on numpy arrays or torch tensors."""
