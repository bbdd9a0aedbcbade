"""The config of a training run. Loads no heavy library.

- `train_config.py`: the config: frozen dataclasses with units and bounds
- `presets.py`: complete runs by name
- `invocation.py`: command line -> preset, overrides, options of the run
- `serialisation.py`: config <-> JSON, in this schema and earlier ones
- `strict.py`: JSON -> dataclass; refuses what does not fit
- `machines.py`: machines that a run is planned for
"""
