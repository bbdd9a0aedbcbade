"""Adversarial training: two networks, two optimisers, alternating turns (paper section 3.3).

One iteration, as in the official code: the generator fills the holes; the discriminator learns to
tell true clips from filled ones; then the generator learns from the *updated* discriminator.
A filled clip is composited: predicted inside the hole, true outside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Adam

from mlops.tracking import names
from training.learn import losses, parallel
from training.learn.batch import Batch
from training.learn.losses import Counts
from training.learn.schedules import ema_decay, learning_rate
from training.model.discriminator import Discriminator, power_iteration
from training.model.generator import Generator

if TYPE_CHECKING:  # the config's own imports are no business of what is trained
    from training.config.train_config import TrainConfig

_MOMENTS = ("exp_avg", "exp_avg_sq")  # Adam's, as torch names them

_LOSSES = (
    names.LOSS_HOLE,
    names.LOSS_VALID,
    names.LOSS_GENERATOR_ADVERSARIAL,
    names.LOSS_DISCRIMINATOR_REAL,
    names.LOSS_DISCRIMINATOR_FAKE,
)

Losses = dict[str, tuple[float, Tensor]]
"""Name -> (weight in what is minimised, this micro-batch's share of the loss)."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A micro-batch and what the generator made of it."""

    batch: Batch
    predicted: Tensor
    """[B, T, 3, H, W] in [-1, 1]; with a graph when the generator may be trained on it directly."""

    def composite(self) -> Tensor:
        """Predicted inside the hole, true outside: [B, T, 3, H, W]."""
        masks = self.batch.masks
        return self.batch.frames * (1 - masks) + self.predicted * masks


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward and backward pass over the share, after a power iteration."""

    loss: Callable[["Adversary", Filled, Counts], Losses]
    power_iteration: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """One network learns; the other is frozen."""

    learner: str
    passes: tuple[Pass, ...]


class Adversary:
    """The two networks and everything that changes when they are trained.

    Args:
        generator: initialised alike on all ranks, then sharded (`parallel.shard`).
        discriminator: likewise.
        config: of the run; its losses, optimiser and batch sizes are read.
        autocast: precision of products and convolutions; None = that of the weights.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        config: "TrainConfig",
        autocast: torch.dtype | None = None,
    ) -> None:
        loss, optimiser = config.loss, config.optimiser
        self.generator = generator
        self.discriminator = discriminator
        self.ema = {
            name: parameter.detach().clone() for name, parameter in generator.named_parameters()
        }
        self._networks: dict[str, nn.Module] = {
            "generator": generator,
            "discriminator": discriminator,
        }
        self._rates = {
            "generator": optimiser.generator_learning_rate,
            "discriminator": optimiser.discriminator_learning_rate,
        }
        self._adams = {
            name: _adam(network, self._rates[name], optimiser.betas)
            for name, network in self._networks.items()
        }
        self._loss_config = loss
        self._decay = optimiser.decay_every_clips, optimiser.decays
        self._ema_decay = ema_decay(optimiser.ema_half_life_clips, config.batch_clips)
        self._micro_batch_clips = config.micro_batch_clips or config.batch_clips
        self._autocast = autocast
        self.gradient_squares: dict[str, Tensor] = {}
        """By network: the sum of squares of this rank's part of the last gradient."""

    def learn(self, batch: Batch, clips: int) -> dict[str, Tensor]:
        """One iteration on this rank's share of a global batch.

        Args:
            batch: the share, on the device.
            clips: clips seen by the generator before this iteration.

        Returns:
            This rank's share of every loss, unweighted; summed over ranks they are the global
            batch's. Those of the discriminator are 0 where nothing is adversarial.
        """
        self.set_learning_rate(clips)
        micro_batches = batch.split(self._micro_batch_clips)
        counts = self._count(batch)
        shares = {name: batch.weights.new_zeros(()) for name in _LOSSES}
        # A single micro-batch keeps its graph for the generator's turn. Several would hold the
        # activations of all of them at once, so they are predicted again there instead.
        keep_graph = len(micro_batches) == 1
        with torch.set_grad_enabled(keep_graph):
            filled = [self._fill(part) for part in micro_batches]
        for turn in TURNS if self._loss_config.adversarial else TURN_ALONE:
            self._freeze_all_but(turn.learner)
            self._adams[turn.learner].zero_grad()
            for one in turn.passes:
                if one.power_iteration:
                    self.iterate_spectral_norms()
                for i, part in enumerate(filled):
                    last = one is turn.passes[-1] and i == len(filled) - 1
                    parallel.sync_gradients(self._networks[turn.learner], last)
                    if turn.learner == "generator" and not keep_graph:
                        part = self._fill(part.batch)
                    self._backward(one.loss(self, part, counts), shares)
            self.gradient_squares[turn.learner] = parallel.sum_of_squares(
                one.grad for one in self._networks[turn.learner].parameters()
            )
            self._adams[turn.learner].step()
        self._freeze_all_but("")
        self._average()
        return shares

    @torch.no_grad()
    def iterate_spectral_norms(self) -> None:
        """Move every spectral norm's vectors by one power iteration on the whole weight."""
        for layer in self.discriminator.spectral_layers():
            layer.u, layer.v = power_iteration(parallel.whole(layer.weight), layer.u)

    def set_learning_rate(self, clips: int) -> float:
        """Set both learning rates for a number of clips seen; returns the generator's."""
        for name, adam in self._adams.items():
            for group in adam.param_groups:
                group["lr"] = learning_rate(self._rates[name], clips, *self._decay)
        return learning_rate(self._rates["generator"], clips, *self._decay)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that training changes, by name, sharded; loading fills them in place.

        Adam's step count is not here: it is the number of iterations (`set_iterations`).
        """
        found: dict[str, Tensor] = {f"ema.{name}": value for name, value in self.ema.items()}
        for which, network in self._networks.items():
            found |= {f"{which}.{name}": value for name, value in network.state_dict().items()}
            for name, parameter in network.named_parameters():
                state = self._adams[which].state[parameter]
                found |= {f"{which}_adam.{moment}.{name}": state[moment] for moment in _MOMENTS}
        return found

    def set_iterations(self, iterations: int) -> None:
        """Set the step count of both optimisers after a load."""
        for adam in self._adams.values():
            for state in adam.state.values():
                state["step"].fill_(iterations)

    def _count(self, batch: Batch) -> Counts:
        own = losses.count(batch.open, batch.weights)
        if self._loss_config.normalisation == "local":
            return Counts(*own * parallel.world())  # shares are summed over ranks: an average
        return Counts(*parallel.sum_over_ranks(own))

    def _fill(self, batch: Batch) -> Filled:
        return Filled(batch, self._run(self.generator, *batch.given))

    def _run(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """One forward pass; what comes out has the precision of what went in."""
        kind, wanted = inputs[0].device.type, self._autocast
        with torch.autocast(kind, wanted, enabled=wanted is not None):
            outputs: Tensor = network(*inputs)
        return outputs.to(inputs[0].dtype)

    def _real(self, filled: Filled, counts: Counts) -> Losses:
        scores = self._run(self.discriminator, filled.batch.frames)
        loss = losses.hinge_real(scores, filled.batch.weights, counts)
        return {names.LOSS_DISCRIMINATOR_REAL: (0.5, loss)}

    def _fake(self, filled: Filled, counts: Counts) -> Losses:
        scores = self._run(self.discriminator, filled.composite().detach())
        loss = losses.hinge_fake(scores, filled.batch.weights, counts)
        return {names.LOSS_DISCRIMINATOR_FAKE: (0.5, loss)}

    def _generated(self, filled: Filled, counts: Counts) -> Losses:
        batch = filled.batch
        scores = self._run(self.discriminator, filled.composite())
        return {
            **self._reconstructed(filled, counts),
            names.LOSS_GENERATOR_ADVERSARIAL: (
                self._loss_config.adversarial,
                losses.adversarial(scores, batch.weights, counts),
            ),
        }

    def _reconstructed(self, filled: Filled, counts: Counts) -> Losses:
        hole, valid = self._errors(filled, counts)
        return {
            names.LOSS_HOLE: (self._loss_config.hole, hole),
            names.LOSS_VALID: (self._loss_config.valid, valid),
        }

    def _errors(self, filled: Filled, counts: Counts) -> tuple[Tensor, Tensor]:
        """The errors inside and outside of the holes."""
        batch, predicted = filled.batch, filled.predicted
        if self._loss_config.error == "rmse":
            inside, outside = (
                losses.rmse(predicted, batch.frames, where, batch.weights, counts)
                for where in (batch.masks, 1 - batch.masks)
            )
            return inside, outside
        # Where a fill is sure, and outside of its holes, the prediction has no effect: no loss.
        inside, outside = (
            error(predicted, batch.frames, batch.open, batch.weights, counts)
            for error in (losses.hole_l1, losses.valid_l1)
        )
        return inside, outside

    def _backward(self, parts: Losses, shares: dict[str, Tensor]) -> None:
        total = torch.stack([weight * loss for weight, loss in parts.values()]).sum()
        torch.autograd.backward(total)
        for name, (_, loss) in parts.items():
            shares[name] = shares[name] + loss.detach()

    def _freeze_all_but(self, learner: str) -> None:
        """Only the learner's parameters take gradients; with no learner, both do."""
        for name, network in self._networks.items():
            network.requires_grad_(learner in (name, ""))

    @torch.no_grad()
    def _average(self) -> None:
        for name, parameter in self.generator.named_parameters():
            self.ema[name].lerp_(parameter, 1 - self._ema_decay)


TURNS = (
    Turn(
        "discriminator",
        (
            Pass(Adversary._real, power_iteration=True),
            Pass(Adversary._fake, power_iteration=True),
        ),
    ),
    Turn("generator", (Pass(Adversary._generated, power_iteration=True),)),
)
"""The official order; the official spectral norm moves before each of the three passes."""

TURN_ALONE = (Turn("generator", (Pass(Adversary._reconstructed, power_iteration=False),)),)
"""Without an adversarial loss the discriminator is neither asked nor trained."""


def _adam(network: nn.Module, rate: float, betas: tuple[float, float]) -> Adam:
    """Adam whose state exists from the start, so that a checkpoint always has the same names."""
    adam = Adam(network.parameters(), lr=rate, betas=betas)
    for parameter in network.parameters():
        adam.state[parameter] = {
            "step": torch.tensor(0.0),
            **{moment: torch.zeros_like(parameter) for moment in _MOMENTS},
        }
    return adam
