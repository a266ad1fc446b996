"""Readers of recording files, one module for each format (or part of WFDB)."""

from ecgnb.core.registry import import_submodules

import_submodules(__name__)
