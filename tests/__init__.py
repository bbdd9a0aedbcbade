"""Tests: one folder a room. `tiny.py` makes small data in the true layout."""
