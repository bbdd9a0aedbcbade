"""Cost of a run, before it begins.

- `plan.py`: memory, traffic and time on machines not here
- `footprint.py`: memory of a worker, by part
- `flops.py`: floating-point operations of the networks, by formula
"""
