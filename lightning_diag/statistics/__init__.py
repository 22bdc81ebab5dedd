"""Tensor -> Tensor: the pure mathematics that probes call; the table of what is recorded."""

from __future__ import annotations
