"""Foundations of every package: errors, registries, files, progress, environment,
console.
"""
