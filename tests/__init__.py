"""Tests: one folder per package. `tiny.py` makes small data sets with the product's code."""
