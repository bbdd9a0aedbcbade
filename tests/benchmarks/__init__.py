"""Benchmarks: speeds and sizes beside their baselines, never run as tests."""
