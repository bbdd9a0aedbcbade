"""Tests of `training/`. `small.py` makes networks and batches that compute in milliseconds."""
