"""Decides which version is champion.

- `gate.py`: the rule: metrics in, promote or refuse with reasons out
- `promotion.py`: serialised decisions: moves `champion` and `previous`; rollback
- `decisions.py`: the history of a model's champions
- `candidates.py`: evaluates versions as they come, and decides about them
- `lineage.py`: where a version comes from
- `pruning.py`: deletes versions that need not stay
- `printing.py`: decisions as commands print them
"""
