"""Weights of the official code, to our networks and back."""

import pickle

import pytest
import torch

from tests.parity import official as reference
from training.model.discriminator import Discriminator
from training.model.generator import Generator
from training.model.official import (
    discriminator_from_official,
    generator_from_official,
    read_official,
)

BOTH = {
    "generator": (Generator, generator_from_official),
    "discriminator": (Discriminator, discriminator_from_official),
}


def random_weights(network, seed=0):
    """Official names and shapes, drawn."""
    random = torch.Generator().manual_seed(seed)
    shapes = reference.shapes(network).items()
    return {name: torch.randn(shape, generator=random) for name, shape in shapes}


@pytest.mark.parametrize("network", BOTH)
def test_official_weights_round_trip(network):
    kind, from_official = BOTH[network]
    given = random_weights(network)
    made = from_official(given)
    assert isinstance(made, kind)
    assert not made.training
    assert all(parameter.requires_grad for parameter in made.parameters())
    back = reference.to_official(network, made.state_dict())
    assert back.keys() == given.keys()
    assert all(torch.equal(back[name], given[name]) for name in given)


def test_training_does_not_modify_the_given_weights():
    given = random_weights("discriminator")
    before = given["conv.10.bias"].clone()
    with torch.no_grad():
        discriminator_from_official(given).conv[10].bias.add_(1)
    assert torch.equal(given["conv.10.bias"], before)


@pytest.mark.parametrize("network", BOTH)
def test_wrong_weights_are_named(network):
    _, from_official = BOTH[network]
    given = random_weights(network)
    names = sorted(given)
    first, second, *_ = names
    broken = dict(given)
    broken["strange"] = broken.pop(first)
    broken[second] = torch.zeros(7, 7)
    with pytest.raises(ValueError, match=f"official {network}") as error:
        from_official(broken)
    said = str(error.value)
    assert f"1 missing ({first})" in said
    assert "1 unexpected (strange)" in said
    assert f"1 misshapen ({second} (7, 7) instead of {tuple(given[second].shape)})" in said


def test_of_many_wrong_names_only_a_few_are_listed():
    with pytest.raises(ValueError, match=r"112 missing \(\S+ \S+ \S+ \S+ \S+ and 107 more\)"):
        generator_from_official({})


@pytest.mark.parametrize("content", ["netG", "netD", "both", "bare", "replica"])
def test_files_as_the_official_code_writes_them(tmp_path, content):
    path = tmp_path / "sttn.pth"
    weights = {"netG": {"a": torch.ones(2)}, "netD": {"b": torch.zeros(3)}}
    wrapped = {"netG": {"module.a": torch.ones(2)}}
    written = {"both": weights, "bare": weights["netG"], "replica": wrapped}
    torch.save(written.get(content, {content: weights.get(content)}), path)
    found = read_official(path)
    assert list(found) == {"netD": ["netD"], "both": ["netG", "netD"]}.get(content, ["netG"])
    for network, tensors in found.items():
        assert list(tensors) == list(weights[network])


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (open, ("exploded", "w"))


@pytest.mark.parametrize("how", ["pickle", "torch", "text", "empty", "a tensor", "numbers"])
def test_other_pickles_are_refused_and_never_executed(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "sttn.pth"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    elif how == "text":
        path.write_text("<html>404</html>")
    elif how == "empty":
        path.write_bytes(b"")
    else:
        values = {
            "torch": {"netG": Bomb()},
            "a tensor": torch.ones(2),
            "numbers": {"netG": {"a": 1}},
        }
        torch.save(values[how], path)
    with pytest.raises(ValueError, match=str(path)):
        read_official(path)
    assert not (tmp_path / "exploded").exists()
