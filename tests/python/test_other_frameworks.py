"""The table of docs/parametrization.md: attention's scale as other frameworks compute it, and the same in muattn's words."""

import math

import pytest

import muattn

SCALES = {
    "Megatron-core": [
        (lambda d, base=base, p=p: (1.0 if base is None else base**0.5) / d**p, {"scaling": "mup", "d_base": base, "power": p})
        for base in (None, 64, 128)
        for p in (0.5, 0.75, 1.0)
    ],
    "nanoGPT-mup": [(lambda d: 1.0 / d, {"scaling": "mup"})],
    "Cerebras": [(lambda d: 2.5 * (1 / d**0.5) * (1 / d**0.5), {"scaling": "mup", "alpha": 2.5})],
    "mup's README": [(lambda d: 8 / d, {"scaling": "mup", "d_base": 64})],
    "mup's example": [(lambda d: math.sqrt(8) / d, {"scaling": "mup", "d_base": 8})],
    "mutransformers": [(lambda d: 8 / d, {"scaling": "mup", "alpha": 8.0}), (lambda d: d**-0.5, {"scaling": "sp"})],
    "Granite, grown from a head dimension of 64": [(lambda d: 0.015625 * 64 / d, {"scaling": "mup", "alpha": 0.015625 * 64})],
    "Llama, levanter": [(lambda d: d**-0.5, {"scaling": "sp"})],
    "unit_scaling": [(lambda d: 3.0 / d, {"scaling": "umup", "alpha": 3.0})],
}


@pytest.mark.parametrize("framework", SCALES)
@pytest.mark.parametrize("d", [8, 64, 96, 128, 256])
def test_both_sides_agree(framework, d):
    for theirs, ours in SCALES[framework]:
        assert muattn.spatial_scale(d=d, **ours) == pytest.approx(theirs(d), rel=1e-12)
