import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.training.small import (
    FRAMES,
    SIDE,
    random_batch,
    small_discriminator,
    small_generator,
)
from training.model import attention
from training.model import generator as generator_file
from training.model.attention import PatchAttention
from training.model.discriminator import (
    Discriminator,
    frame_by_frame,
    initialise_vectors,
    power_iteration,
)
from training.model.generator import Generator, check_size, initialise

OFFICIAL_GRIDS = (1, 3, 6, 12)


@pytest.mark.parametrize(
    ("height", "width", "nearest"),
    [
        (100, 100, {"96x96", "144x96", "96x144", "144x144"}),
        (48, 100, {"96x48", "144x48"}),
        (240, 433, {"432x240", "480x240"}),
        (239, 432, {"432x192", "432x240"}),
        (47, 48, {"48x48"}),
        (1, 1, {"48x48"}),
        (0, 96, {"96x48"}),
        (-5, -100, {"48x48"}),
    ],
)
def test_a_size_that_the_grids_do_not_divide_is_refused_with_the_nearest_that_fit(
    height, width, nearest
):
    with pytest.raises(ValueError, match=re.escape(f"{width}x{height}")) as caught:
        check_size(height, width, OFFICIAL_GRIDS)
    named = set(re.findall(r"-?\d+x\d+", str(caught.value).split("nearest that fit")[1]))
    assert named == nearest
    for size in named:
        fitting_width, fitting_height = map(int, size.split("x"))
        check_size(fitting_height, fitting_width, OFFICIAL_GRIDS)


@pytest.mark.parametrize(("height", "width"), [(48, 48), (240, 432), (96, 192)])
def test_a_size_that_the_grids_divide_is_accepted(height, width):
    check_size(height, width, OFFICIAL_GRIDS)


def test_the_generator_itself_refuses_a_size_it_cannot_cut():
    with pytest.raises(ValueError, match="nearest that fit: 16x16, 24x16"):
        small_generator()(torch.zeros(1, 1, 3, 16, 20), torch.zeros(1, 1, 1, 16, 20))


@torch.no_grad()
def test_only_masked_attention_uses_the_masks():
    batch = random_batch(0)
    frames, masks = batch.frames.float(), batch.masks.float()
    plain = small_generator(masked_attention=False)
    assert torch.equal(plain(frames, masks), plain(frames, 1 - masks))
    masked = small_generator(masked_attention=True)
    assert not torch.allclose(masked(frames, masks), masked(frames, 1 - masks), atol=1e-3)
    nothing_hidden = masked(frames, torch.zeros_like(masks))
    torch.testing.assert_close(nothing_hidden, plain(frames, masks))


@pytest.mark.parametrize("masked", [True, False])
@torch.no_grad()
def test_masked_attention_takes_nothing_from_patches_in_the_hole(masked):
    layer = PatchAttention(4, (2,), masked)
    initialise(layer, 1.0, torch.Generator().manual_seed(0))
    layer.output_linear = nn.Sequential(nn.Identity())
    random = torch.Generator().manual_seed(1)
    features = torch.randn(1, 4, 8, 8, generator=random)
    holes = torch.zeros(1, 1, 8, 8)
    holes[..., :4, :4] = 1
    changed = features.clone()
    changed[..., :4, :4] = torch.randn(1, 4, 4, 4, generator=random)
    before, after = (layer(x, holes, 1)[..., 4:, 4:] for x in (features, changed))
    assert torch.allclose(before, after) == masked


def naive_attention(queries, keys, values):
    """One clip, one query at a time, as the paper writes it."""
    rows = []
    for query in queries:
        weights = torch.exp(keys @ query / query.numel() ** 0.5)
        rows.append((weights[:, None] * values).sum(dim=0) / weights.sum())
    return torch.stack(rows)


@pytest.mark.parametrize("most_scores", [2**24, 40, 1])
def test_chunked_attention_equals_plain_attention(monkeypatch, most_scores):
    monkeypatch.setattr(attention, "_MOST_SCORES", most_scores)
    random = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, n, 6, generator=random, dtype=torch.float64, requires_grad=True)
        for n in (7, 9, 9)
    )
    found = attention.attend(q, k, v)
    wanted = torch.stack([naive_attention(*clip) for clip in zip(q, k, v, strict=True)])
    torch.testing.assert_close(found, wanted)
    weights = torch.randn(found.shape, generator=random, dtype=torch.float64)
    gradients = [torch.autograd.grad((x * weights).sum(), (q, k, v)) for x in (found, wanted)]
    torch.testing.assert_close(*gradients)
    with torch.no_grad():
        torch.testing.assert_close(attention.attend(q, k, v), found)


def largest_scores(monkeypatch, most_scores, frames):
    """Numbers in the largest tensor that is kept for the backward pass."""
    monkeypatch.setattr(attention, "_MOST_SCORES", most_scores)
    generator = small_generator(blocks=1)
    clip = torch.zeros(1, frames, 3, SIDE, SIDE)
    sizes = []

    def keep(tensor):
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
        generator(clip, clip[:, :, :1])
    return max(sizes)


def test_above_a_threshold_no_quadratic_scores_are_kept(monkeypatch):
    frames = 128  # 512 tokens of the second head, of 4 patches a frame
    assert largest_scores(monkeypatch, 2**24, frames) == (4 * frames) ** 2
    assert largest_scores(monkeypatch, 2**10, frames) < (4 * frames) ** 2 / 2


def test_recomputed_blocks_give_the_same_gradients_with_less_memory():
    batch = random_batch(0)
    gradients, kept = [], []
    for recompute in (False, True):
        generator = small_generator(blocks=4).double()
        generator.activation_checkpointing = recompute
        sizes = []

        def keep(tensor, sizes=sizes):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
            loss = generator(batch.frames, batch.masks).square().sum()
        gradients.append(torch.autograd.grad(loss, list(generator.parameters())))
        kept.append(sum(sizes))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)
    assert kept[1] < 0.6 * kept[0]  # encoder and decoder are kept as before


@torch.no_grad()
def test_patches_by_size_equal_patches_by_grid_and_increase_with_the_frame():
    by_grid = small_generator()
    by_size = Generator(8, 2, patch_sizes=[[4, 4], [2, 2]])
    by_size.load_state_dict(by_grid.state_dict())
    batch = random_batch(0)
    frames, masks = batch.frames.float(), batch.masks.float()
    torch.testing.assert_close(by_size(frames, masks), by_grid(frames, masks))
    wide = torch.cat([frames, frames.flip(-1)], dim=-1)
    no_hole = torch.zeros_like(wide[:, :, :1])
    assert not torch.allclose(by_size(wide, no_hole), by_grid(wide, no_hole))
    with pytest.raises(ValueError, match="nearest that fit: 32x16, 48x16"):
        by_size(torch.zeros(1, 1, 3, 16, 36), torch.zeros(1, 1, 1, 16, 36))
    oblong = Generator(8, 1, patch_sizes=[[3, 2], [1, 5]])
    assert oblong(torch.zeros(1, 1, 3, 40, 24), torch.zeros(1, 1, 1, 40, 24)).shape[-2:] == (40, 24)
    with pytest.raises(ValueError, match="multiples of 12 and 40 pixels: nearest that fit: 24x40"):
        oblong(torch.zeros(1, 1, 3, 24, 24), torch.zeros(1, 1, 1, 24, 24))


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("wanted", [1, 2, FRAMES])
@torch.no_grad()
def test_unrequested_frames_are_skipped_without_changing_the_others(masked, wanted):
    generator = small_generator(masked_attention=masked).double()
    batch = random_batch(0, clips=2)
    features = generator.encode(batch.frames.flatten(0, 1))
    given = features, batch.masks.flatten(0, 1), 2
    whole = generator.transform(*given).unflatten(0, (2, FRAMES))
    some = generator.transform(*given, wanted=wanted).unflatten(0, (2, wanted))
    torch.testing.assert_close(some, whole[:, :wanted])


@pytest.mark.parametrize(
    ("frames", "masks", "words"),
    [
        (
            (1, 3, 3, 16, 16),
            (1, 2, 1, 16, 16),
            r"\(1, 3, 3, 16, 16\) and masks \(1, 2, 1, 16, 16\)",
        ),
        ((1, 3, 3, 16, 16), (1, 3, 1, 16, 8), r"masks \(1, 3, 1, 16, 8\)"),
        ((1, 3, 1, 16, 16), (1, 3, 1, 16, 16), r"frames are \(1, 3, 1, 16, 16\)"),
        ((3, 3, 16, 16), (3, 1, 16, 16), "wanted"),
        ((1, 0, 3, 16, 16), (1, 0, 1, 16, 16), "at least 1"),
    ],
)
def test_clips_and_masks_that_do_not_fit_are_refused_with_both_shapes(frames, masks, words):
    with pytest.raises(ValueError, match=words):
        small_generator()(torch.zeros(frames), torch.zeros(masks))


def test_masks_that_are_not_0_or_1_are_refused():
    masks = torch.zeros(1, 2, 1, 16, 16)
    masks[0, 1, 0, 3, 3] = 255
    with pytest.raises(ValueError, match="between 0 and 255"):
        small_generator()(torch.zeros(1, 2, 3, 16, 16), masks)


@pytest.mark.parametrize("clips", [1, 2])
def test_frames_are_processed_in_small_groups_without_gradients(clips, monkeypatch):
    generator = small_generator().double()
    batch = random_batch(0, clips=clips)
    whole = generator(batch.frames, batch.masks).detach()
    sizes = []
    generator.decoder.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    monkeypatch.setattr(generator_file, "few_frames", lambda _: 2)
    monkeypatch.setattr(attention, "few_frames", lambda _: 2)
    with torch.no_grad():
        torch.testing.assert_close(generator(batch.frames, batch.masks), whole)
        features = generator.encode(batch.frames.flatten(0, 1))
        mixed = generator.transform(features, batch.masks.flatten(0, 1), clips)
        found = generator.decode(mixed).unflatten(0, (clips, FRAMES))
    torch.testing.assert_close(found, whole)
    assert max(sizes) == 2


@torch.no_grad()
def test_concatenated_clips_attend_to_each_other():
    apart, strung = small_discriminator(), Discriminator(2, clips_apart=False)
    strung.load_state_dict(apart.state_dict())
    clips = random_batch(0).frames.float()
    scores = strung(clips)
    assert scores.shape == apart(clips).shape
    assert not torch.allclose(scores, apart(clips), atol=1e-3)
    torch.testing.assert_close(strung(clips[:1]), apart(clips[:1]))
    # One long clip, cut again.
    torch.testing.assert_close(apart(clips.flatten(0, 1)[None]), scores.flatten(0, 1)[None])


@torch.no_grad()
def test_clips_of_a_batch_do_not_attend_to_each_other():
    batch = random_batch(0)
    generator, discriminator = small_generator().double(), small_discriminator().double()
    filled, scores = generator(batch.frames, batch.masks), discriminator(batch.frames)
    for i, alone in enumerate(batch.split(1)):
        torch.testing.assert_close(generator(alone.frames, alone.masks)[0], filled[i])
        torch.testing.assert_close(discriminator(alone.frames)[0], scores[i])


@pytest.mark.parametrize("network", [Generator(32, 1, (1, 2)), Discriminator(8)])
def test_initial_weights_have_the_given_std_and_biases_are_zero(network):
    initialise(network, 0.02, torch.Generator().manual_seed(0))
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
            continue
        # Standard errors of a sample of n: of the spread std / sqrt(2 n), of the mean std / sqrt(n)
        error = 0.02 / parameter.numel() ** 0.5
        assert abs(parameter.std().item() - 0.02) < 5 * error, name
        assert abs(parameter.mean().item()) < 5 * error, name


def test_spectrally_normed_convolutions_use_reinitialised_weights():
    discriminator = small_discriminator()
    layer = discriminator.spectral_layers()[0]
    clip = random_batch(0, clips=1).frames.float().transpose(1, 2)
    with torch.no_grad():
        once = layer(clip)
        initialise(discriminator, 0.02, torch.Generator().manual_seed(0))
        sigma = torch.dot(layer.u, layer.weight.flatten(1) @ layer.v)
        wanted = functional.conv3d(clip, layer.weight / sigma, stride=(1, 2, 2), padding=1)
        torch.testing.assert_close(layer(clip), wanted)
        assert not torch.allclose(layer(clip), once)


@pytest.mark.parametrize("make", [small_generator, small_discriminator])
def test_initial_values_depend_on_the_seed_alone(make):
    torch.manual_seed(1)
    first = make(seed=7).state_dict()
    torch.manual_seed(2)
    again, other = make(seed=7).state_dict(), make(seed=8).state_dict()
    for name, value in first.items():
        assert torch.equal(value, again[name])
        assert name.endswith("bias") or not torch.equal(value, other[name])


def test_power_iteration_finds_the_largest_singular_value():
    for layer in small_discriminator().double().spectral_layers():
        weight = layer.weight.detach()
        u, v = layer.u, layer.v
        for _ in range(1000):
            u, v = power_iteration(weight, u)
        largest = torch.linalg.svdvals(weight.flatten(1))[0]
        torch.testing.assert_close(torch.dot(u, weight.flatten(1) @ v), largest)
        torch.testing.assert_close(torch.stack([u.norm(), v.norm()]), torch.ones(2).double())


def test_a_forward_pass_never_moves_the_spectral_norm():
    discriminator = small_discriminator().train()
    before = [(layer.u.clone(), layer.v.clone()) for layer in discriminator.spectral_layers()]
    clips = random_batch(0).frames.float()
    first = discriminator(clips)
    first.sum().backward()
    for layer, (u, v) in zip(discriminator.spectral_layers(), before, strict=True):
        assert torch.equal(layer.u, u)
        assert torch.equal(layer.v, v)
    assert torch.equal(discriminator(clips), first)


def test_spectral_norm_vectors_start_after_one_power_iteration():
    discriminator = Discriminator(2)
    random = torch.Generator().manual_seed(0)
    initialise(discriminator, 0.02, random)
    initialise_vectors(discriminator, random)
    for layer in discriminator.spectral_layers():
        matrix = layer.weight.detach().flatten(1)
        torch.testing.assert_close(functional.normalize(matrix @ layer.v, dim=0), layer.u)
        torch.testing.assert_close(layer.v.norm(), torch.tensor(1.0))


@torch.no_grad()
def test_output_shapes_of_both_networks():
    frames = random_batch(0, clips=2).frames.float()
    filled = small_generator()(frames, torch.zeros_like(frames[:, :, :1]))
    assert filled.shape == (2, FRAMES, 3, SIDE, SIDE)
    assert filled.abs().max() <= 1
    assert small_discriminator()(frames).shape == (2, FRAMES, 8, 1, 1)


@pytest.mark.parametrize(("padding", "bias"), [(1, False), (2, True)])
def test_frame_by_frame_convolution_equals_conv3d(padding, bias):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 3, 18, 22, dtype=torch.float64, generator=random, requires_grad=True)
    weight = torch.randn(6, 4, 3, 5, 5, dtype=torch.float64, generator=random, requires_grad=True)
    shift = torch.randn(6, dtype=torch.float64, generator=random) if bias else None
    ours = frame_by_frame(x, weight, shift, padding)
    torchs = functional.conv3d(x, weight, shift, stride=(1, 2, 2), padding=(1, padding, padding))
    torch.testing.assert_close(ours, torchs)
    seen = torch.randn(ours.shape, dtype=torch.float64, generator=random)
    for mine, theirs in zip(
        torch.autograd.grad(ours, (x, weight), seen),
        torch.autograd.grad(torchs, (x, weight), seen),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)
