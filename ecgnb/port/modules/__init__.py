"""What Keras has and PyTorch has not, as small modules; an exported model carries the
source of those it uses.
"""
