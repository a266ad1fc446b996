"""Readers of Keras files: containers, graph, weights."""
