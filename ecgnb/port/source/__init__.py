"""A port as readable PyTorch source code."""
