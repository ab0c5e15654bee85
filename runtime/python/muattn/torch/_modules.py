"""Attention layers: a packed projection, muattn's attention, a projection of its result."""

from __future__ import annotations


import torch
from torch import nn

from .._options import base_width, choice, factor, number, resolve_causal, resolve_window
from .._settings import LAYOUTS, CHANNEL_SCALINGS, SPATIAL_SCALINGS, Causal, ChannelScaling, Layout, SpatialScaling, Window
from ._packed import packed_channel_attention, packed_spatial_attention


def _check_heads(dim, heads, kv_heads, head_dim):
    for name, value in (("dim", dim), ("heads", heads), ("kv_heads", kv_heads)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, not {value!r}")
    if heads % kv_heads:
        raise ValueError(f"heads ({heads}) must be a multiple of kv_heads ({kv_heads})")
    if head_dim is None and dim % heads:
        raise ValueError(f"dim ({dim}) must be a multiple of heads ({heads}), or head_dim be given")


class _Attention(nn.Module):
    """What both have: head_dim channels in each of heads heads, and the base model's head_dim, d_base."""

    heads: int
    head_dim: int
    d_base: int | None

    def _make(self, dim, heads, kv_heads, head_dim, d_base, qkv_bias, out_bias, device, dtype):
        _check_heads(dim, heads, kv_heads, head_dim)
        base_width(d_base)
        self.dim, self.heads, self.kv_heads, self.d_base = dim, heads, kv_heads, d_base
        self.head_dim = dim // heads if head_dim is None else head_dim
        factory = {"device": device, "dtype": dtype}
        self.qkv = nn.Linear(dim, (heads + 2 * kv_heads) * self.head_dim, bias=qkv_bias, **factory)
        self.out = nn.Linear(heads * self.head_dim, dim, bias=out_bias, **factory)


    def _check(self, x, channels):
        expected = f"[B, n, {self.dim}]" if channels == -1 else f"[B, {self.dim}, ...]"
        if x.dim() < 3 or (channels == -1 and x.dim() != 3) or x.shape[channels] != self.dim:
            raise ValueError(f"x must be {expected}, not {list(x.shape)}")
        if x.dtype is torch.float64:
            raise ValueError("x.dtype must be float32, float16 or bfloat16, not float64: call float() of x and of the module")


class SpatialAttention(_Attention):
    """Multi-head attention over tokens: out(attention(q, k, v)), [q, k, v] = qkv(x).

    Arguments
      dim        channels of x and of the result
      heads      query heads
      kv_heads   key/value heads; heads is a multiple of it. None: as many as heads
      d_base     head_dim of the muP base model; set_base() sets it from that model. It is no parameter: state_dict() has it not
      scaling    the rule of the logits' scale: "mup" (sqrt(d_base) / head_dim^power, without d_base 1 / head_dim^power), "mup_heads", "sp"
                 (1 / sqrt(head_dim): a model that is not one of muP wants this), "umup" (1 / head_dim, and the output divided by the sigma of
                 unit-scaled muP)
      power      of "mup" alone
      alpha      factor on the logits' scale
      causal, window, softcap  as spatial_attention() has them
      head_dim   channels of a head; None: dim / heads
      qkv_bias, out_bias  whether the two projections have biases
      device, dtype       of the parameters

    Parameters, which are all of state_dict():
      qkv.weight [(heads + 2 kv_heads) head_dim, dim]: rows of q, then of k, then of v, heads one after the other;  qkv.bias
      out.weight [dim, heads head_dim];  out.bias
    They begin as those of torch.nn.Linear do; mup.set_base_shapes() and mup's optimizers take both as matrices.
    """

    def __init__(
        self, dim: int, heads: int, kv_heads: int | None = None, d_base: int | None = None, scaling: SpatialScaling = "mup",
        causal: Causal = None, window: Window = None, softcap: float | None = None, head_dim: int | None = None, qkv_bias: bool = False,
        out_bias: bool = True, device: torch.device | str | None = None, dtype: torch.dtype | None = None, *, power: float = 1.0,
        alpha: float = 1.0,
    ):
        super().__init__()
        choice("scaling", scaling, SPATIAL_SCALINGS)
        if factor("power", power) and scaling != "mup":
            raise ValueError(f"power: only scaling='mup' has one, not {scaling!r}")
        factor("alpha", alpha)
        self._make(dim, heads, heads if kv_heads is None else kv_heads, head_dim, d_base, qkv_bias, out_bias, device, dtype)
        for check, value in ((resolve_causal, causal), (resolve_window, window), (lambda x: number("softcap", x), softcap)):
            check(value)
        self.scaling, self.causal, self.window, self.softcap = scaling, causal, window, softcap
        self.power, self.alpha = power, alpha

    def forward(self, x: torch.Tensor, *, mask: torch.Tensor | None = None, key_lengths: torch.Tensor | list[int] | None = None) -> torch.Tensor:
        """x [B, n, dim] to [B, n, dim]. mask [B, heads, n, n], each dimension full or 1, and key_lengths [B]: as spatial_attention() has them."""
        self._check(x, -1)
        attended = packed_spatial_attention(
            self.qkv(x), self.heads, self.kv_heads, scaling=self.scaling, d_base=self.d_base if self.scaling == "mup" else None,
            power=self.power, alpha=self.alpha, causal=self.causal, window=self.window, softcap=self.softcap, mask=mask, key_lengths=key_lengths,
        )
        return self.out(attended)

    def extra_repr(self):
        return (
            f"dim={self.dim}, heads={self.heads}, kv_heads={self.kv_heads}, head_dim={self.head_dim}, d_base={self.d_base}, "
            f"scaling={self.scaling!r}, power={self.power}, alpha={self.alpha}, causal={self.causal!r}, window={self.window}, "
            f"softcap={self.softcap}"
        )


class ChannelAttention(_Attention):
    """Multi-head attention over channels: out(attention(q, k, v)), [q, k, v] = qkv(x), with maps of head_dim x head_dim.

    Arguments
      dim          channels of x and of the result
      heads        heads
      d_base       head_dim of the muP base model, which "mup" needs; set_base() sets it from that model. It is no parameter: state_dict() has
                   it not
      scaling      the rule of the output multiplier: "mup" (d_base / head_dim), "mup_mean", "mup_heads", "sp"
      alpha        factor on the logits' scale, where no temperature is learned
      normalize    queries and keys are divided by their norms over tokens, as in XCiT and Restormer
      layout       "channels_last": x is [B, n, dim]; "channels_first": [B, dim, ...], with any number of dimensions of tokens
      temperature  learn the logits' scale, one per head, from 1 on, instead of 1/sqrt(n). None: where normalize is on
      qkv_bias, out_bias  whether the two projections have biases
      device, dtype       of the parameters

    Parameters, which are all of state_dict():
      qkv.weight [3 heads head_dim, dim]: rows of q, then of k, then of v, heads one after the other;  qkv.bias
      out.weight [dim, heads head_dim];  out.bias;  temperature [heads], if learned
    """

    def __init__(
        self, dim: int, heads: int, d_base: int | None = None, scaling: ChannelScaling = "mup", normalize: bool = False,
        layout: Layout = "channels_last", temperature: bool | None = None, head_dim: int | None = None, qkv_bias: bool = False,
        out_bias: bool = True, device: torch.device | str | None = None, dtype: torch.dtype | None = None, *, alpha: float = 1.0,
    ):
        super().__init__()
        choice("scaling", scaling, CHANNEL_SCALINGS)
        choice("layout", layout, LAYOUTS)
        self._make(dim, heads, heads, head_dim, d_base, qkv_bias, out_bias, device, dtype)
        self.scaling, self.normalize, self.layout = scaling, normalize, layout
        learned = normalize if temperature is None else temperature
        if factor("alpha", alpha) and learned:
            raise ValueError("alpha: not where a temperature is learned, which is the logits' scale itself")
        self.alpha = alpha
        self.temperature = nn.Parameter(torch.ones(heads, device=device, dtype=dtype)) if learned else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape as x."""
        self._check(x, -1 if self.layout == "channels_last" else 1)
        options = {
            "scaling": self.scaling, "d_base": self.d_base if self.scaling == "mup" else None, "alpha": self.alpha,
            "scale": self.temperature, "normalize": self.normalize, "layout": self.layout,
        }
        if self.layout == "channels_last":
            return self.out(packed_channel_attention(self.qkv(x), self.heads, **options))
        attended = packed_channel_attention(self._over_tokens(self.qkv, x.flatten(2)), self.heads, **options)
        return self._over_tokens(self.out, attended).reshape(x.shape)

    @staticmethod
    def _over_tokens(linear, x):
        """linear on the channels of [B, channels, tokens]."""
        product = torch.matmul(linear.weight, x)
        return product if linear.bias is None else product + linear.bias.unsqueeze(-1)

    def extra_repr(self):
        return (
            f"dim={self.dim}, heads={self.heads}, head_dim={self.head_dim}, d_base={self.d_base}, scaling={self.scaling!r}, "
            f"alpha={self.alpha}, normalize={self.normalize}, layout={self.layout!r}"
        )


def set_base(model: nn.Module, base: nn.Module) -> nn.Module:
    """Gives each SpatialAttention and ChannelAttention in model the head dimension of the one with the same name in base, the muP base
    model, as its d_base: what mup.set_base_shapes(model, base) does for parameters. Call both, before torch.compile() or a wrapper that
    renames modules, and again after load_state_dict() into a new model. Returns model.

    Raises ValueError, and changes nothing, where model has no such module, base lacks one, or a module's heads differ while scaling is
    "mup", under which they are fixed.
    """
    if not isinstance(model, nn.Module) or not isinstance(base, nn.Module):
        raise TypeError(f"model and base must be modules, not {type(model).__qualname__} and {type(base).__qualname__}")
    of_base = dict(base.named_modules())
    found = []
    for name, module in model.named_modules():
        if isinstance(module, _Attention):
            found.append((module, _base_width_of(name or "the model itself", module, of_base.get(name))))
    if not found:
        raise ValueError("model has no SpatialAttention and no ChannelAttention")
    for module, head_dim in found:
        module.d_base = head_dim
    return model


def _base_width_of(name, module, other):
    if type(other) is not type(module):
        raise ValueError(
            f"base has no {type(module).__name__} named {name!r}: make model and base by the same code, and call set_base() before torch.compile()"
        )
    if module.scaling == "mup" and other.heads != module.heads:
        raise ValueError(
            f"{name!r} has {module.heads} heads, and {other.heads} in base: under scaling='mup' the head dimension grows, and heads are fixed; "
            "where heads grow take 'mup_heads'"
        )
    return other.head_dim
