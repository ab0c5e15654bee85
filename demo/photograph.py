"""Tokens from a photograph: its 16 x 16 patches, and their Q, K, V by random matrices of a fixed seed."""

import numpy as np
from matplotlib import cbook, image

PATCH = 16


class Photograph:
    """Grace Hopper, from matplotlib's sample data. rows x columns patches are the tokens, n = 1184."""

    def __init__(self):
        pixels = image.imread(cbook.get_sample_data("grace_hopper.jpg"))
        self.rows, self.columns = pixels.shape[0] // PATCH, pixels.shape[1] // PATCH
        self.pixels = pixels[: self.rows * PATCH, : self.columns * PATCH]
        self.n = self.rows * self.columns
        patches = self.pixels.reshape(self.rows, PATCH, self.columns, PATCH, 3).swapaxes(1, 2).reshape(self.n, -1) / 255.0
        centred = patches - patches.mean(0)
        self.tokens = _unit_variance(centred)
        # Brightness is most of what varies in a photograph. Whitening takes that away: 256 directions of equal variance.
        variances, directions = np.linalg.eigh(centred.T @ centred)
        directions *= np.sign(directions.sum(0))  # eigenvectors have no sign of their own
        self.whitened = _unit_variance(centred @ directions[:, -256:] / np.sqrt(variances[-256:]))

    def spatial_qkv(self, heads, d):
        """[1, heads, n, d] each, as views of [1, n, heads, d]. Q and K share a matrix, as training aligns them: patches
        that look alike attend to each other, and logits grow with d as they do in training."""
        random = np.random.default_rng(1)
        shared, value = (_matrix(random, self.tokens, heads * d) for _ in range(2))
        return [_project(self.tokens, matrix, heads) for matrix in (shared, shared, value)]

    def channel_qkv(self, heads, d):
        """[1, heads, n, d] each. Q and K read whitened tokens: else brightness decides every logit of channels."""
        random = np.random.default_rng(2)
        query, key = (_matrix(random, self.whitened, heads * d) for _ in range(2))
        value = _matrix(random, self.tokens, heads * d)
        return [
            _project(self.whitened, query, heads),
            _project(self.whitened, key, heads),
            _project(self.tokens, value, heads),
        ]

    def picture_of(self, values):
        """One number per token, as an image of the photograph's size."""
        return np.kron(np.reshape(values, (self.rows, self.columns)), np.ones((PATCH, PATCH)))


def _unit_variance(tokens):
    return tokens / np.sqrt((tokens**2).mean(1, keepdims=True))


def _matrix(random, tokens, width):
    """Entries of variance 1/fan_in: every coordinate of a projected token has variance 1 at any width."""
    features = tokens.shape[1]
    return random.standard_normal((features, width)) / np.sqrt(features)


def _project(tokens, matrix, heads):
    n, width = tokens.shape[0], matrix.shape[1]
    return (tokens @ matrix).astype(np.float32).reshape(1, n, heads, width // heads).transpose(0, 2, 1, 3)
