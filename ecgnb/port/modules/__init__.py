"""Small PyTorch modules for what Keras has and PyTorch has not.

An exported model carries the source of those it uses, so they import PyTorch only. The
class attribute ``relevance`` is how layer-wise relevance passes through a module
(`ecgnb.explain.kinds`).
"""
