"""Cost of a run, before it begins.

- `plan.py`: memory, traffic and time on machines not here
- `auto.py`: device, workers, precision, micro-batch and compilation by the hardware that is there
- `hardware.py`: what that hardware is
- `footprint.py`: memory of a worker, by part
- `flops.py`: floating-point operations of the networks, by formula
"""
