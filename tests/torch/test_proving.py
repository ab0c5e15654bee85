"""The small models, under each rule: what a parametrization says of them."""

import pytest
import torch

from muattn import proving
from muattn.proving import OPERATIONS, RULES, batches, make_model, make_optimizer, train

MUP_RULES = [(operation, rule.name) for rule in RULES.values() if rule.mup for operation in rule.operations]


@pytest.fixture(autouse=True)
def one_thread():
    """On a busy machine threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def attentions(model):
    return [block.attention for block in model.blocks]


@pytest.mark.parametrize("operation, rule", [entry for entry in MUP_RULES if entry[1] != "umup"])
def test_all_rules_are_one_model_at_the_base_width(operation, rule):
    ours, expected = ([], [])
    for losses, name in ((ours, rule), (expected, "sp")):
        model = make_model(operation, name, 32)
        losses += train(model, make_optimizer(model, name, 2**-7), batches(operation, 0, 4), 4)
    assert ours == expected


@pytest.mark.parametrize("operation, rule", MUP_RULES)
def test_base_shapes(operation, rule):
    model = make_model(operation, rule, 64)
    growing = {"characters.weight": 1, "positions.weight": 1, "patches.weight": 1, "norm.weight": 1, "output.weight": 1, "output.bias": 0}
    for name, parameter in model.named_parameters():
        assert not parameter.is_meta
        if name in growing:
            assert parameter.infshape.ninf() == growing[name], name
        elif parameter.dim() == 2:
            assert parameter.infshape.ninf() == 2, name
            assert parameter.infshape.width_mult() == 2, name
    for layer in attentions(model):
        assert layer.d_base == 8
        assert (layer.heads, layer.head_dim) == ((8, 8) if rule == "mup_heads" else (4, 16))


def test_learning_rates():
    model = make_model("spatial", "mup", 128)
    rates = {id(p): group["lr"] for group in make_optimizer(model, "mup", 1.0).param_groups for p in group["params"]}
    of = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    assert of["blocks.0.attention.qkv.weight"] == of["blocks.1.mlp.2.weight"] == 0.25
    assert of["characters.weight"] == of["output.weight"] == of["blocks.0.mlp.0.bias"] == of["norm.weight"] == 1
    plain = make_model("spatial", "sp", 128)
    assert [group["lr"] for group in make_optimizer(plain, "sp", 1.0).param_groups] == [1.0]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_initial_variances_fall_with_the_width(operation):
    """Matrices have a variance of 1/fan-in, up to a constant; what comes in and biases do not know the width; the last layer is 0."""
    small, large = (dict(make_model(operation, "mup", width).named_parameters()) for width in (32, 128))
    for name in ("blocks.0.attention.qkv.weight", "blocks.1.mlp.2.weight"):
        assert (large[name].std() / small[name].std()).item() == pytest.approx(0.5, rel=0.1)
    for name in ("positions.weight", "blocks.0.mlp.0.bias", "blocks.0.mlp.2.bias"):
        assert (large[name].std() / small[name].std()).item() == pytest.approx(1, rel=0.25)
    assert not large["output.weight"].any()


def test_plain_model_has_no_base():
    model = make_model("spatial", "sp", 64)
    assert not any(hasattr(parameter, "infshape") for parameter in model.parameters())
    assert all(layer.d_base is None and layer.scaling == "sp" for layer in attentions(model))
    assert [layer.scaling for layer in attentions(make_model("spatial", "mup_sqrt", 64))] == ["sp", "sp"]
    assert [layer.heads for layer in attentions(make_model("spatial", "sp", 64, grow="heads"))] == [8, 8]


def test_same_seed_same_numbers():
    state = torch.get_rng_state()
    one, same, other = (make_model("channel", "mup", 32, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.positions.weight, same.positions.weight) and not torch.equal(one.positions.weight, other.positions.weight)
    assert torch.equal(state, torch.get_rng_state())
    (x, labels), (again, _) = (next(batches("channel", 5, 3)) for _ in range(2))
    assert x.shape == (3, 16, 4) and torch.equal(x, again) and x.abs().max() <= 1 and labels.shape == (3,)


def test_texts():
    x, y = next(batches("spatial", 0, 2))
    assert x.shape == y.shape == (2, 128) and torch.equal(x[:, 1:], y[:, :-1])


def test_digits_are_cut_into_patches():
    patches, _ = proving.data.digits()
    assert torch.equal(patches[0, 1].reshape(2, 2), patches[0].reshape(4, 4, 2, 2).transpose(1, 2).reshape(8, 8)[:2, 2:4])


@pytest.mark.parametrize("operation, rule, options, message", [
    ("spatial", "mup_mean", {}, "rule of spatial attention must be one of sp, mup, mup_sqrt, mup_heads, umup, not 'mup_mean'"),
    ("channel", "umup", {}, "rule of channel attention must be one of sp, mup, mup_mean, mup_heads, not 'umup'"),
    ("both", "mup", {}, "operation must be one of spatial, channel, not 'both'"),
    ("spatial", "mup", {"width": 30}, "width \\(30\\) must be a multiple of 4"),
    ("spatial", "mup", {"base_width": 30}, "base_width \\(30\\) of base_heads"),
    ("spatial", "mup_heads", {"width": 36}, "width \\(36\\) must be a multiple of 8"),
    ("spatial", "mup", {"grow": "depth"}, "grow must be 'head_dim' or 'heads', not 'depth'"),
    ("channel", "mup", {"grow": "heads"}, "heads are fixed"),
])  # fmt: skip
def test_errors(operation, rule, options, message):
    with pytest.raises(ValueError, match=message):
        make_model(operation, rule, **{"width": 64, **options})


def test_missing_packages():
    with pytest.raises(ImportError, match="pip install no-such-package neither"):
        proving.need("torch", "no-such-package", "scikit-learn", "neither")


def test_data_serve_all_models_when_the_first_one_is_on_meta():
    for cached in (proving.data.text, proving.data.digits):
        cached.cache_clear()
    with torch.device("meta"):
        for operation in OPERATIONS:
            make_model(operation, "mup", 64)
    assert not any(x.is_meta for operation in OPERATIONS for x in next(batches(operation, 0, 2)))
