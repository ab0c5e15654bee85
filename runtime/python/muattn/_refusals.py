"""What must not come in, as a part of its meaning would be lost in silence: the mask of a masked array, and what PyTorch knows of
a tensor beside its memory."""

import sys


_PLAIN = {type(None), bool, int, float, str}


def refuse(**arguments):
    """Raises TypeError for masked arrays (numpy.ma), ValueError for tensors of PyTorch that are more than their memory."""
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", ())
    tensor = getattr(sys.modules.get("torch"), "Tensor", ())
    asked = False
    for name, value in arguments.items():
        kind = type(value)
        if kind in _PLAIN:
            continue
        if kind is list or kind is tuple:
            refuse(**{f"{name}[{i}]": entry for i, entry in enumerate(value)})
        elif isinstance(value, masked):
            _refuse_masked(name)
        elif isinstance(value, tensor):
            torch = sys.modules["torch"]
            if not asked:
                _refuse_recording(torch)
                asked = True
            _refuse_tensor(torch, name, value)


def _refuse_masked(name):
    instead = f"{name}.data" if name == "out" else f"{name}.filled(value), with what masked entries shall count as"
    hidden = "; keys to hide go into mask= or key_lengths=" if name in ("k", "v") else ""
    raise TypeError(f"{name} is a masked array (numpy.ma), whose mask would be ignored: pass {instead}{hidden}")


def _refuse_recording(torch):
    """torch.jit.trace, make_fx and torch.export run a function once and keep PyTorch's operators: results of others are constants
    to them. torch.compile never gets here."""
    if torch._C._is_tracing() or (torch._C._len_torch_dispatch_stack() and _is_recorded(torch)):
        raise ValueError(
            "PyTorch is recording a graph (torch.jit.trace, torch.export, make_fx, FakeTensorMode), and a call of muattn cannot be "
            "part of one: leave it outside"
        )


def _is_recorded(torch):
    keys = torch._C._TorchDispatchModeKey
    return any(torch._C._get_dispatch_mode(key) is not None for key in (keys.PROXY, keys.FAKE))


def _refuse_tensor(torch, name, tensor):
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor) or torch._is_functional_tensor(tensor):
        raise ValueError(
            f"{name} belongs to a transform of torch.func (grad, jvp, vmap, ...), and a call of muattn cannot be part of one yet: "
            "leave it outside; for vmap, the leading dimensions of an array are there to batch over"
        )
    kind = type(tensor)
    if kind is not torch.Tensor and kind.__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        raise ValueError(
            f"{name} is a {kind.__qualname__}, a tensor that is more than the memory that muattn reads: pass the plain torch.Tensor "
            "that it stands for"
        )
    if tensor.is_nested:
        raise ValueError(f"{name} is a nested tensor: pass {name}.to_padded_tensor(0), and its lengths as key_lengths=")
    if tensor.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{name} requires a gradient, and PyTorch does not record calls of muattn: call it under torch.no_grad(), pass {name}.detach(), "
            "or wrap it in a torch.autograd.Function, whose backward() calls muattn's ..._backward()"
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
