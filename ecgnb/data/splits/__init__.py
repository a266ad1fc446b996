"""Splits of a cohort by patient: random, official folds, cross-validation, leak
checks.
"""
