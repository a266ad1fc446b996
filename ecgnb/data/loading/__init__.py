"""Batches from a signal store: loader, prefetching, sampling."""
