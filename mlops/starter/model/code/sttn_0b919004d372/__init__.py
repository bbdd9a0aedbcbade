"""Code of one registered version of STTN."""
