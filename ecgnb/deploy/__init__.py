"""From a model of any origin to predictions: bundles, windows, lower precisions, the
hub.
"""
