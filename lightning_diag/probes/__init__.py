"""Where and when a number is taken; every probe is a context manager or holds nothing between steps."""

from __future__ import annotations
