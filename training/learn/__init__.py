"""The optimisation: networks, losses, sharding, batches.

- `adversary.py`: one training step: two networks, two optimisers, alternating updates
- `losses.py`: hole, valid and adversarial losses over the global batch
- `schedules.py`: learning rate and EMA decay
- `parallel.py`: FSDP, precision and compilation, applied to plain networks
- `networks.py`: config -> the two networks
- `loader.py`: clips in order, a share for each rank, prefetched
- `batch.py`: pixels -> tensors
- `filling.py`: clips with their holes filled, for a generator with `fill`
"""
