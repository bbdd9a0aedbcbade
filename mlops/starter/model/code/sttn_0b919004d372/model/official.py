"""Weights under the names of the official code (researchmm/STTN), to our networks.

The generator's names are the same. The discriminator's spectral norm is stored in the older form of
torch: `weight_orig`, `weight_u` and `weight_v` instead of `weight`, `u` and `v`. Files are read as
tensors only; nothing in them is ever executed.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

import torch
from torch import Tensor, nn

from .discriminator import Discriminator, SpectralConv3d
from .generator import Generator

Network = TypeVar("Network", bound=nn.Module)
StateDict = Mapping[str, Tensor]

GENERATOR, DISCRIMINATOR = "netG", "netD"  # keys of the files that the official code writes
_SPECTRAL = (("weight", "weight_orig"), ("u", "weight_u"), ("v", "weight_v"))  # ours, official
_REPLICA = "module."  # what a network wrapped for several GPUs puts before its names
_NAMED = 5  # names of each kind in a message


def generator_from_official(state_dict: StateDict, *, masked_attention: bool = False) -> Generator:
    """The official generator, as a module in evaluation mode.

    Args:
        state_dict: official name -> tensor.
        masked_attention: see `PatchAttention`; official weights were trained without it.

    Raises:
        ValueError: says which names are missing, unexpected or misshapen.
    """
    with torch.device("meta"):
        network = Generator(masked_attention=masked_attention)
    return _filled(network, state_dict, {name: name for name in network.state_dict()})


def discriminator_from_official(state_dict: StateDict) -> Discriminator:
    """The official discriminator, as a module in evaluation mode; it scores every clip on its own.

    Args:
        state_dict: official name -> tensor.

    Raises:
        ValueError: says which names are missing, unexpected or misshapen.
    """
    with torch.device("meta"):
        network = Discriminator()
    return _filled(network, state_dict, _official_names(network))


def read_official(path: Path) -> dict[str, dict[str, Tensor]]:
    """The state dictionaries in a file of the official code, by `GENERATOR` and `DISCRIMINATOR`.

    A file with nothing but a state dictionary counts as the generator's.

    Args:
        path: of a `.pth` file: `{"netG": state dictionary}`, `{"netD": …}`, both, or one bare.

    Raises:
        ValueError: the file holds anything but tensors by name.
        OSError: it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what is wrong with it is raised
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        # torch's own words advise to read it unsafely.
        raise ValueError(
            f"{path} is not a file of weights that torch reads safely: give a whole .pth file of "
            "tensors, as the official code writes it"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not tensors by name")
    networks = {name: content[name] for name in (GENERATOR, DISCRIMINATOR) if name in content}
    networks = networks or {GENERATOR: content}
    return {name: _tensors(path, state_dict) for name, state_dict in networks.items()}


def _official_names(discriminator: Discriminator) -> dict[str, str]:
    """Our name -> official name."""
    names = {name: name for name in discriminator.state_dict()}
    for number, layer in enumerate(discriminator.conv):
        if isinstance(layer, SpectralConv3d):
            names |= {
                f"conv.{number}.{ours}": f"conv.{number}.{theirs}" for ours, theirs in _SPECTRAL
            }
    return names


def _filled(network: Network, state_dict: StateDict, official: Mapping[str, str]) -> Network:
    """Put tensors into a network without storage, after all names and shapes were compared."""
    wanted = {official[name]: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
    wrong = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unexpected": sorted(found.keys() - wanted.keys()),
        "misshapen": [
            f"{name} {found[name]} instead of {shape}"
            for name, shape in wanted.items()
            if found.get(name, shape) != shape
        ],
    }
    if any(wrong.values()):
        said = [f"{len(names)} {what} ({_few(names)})" for what, names in wrong.items() if names]
        kind = type(network).__name__.lower()
        raise ValueError(f"these are not the weights of the official {kind}: {', '.join(said)}")
    # Copies: training must not change the weights that were given.
    tensors = {ours: state_dict[theirs].detach().clone() for ours, theirs in official.items()}
    network.load_state_dict(tensors, assign=True)
    return network.eval()


def _tensors(path: Path, content: object) -> dict[str, Tensor]:
    """A state dictionary from a file, with the names that one process would have written."""
    if not isinstance(content, dict) or not all(map(torch.is_tensor, content.values())):
        raise ValueError(f"{path} holds something else than tensors by name")
    return {str(name).removeprefix(_REPLICA): tensor for name, tensor in content.items()}


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
