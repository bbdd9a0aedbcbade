"""The training iteration as the official code computes it, in plain torch: the baseline of ours.

Its layouts (channels first, a token ordered by channel), its mask path (computed and dropped), its
separate query, key and value, its power iteration inside every forward pass, its clips strung
together, and its discriminator that takes gradients of its weights in the generator's turn too.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Adam

HEADS = ((108, 60), (36, 20), (18, 10), (9, 5))  # patch width and height
BLOCKS = 8
Weights = dict[str, Tensor]


class OfficialStep:
    """Both networks by their official weights, and their optimisers."""

    def __init__(self, generator: Weights, discriminator: Weights, device: str) -> None:
        self.generator = {k: _leaf(v, device) for k, v in generator.items()}
        self.discriminator = {
            k: v.to(device).clone() if k.endswith(("_u", "_v")) else _leaf(v, device)
            for k, v in discriminator.items()
        }
        learning = [v for v in self.discriminator.values() if v.requires_grad]
        self.adams = [
            Adam(parameters, lr=1e-4, betas=(0.0, 0.99))
            for parameters in (list(self.generator.values()), learning)
        ]

    def __call__(self, frames: Tensor, masks: Tensor) -> dict[str, float]:
        """One iteration on frames [B, T, 3, H, W] in [-1, 1] and masks [B, T, 1, H, W]."""
        b, t, c, h, w = frames.shape
        masked = (frames * (1 - masks)).view(b * t, c, h, w)
        flat, m = frames.view(b * t, c, h, w), masks.view(b * t, 1, h, w)
        predicted = generate(self.generator, masked, m, b)
        composite = flat * (1 - m) + m * predicted

        real = discriminate(self.discriminator, flat)
        fake = discriminate(self.discriminator, composite.detach())
        real_loss, fake_loss = functional.relu(1 - real).mean(), functional.relu(1 + fake).mean()
        self.adams[1].zero_grad()
        ((real_loss + fake_loss) / 2).backward()
        self.adams[1].step()

        adversarial = -discriminate(self.discriminator, composite).mean() * 0.01
        hole = functional.l1_loss(predicted * m, flat * m) / m.mean()
        valid = functional.l1_loss(predicted * (1 - m), flat * (1 - m)) / (1 - m).mean()
        self.adams[0].zero_grad()
        (hole + valid + adversarial).backward()
        self.adams[0].step()
        losses = (real_loss, fake_loss, adversarial, hole, valid)
        names = ("real", "fake", "adversarial", "hole", "valid")
        return {name: loss.item() for name, loss in zip(names, losses, strict=True)}


def generate(w: Weights, masked: Tensor, masks: Tensor, clips: int) -> Tensor:
    """[B*T, 3, H, W] and masks [B*T, 1, H, W] -> [B*T, 3, H, W]."""
    return decode(w, transform(w, encode(w, masked), masks, clips))


def encode(w: Weights, x: Tensor) -> Tensor:
    """[N, 3, H, W] -> [N, C, H/4, W/4]."""
    for layer, stride in (("0", 2), ("2", 1), ("4", 2), ("6", 1)):
        x = _leaky(_conv(w, f"encoder.{layer}", x, stride=stride, padding=1))
    return x


def transform(w: Weights, x: Tensor, masks: Tensor, clips: int) -> Tensor:
    """[B*T, C, H/4, W/4] and masks [B*T, 1, H, W] -> [B*T, C, H/4, W/4]."""
    small = functional.interpolate(masks, scale_factor=1 / 4)
    for number in range(BLOCKS):
        block = f"transformer.{number}"
        x = x + _attention(w, f"{block}.attention", x, small, clips)
        y = _leaky(_conv(w, f"{block}.feed_forward.conv.0", x, padding=2, dilation=2))
        x = x + _leaky(_conv(w, f"{block}.feed_forward.conv.2", y, padding=1))
    return x


def decode(w: Weights, x: Tensor) -> Tensor:
    """[N, C, H/4, W/4] -> [N, 3, H, W]."""
    x = _leaky(_conv(w, "decoder.0.conv", _doubled(x), padding=1))
    x = _leaky(_conv(w, "decoder.2", x, padding=1))
    x = _leaky(_conv(w, "decoder.4.conv", _doubled(x), padding=1))
    return torch.tanh(_conv(w, "decoder.6", x, padding=1))


def discriminate(w: Weights, frames: Tensor) -> Tensor:
    """[B*T, 3, H, W] as one clip -> scores [1, B*T, C, h, w]."""
    x = frames.transpose(0, 1).unsqueeze(0)
    for layer in (0, 2, 4, 6, 8):
        name, padding = f"conv.{layer}", (1, 1, 1) if layer == 0 else (1, 2, 2)
        weight = _spectrally_normed(w, name)
        x = _leaky(functional.conv3d(x, weight, None, (1, 2, 2), padding))
    x = functional.conv3d(x, w["conv.10.weight"], w["conv.10.bias"], (1, 2, 2), (1, 2, 2))
    return x.transpose(1, 2)


def _attention(w: Weights, name: str, x: Tensor, masks: Tensor, clips: int) -> Tensor:
    bt, c, _, _ = x.shape
    t, d = bt // clips, c // len(HEADS)
    query, key, value = (
        _conv(w, f"{name}.{which}_embedding", x) for which in ("query", "key", "value")
    )
    output = []
    for i, (pw, ph) in enumerate(HEADS):
        q, k, v = (
            _patches(y[:, i * d : (i + 1) * d], clips, t, pw, ph) for y in (query, key, value)
        )
        m = (_patches(masks, clips, t, pw, ph).mean(-1) > 0.5).unsqueeze(1).repeat(1, q.size(1), 1)
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(q.size(-1))
        scores.masked_fill(m, -1e9)  # not in place: what it gives is dropped
        y = torch.matmul(functional.softmax(scores, dim=-1), v)
        rows, columns = x.shape[2] // ph, x.shape[3] // pw
        y = y.view(clips, t, rows, columns, d, ph, pw).permute(0, 1, 4, 2, 5, 3, 6)
        output.append(y.contiguous().view(bt, d, *x.shape[2:]))
    return _leaky(_conv(w, f"{name}.output_linear.0", torch.cat(output, 1), padding=1))


def _patches(x: Tensor, clips: int, t: int, pw: int, ph: int) -> Tensor:
    d, height, width = x.shape[1:]
    x = x.reshape(clips, t, d, height // ph, ph, width // pw, pw).permute(0, 1, 3, 5, 2, 4, 6)
    return x.contiguous().view(clips, t * (height // ph) * (width // pw), d * ph * pw)


def _spectrally_normed(w: Weights, name: str) -> Tensor:
    weight, u = w[f"{name}.weight_orig"], w[f"{name}.weight_u"]
    matrix = weight.flatten(1)
    with torch.no_grad():
        v = functional.normalize(torch.mv(matrix.t(), u), dim=0, eps=1e-12)
        u.copy_(functional.normalize(torch.mv(matrix, v), dim=0, eps=1e-12))
    return weight / torch.dot(u.clone(), torch.mv(matrix, v))


def _conv(w: Weights, name: str, x: Tensor, **options: int) -> Tensor:
    return functional.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], **options)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2, inplace=True)


def _leaf(value: Tensor, device: str) -> Tensor:
    return value.to(device).clone().requires_grad_()
