"""Attention blocks of published vision models: in float64 as their papers define them, against muattn on float32 views."""

import muattn
import numpy as np
import pytest
import reference


def parameters(generator, *shape):
    """A weight whose products keep their size."""
    return generator.standard_normal(shape) * shape[0] ** -0.5


def single(*arrays):
    return [x.astype(np.float32) for x in arrays]


def assert_same_block(result, expected, tolerance=8e-6):
    """Largest error over the block's root mean square. The float32 projections around the attention are in it: for ViT,
    where the error is the largest, they alone make 3.6e-6, with NumPy's float32 attention 4.6e-6, with muattn 4.9e-6."""
    assert result.dtype == np.float32 and result.shape == expected.shape
    error = np.abs(result - expected).max() / np.sqrt((expected**2).mean())
    assert error <= tolerance, f"error {error:.3g} of the output's scale"


class Heads:
    """q, k, v as [B, H, n, d] views of a packed projection [B, n, 3 C], and an output that needs no copy either."""

    def __init__(self, packed, heads):
        B, n, channels = packed.shape
        self.qkv = packed.reshape(B, n, 3, heads, channels // (3 * heads)).transpose(2, 0, 3, 1, 4)
        assert np.shares_memory(self.qkv, packed)
        self.merged = np.empty((B, n, channels // 3), np.float32)
        self.out = self.merged.reshape(B, n, heads, -1).transpose(0, 2, 1, 3)
        assert np.shares_memory(self.out, self.merged)


def unpack(packed, heads):
    """q, k, v for the definitions: lists of one [n, d] matrix per head, of one image."""
    return [np.split(x, heads, axis=1) for x in np.split(packed, 3, axis=1)]


def rows_softmax(logits):
    return reference.softmax(logits)[0]


# ---- ViT (Dosovitskiy et al., arXiv:2010.11929, appendix A) --------------------------------------------------------


def vit(x, w_qkv, w_out, heads):
    images = []
    for tokens in x:
        q, k, v = unpack(tokens @ w_qkv, heads)
        attended = [rows_softmax(q[h] @ k[h].T / np.sqrt(q[h].shape[1])) @ v[h] for h in range(heads)]
        images.append(np.concatenate(attended, 1) @ w_out)
    return np.stack(images)


def test_vit():
    generator = np.random.default_rng(0)
    x, w_qkv, w_out = generator.standard_normal((2, 197, 192)), parameters(generator, 192, 576), parameters(generator, 192, 192)
    x32, w_qkv32, w_out32 = single(x, w_qkv, w_out)
    views = Heads(x32 @ w_qkv32, 3)
    muattn.spatial_attention(*views.qkv, out=views.out)
    assert_same_block(views.merged @ w_out32, vit(x, w_qkv, w_out, 3))


# ---- Swin (Liu et al., arXiv:2103.14030, section 3.2) --------------------------------------------------------------


def swin(image, w_qkv, w_out, table, heads, window, shift):
    """Over all pairs of one image's tokens. Two see each other if the displaced grid puts them into one window without
    wrapping either around the border; the bias is that of their relative position."""
    height, width, channels = image.shape
    y, x = (index.ravel() for index in np.indices((height, width)))
    q, k, v = unpack(image.reshape(-1, channels) @ w_qkv, heads)
    cells = [(y - shift) // window, (x - shift) // window]  # -1: before the first whole window, a window of its own
    seen = np.logical_and.reduce([cell[:, None] == cell for cell in cells])
    # The last cell ends at the border by itself.
    dy, dx = (np.clip(i[:, None] - i, 1 - window, window - 1) + window - 1 for i in (y, x))
    attended = []
    for h in range(heads):
        logits = q[h] @ k[h].T / np.sqrt(q[h].shape[1]) + table[dy, dx, h]
        attended.append(rows_softmax(np.where(seen, logits, -np.inf)) @ v[h])
    return (np.concatenate(attended, 1) @ w_out).reshape(image.shape)


def windows_of(images, window):
    """[B (H / window) (W / window), window^2, C]"""
    B, height, width, channels = images.shape
    grid = images.reshape(B, height // window, window, width // window, window, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(-1, window * window, channels)


def images_of(windows, shape, window):
    B, height, width, channels = shape
    grid = windows.reshape(B, height // window, width // window, window, window, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(shape)


@pytest.mark.parametrize("shift", [0, 3])
def test_swin(shift):
    generator = np.random.default_rng(1)
    heads, window, shape = 3, 7, (2, 14, 21, 96)
    images, w_qkv, w_out = generator.standard_normal(shape), parameters(generator, 96, 288), parameters(generator, 96, 96)
    table = generator.standard_normal((2 * window - 1, 2 * window - 1, heads))
    expected = np.stack([swin(image, w_qkv, w_out, table, heads, window, shift) for image in images])

    images32, w_qkv32, w_out32, table32 = single(images, w_qkv, w_out, table)
    y, x = (index.ravel() for index in np.indices((window, window)))
    bias = table32[y[:, None] - y + window - 1, x[:, None] - x + window - 1]  # [n, n, H]
    mask = bias.transpose(2, 0, 1)[None]  # the heads are the innermost dimension
    assert mask.strides[3] != mask.itemsize
    if shift:
        # The regions that the cyclic shift brings together, as numbers; one mask per window, the same for each image.
        parts = [np.repeat([0, 1, 2], [n - window, window - shift, shift]) for n in shape[1:3]]
        region = windows_of((3 * parts[0][:, None] + parts[1])[None, ..., None], window)[..., 0]
        hidden = np.where(region[:, :, None] == region[:, None], np.float32(0), np.float32(-np.inf))
        mask = np.tile(mask + hidden[:, None], (len(images), 1, 1, 1))
    rolled = np.roll(images32, (-shift, -shift), (1, 2))
    views = Heads(windows_of(rolled, window) @ w_qkv32, heads)
    muattn.spatial_attention(*views.qkv, mask=mask, out=views.out)
    result = np.roll(images_of(views.merged @ w_out32, shape, window), (shift, shift), (1, 2))
    assert_same_block(result, expected)

    # One call per image needs no repeated mask, and gives the same bits.
    n = len(views.out) // len(images)
    for image in range(len(images)):
        part = slice(image * n, (image + 1) * n)
        one = muattn.spatial_attention(*(x[part] for x in views.qkv), mask=mask[:n])
        assert np.array_equal(one, views.out[part])


# ---- XCiT's cross-covariance attention (El-Nouby et al., arXiv:2106.09681, section 3.2) ----------------------------


def xca(x, w_qkv, w_out, temperature, heads):
    images = []
    for tokens in x:
        q, k, v = unpack(tokens @ w_qkv, heads)
        attended = []
        for h in range(heads):
            q_unit, k_unit = (m / np.linalg.norm(m, axis=0) for m in (q[h], k[h]))
            # Each output channel is a convex combination of V's channels.
            attended.append(v[h] @ rows_softmax(temperature[h] * q_unit.T @ k_unit).T)
        images.append(np.concatenate(attended, 1) @ w_out)
    return np.stack(images)


def test_xcit():
    generator = np.random.default_rng(2)
    x, w_qkv, w_out = generator.standard_normal((2, 196, 192)), parameters(generator, 192, 576), parameters(generator, 192, 192)
    temperature = np.array([1.0, 5.0, 0.3, 12.0])
    x32, w_qkv32, w_out32, temperature32 = single(x, w_qkv, w_out, temperature.reshape(4, 1, 1))
    views = Heads(x32 @ w_qkv32, 4)
    muattn.channel_attention(*views.qkv, normalize=True, scale=temperature32, out=views.out)
    assert_same_block(views.merged @ w_out32, xca(x, w_qkv, w_out, temperature, 4))


# ---- DaViT's channel group attention (Ding et al., arXiv:2204.03645, section 3.2) ----------------------------------


def davit(x, w_qkv, w_out, heads, newer):
    """The first release takes the map from K and V, scaled by (C / heads)^-0.5, and applies it to Q; the newer one (timm's
    second version, Florence-2) takes it from Q and K, scaled by n^-0.5, and applies it to V."""
    images = []
    for tokens in x:
        attended = []
        for q, k, v in zip(*unpack(tokens @ w_qkv, heads)):
            if newer:
                attended.append(v @ rows_softmax(q.T @ k / np.sqrt(q.shape[0])).T)
            else:
                attended.append(q @ rows_softmax(k.T @ v / np.sqrt(q.shape[1])).T)
        images.append(np.concatenate(attended, 1) @ w_out)
    return np.stack(images)


@pytest.mark.parametrize("newer", [False, True])
def test_davit(newer):
    generator = np.random.default_rng(3)
    x, w_qkv, w_out = generator.standard_normal((2, 196, 96)), parameters(generator, 96, 288), parameters(generator, 96, 96)
    x32, w_qkv32, w_out32 = single(x, w_qkv, w_out)
    views = Heads(x32 @ w_qkv32, 3)
    q, k, v = views.qkv
    if newer:
        muattn.channel_attention(q, k, v, out=views.out)  # n^-0.5 is the default
    else:
        muattn.channel_attention(k, v, q, scale=32**-0.5, out=views.out)
    assert_same_block(views.merged @ w_out32, davit(x, w_qkv, w_out, 3, newer))


# ---- Restormer's MDTA (Zamir et al., arXiv:2111.09881, section 3.1) ------------------------------------------------


def depthwise(x, kernel):
    """[B, C, h, w] with a 3 x 3 kernel per channel, zeros around."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    taps = np.ndindex(3, 3)
    return sum(kernel[:, i, j, None, None] * padded[:, :, i : i + height, j : j + width] for i, j in taps)


def pointwise(x, weight):
    return np.einsum("oc,bchw->bohw", weight, x, optimize=True)


def mdta(x, w_point, w_depth, w_out, temperature, heads):
    """Maps channels first: q, k, v of one head are [c, h w]."""
    B, C, height, width = x.shape
    result = np.empty_like(x)
    for b, maps in enumerate(depthwise(pointwise(x, w_point), w_depth)):
        q, k, v = (part.reshape(heads, C // heads, -1) for part in np.split(maps, 3))
        for h in range(heads):
            q_unit, k_unit = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (q[h], k[h]))
            weights = rows_softmax(temperature[h] * q_unit @ k_unit.T)
            result[b, h * C // heads : (h + 1) * C // heads] = (weights @ v[h]).reshape(-1, height, width)
    return pointwise(result, w_out)


def test_restormer():
    generator = np.random.default_rng(4)
    heads, shape = 4, (2, 48, 24, 20)
    x, w_out = generator.standard_normal(shape), parameters(generator, 48, 48)
    w_point, w_depth = parameters(generator, 48, 144).T, generator.standard_normal((144, 3, 3)) / 3
    temperature = np.array([1.0, 4.0, 0.5, 9.0])
    x32, w_point32, w_depth32, w_out32 = single(x, w_point, w_depth, w_out)

    maps = np.ascontiguousarray(depthwise(pointwise(x32, w_point32), w_depth32))
    qkv = maps.reshape(2, 3, heads, 12, 24 * 20)
    merged = np.empty(shape, np.float32)
    out = merged.reshape(2, heads, 12, 24 * 20)
    assert np.shares_memory(qkv, maps) and np.shares_memory(out, merged)
    options = {"layout": "channels_first", "normalize": True, "scale": temperature}
    muattn.channel_attention(*(qkv[:, i] for i in range(3)), out=out, **options)
    assert_same_block(pointwise(merged, w_out32), mdta(x, w_point, w_depth, w_out, temperature, heads))
