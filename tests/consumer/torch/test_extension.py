"""The static library inside a PyTorch C++ extension. MUATTN_PREFIX: where muattn is installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
cpp_extension = pytest.importorskip("torch.utils.cpp_extension")


def test_extension(tmp_path):
    prefix = Path(os.environ["MUATTN_PREFIX"])
    library = next(prefix.rglob("libmuattn.a"))
    module = cpp_extension.load(
        "muattn_extension", [str(Path(__file__).parent / "extension.cpp")], build_directory=str(tmp_path),
        extra_include_paths=[str(prefix / "include")], extra_cflags=["-O1"], extra_ldflags=[str(library), "-lm", "-lpthread", "-ldl"],
    )  # fmt: skip
    q, k, v = (torch.randn(2, 7, 3, 64).transpose(1, 2) for _ in range(3))  # [B, H, n, d], a view
    scale = 32**0.5 / 64
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scale)
    torch.testing.assert_close(module.spatial_attention(q, k, v, 32), expected)
