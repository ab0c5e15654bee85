"""What must not come in, as a part of its meaning would be lost in silence: the mask of a masked array, and what PyTorch knows of
a tensor beside its memory."""

import sys

from ._torch import entries_of, is_recorded

_PLAIN = {type(None), bool, int, float, str}
_CONSTANTS = {"softcap", "alpha", "power"}  # no function of muattn's has a gradient by them

# What PyTorch can record, instead of a call that is refused.
WITHOUT_OUT = "leave out= and return_map= out: PyTorch then takes the call as an operator"
BOTH_HALVES = "call muattn.torch.channel_attention(), which is both halves"
FORWARD = "let PyTorch differentiate what muattn.torch has"


def refuse(instead, /, **arguments):
    """Raises TypeError for masked arrays (numpy.ma), ValueError for tensors of PyTorch that are more than their memory."""
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", ())
    tensor = getattr(sys.modules.get("torch"), "Tensor", ())
    asked = False
    for name, value in arguments.items():
        kind = type(value)
        if kind in _PLAIN:
            continue
        if isinstance(value, masked):
            _refuse_masked(name)
        elif isinstance(value, tensor):
            torch = sys.modules["torch"]
            if not asked:
                _refuse_recording(torch, instead)
                asked = True
            _refuse_tensor(torch, instead, name, value)
        else:
            refuse(instead, **{f"{name}[{i}]": entry for i, entry in enumerate(entries_of(value) or ())})


def _refuse_masked(name):
    instead = f"{name}.data" if name == "out" else f"{name}.filled(value), with what masked entries shall count as"
    hidden = "; keys to hide go into mask= or key_lengths=" if name in ("k", "v") else ""
    raise TypeError(f"{name} is a masked array (numpy.ma), whose mask would be ignored: pass {instead}{hidden}")


def _refuse_recording(torch, instead):
    """torch.jit.trace, make_fx and torch.export run a function once and keep PyTorch's operators: results of others are constants
    to them. torch.compile never gets here."""
    if torch._C._is_tracing() or is_recorded(torch):
        raise ValueError(
            "PyTorch is recording a graph (torch.jit.trace, torch.export, make_fx, FakeTensorMode), and this call cannot be part of one: leave it "
            f"outside, or {instead}"
        )


def _refuse_tensor(torch, instead, name, tensor):
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor) or torch._is_functional_tensor(tensor):
        raise ValueError(
            f"{name} belongs to a transform of torch.func (grad, jvp, vmap, ...), and this call cannot be part of one: leave it outside, or {instead}"
        )
    kind = type(tensor)
    if kind is not torch.Tensor and kind.__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        raise ValueError(
            f"{name} is a {kind.__qualname__}, a tensor that is more than the memory that muattn reads: pass the plain torch.Tensor "
            "that it stands for, or call what muattn.torch has, if it can be part of operators"
        )
    if tensor.is_nested:
        raise ValueError(f"{name} is a nested tensor: pass {name}.to_padded_tensor(0), and its lengths as key_lengths=")
    if tensor.requires_grad and torch.is_grad_enabled():
        if name in _CONSTANTS:
            raise ValueError(f"{name} requires a gradient, and muattn has none by it: pass {name}.item()")
        raise ValueError(
            f"{name} requires a gradient, and PyTorch does not record this call: call it under torch.no_grad(), pass {name}.detach(), or {instead}"
        )
    forward = torch.autograd.forward_ad
    if forward._current_level >= 0 and forward.unpack_dual(tensor).tangent is not None:
        raise ValueError(
            f"{name} carries a forward-mode tangent, which muattn would drop: pass torch.autograd.forward_ad.unpack_dual({name}).primal"
        )
    if tensor.is_neg():
        raise ValueError(
            f"{name} has PyTorch's negative bit set, so that its memory holds the values with the other sign: pass {name}.resolve_neg()"
        )
