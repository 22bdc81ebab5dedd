"""Recorded fits of all programs, judged again and again: what the rules find, miss and wrongly accuse."""
