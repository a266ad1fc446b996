"""Architectures under one interface."""
