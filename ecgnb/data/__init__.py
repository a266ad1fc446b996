"""Recordings: reading, labels, preparation, store, splits, loading."""
