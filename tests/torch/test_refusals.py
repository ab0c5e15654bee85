"""What the operators say of arguments that are wrong."""

import pytest
import torch

import muattn
import muattn.torch


@pytest.mark.parametrize("call, error, message", [
    (lambda x: muattn.torch.spatial_attention(x, x, x.double()), ValueError, "v.dtype must be float32, float16, bfloat16 or int8, not float64"),
    (lambda x: muattn.torch.spatial_attention(x[0], x, x), ValueError, r"q must have 4 dimensions .*, not 3: q\[None\] where the batch is missing"),
    (lambda x: muattn.torch.spatial_attention(x, x.numpy(), x), TypeError, "k must be a torch.Tensor, not ndarray"),
    (lambda x: muattn.torch.spatial_attention(x, x[:, :1], x), ValueError, "v"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, causal=True), ValueError, "causal must be"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, causal=[0.5]), TypeError, "causal"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, scaling="mean"), ValueError, "scaling must be one of"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, scale=torch.ones(3)), ValueError, "scale"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, softcap=-1.0), ValueError, "softcap must be above 0"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, softcap=torch.ones(1).requires_grad_()), ValueError, "softcap requires a gradient"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, alpha=torch.ones(1).requires_grad_()), ValueError, "alpha requires a gradient"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, alpha=-1.0), ValueError, "alpha must be above 0, not -1"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, power=2.0), ValueError, "power: only MUATTN_SCALING_MUP has one"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, alpha=2.0, scale=torch.ones(2)), ValueError, "alpha: not where scale is given"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, scaling="umup", scale=1.0), ValueError, "give output_multiplier as well"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, output_multiplier=torch.ones(2)), ValueError, "output_multiplier must be one number, not 2"),
    (lambda x: muattn.torch.channel_attention(x, x, x, alpha=2.0, scale=1.0), ValueError, "alpha: not where scale is given"),
    (lambda x: muattn.torch.channel_attention(x, x, x, scaling="umup"), ValueError, "'mup_mean', not 'umup'"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, mask=torch.ones(5, 5)), ValueError, r"mask\[None, None\] is that of \[n_q, n_k\]"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, mask=torch.ones(2, 1, 5, 5).long()), ValueError, "give mask != 0, which is bool"),
    (lambda x: muattn.torch.spatial_attention(x.long(), x, x), ValueError, "q.dtype must be float32, float16 or bfloat16, not int64: convert it"),
    (lambda x: muattn.torch.packed_spatial_attention(x, 2), ValueError, "packed must have 3 dimensions"),
    (lambda x: muattn.torch.packed_spatial_attention(x[0], 2), ValueError, r"packed.shape\[2\] must be a multiple of heads"),
    (lambda x: muattn.torch.packed_channel_attention(x[0], 2, layout="channels_first"), ValueError, r"packed.shape\[1\] must be a multiple"),
    (lambda x: muattn.torch.packed_spatial_attention(x[0], 1, return_lse=True), TypeError, "return_lse is no option here"),
    (lambda x: muattn.torch.packed_spatial_attention(x[0], 1, return_stats=True), TypeError, "return_stats is no option here"),
    (lambda x: muattn.torch.packed_channel_attention(x[0], 1, return_stats=True), TypeError, "return_stats is no option here"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, key_lengths=torch.ones(2)), TypeError, "key_lengths must be integers"),
    (lambda x: muattn.torch.channel_attention(x, x, x, scaling="mup"), ValueError, "d_base"),
    (lambda x: muattn.torch.channel_attention(x, x, x, output_multiplier=torch.ones(2)), ValueError, "output_multiplier must be one number"),
    (lambda x: muattn.torch.merge(x, x, x, x), ValueError, "lse_a must have 3 dimensions"),
])  # fmt: skip
def test_errors(call, error, message):
    x = torch.randn(2, 2, 5, 8)
    for tensor in (x, x.clone().requires_grad_()):
        if tensor.requires_grad and "numpy" in message + str(call.__code__.co_names):
            continue
        with pytest.raises(error, match=message):
            call(tensor)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace")
def test_other_types_behind_the_functions():
    """Kernels read and write what tensors say that they are: others would be read as such, and smaller ones written beyond their end."""
    dtype, message = torch.float64, "take tensors of float32, bool, float16, bfloat16, int8, not float64"
    x, other = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 4, dtype=dtype)
    for function in (muattn.torch.spatial_attention, muattn.torch.channel_attention):
        traced = torch.jit.trace(lambda x, function=function: function(x, x, x), x)
        with pytest.raises(Exception, match=message):
            traced(other)
    with pytest.raises(ValueError, match=message):
        torch.ops.muattn.merge(other, other[..., 0], other, other[..., 0])
    with torch.autograd.graph.saved_tensors_hooks(lambda saved: saved.to(dtype), lambda saved: saved):
        loss = muattn.torch.channel_attention(x.requires_grad_(), x, x).sum()
    with pytest.raises(ValueError, match=message):
        loss.backward()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_types_that_do_not_go_together_behind_the_functions(dtype):
    x = torch.randn(1, 2, 5, 4)
    half = x.to(dtype)
    with pytest.raises(ValueError, match="lse_a.dtype: .* it must be float32"):
        torch.ops.muattn.merge(half, half[..., 0], half, half[..., 0])
    with torch.autograd.graph.saved_tensors_hooks(lambda saved: saved.to(dtype), lambda saved: saved):
        loss = muattn.torch.channel_attention(x.requires_grad_(), x, x).sum()
    with pytest.raises(ValueError, match="d_out.dtype must be that of"):
        loss.backward()
