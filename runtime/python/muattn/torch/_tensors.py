"""Tensors as the extension takes them, and which calls may go to it past PyTorch's dispatcher."""

import torch

from .._muattn import dtypes
from .._options import base_width, integers, number, numbers
from .._stats import LogitStats
from .._torch import entries_of

_forward_mode = torch.autograd.forward_ad
_is_mapped = torch._C._functorch.is_functorch_wrapped_tensor  # by torch.func
_is_batched = torch._C._functorch.is_legacy_batchedtensor  # by is_grads_batched=True
_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter, torch.nn.parameter.Buffer, type(None)})
HALVES = (torch.float16, torch.bfloat16)
FLOATS = (torch.float32, *HALVES)


def is_eager(*tensors):
    """Whether nothing but the memory of the tensors and, at most, autograd is concerned: no torch.compile, no torch.func, no mode, no
    subclass. A call of the extension and of an autograd.Function is then a tenth of what the dispatcher takes."""
    if torch.compiler.is_compiling():
        return False
    if torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack() or torch._C._is_tracing():
        return False
    for tensor in tensors:
        if type(tensor) not in _PLAIN or (tensor is not None and tensor.is_meta):
            return False
    return True


def is_taken(tensor):
    """Whether kernels read its type."""
    return tensor.dtype in FLOATS


def autocast(*values):
    """In torch.autocast's type where it is on, as PyTorch's own attention has them; double precision, integers and what is no tensor stay as they
    are, for check() to see."""
    if not torch.is_autocast_enabled("cpu"):
        return values
    dtype = torch.get_autocast_dtype("cpu")
    return tuple(x.to(dtype) if isinstance(x, torch.Tensor) and is_taken(x) else x for x in values)


def is_eager_backward(*gradients):
    """The same of a backward pass. With create_graph=True it is one of operators, which refuse a second derivative also where no gradient
    that comes in requires one: torch.autograd.function.once_differentiable would return constants then."""
    if torch.is_grad_enabled() or not is_eager(*gradients):
        return False
    for gradient in gradients:
        if gradient is not None and _is_batched(gradient):
            return False
    return True


def new_stats(q, *_):
    return q.new_empty((*q.shape[:2], 1, len(LogitStats._fields)), dtype=torch.float32)


def detached(argument):
    return argument.detach() if isinstance(argument, torch.Tensor) else argument


def sum_over_heads(gradients, scale):
    """In place: kernels give scale's gradient for each head, and one scale for all has the sum."""
    if "scale" in gradients and scale.shape[0] == 1:
        gradients["scale"] = gradients["scale"].sum(0, keepdim=True)


def needs_gradient(tensors):
    for tensor in tensors:
        if tensor is not None and tensor.requires_grad:
            return True
    return False


TOKENS = ("batch", "heads", "tokens", "channels")
CHANNELS_FIRST = ("batch", "heads", "channels", "tokens")
MASK = ("batch", "heads", "n_q", "n_k")
ROWS = ("batch", "heads", "tokens")
CACHE_TYPES, MASK_TYPES, ROWS_TYPES = (*FLOATS, torch.int8), (*FLOATS, torch.bool), (torch.float32,)


def check(name, tensor, dims=TOKENS, types=FLOATS):
    """Raises what is wrong with an argument of these dimensions and types; the library checks sizes, and which types go together."""
    if not torch.compiler.is_compiling():
        if (
            type(tensor) in _PLAIN and tensor is not None and tensor.dtype in types
            and tensor.is_cpu and tensor.ndim == len(dims) and not tensor.is_nested and not _is_mapped(tensor)
            and _forward_mode._current_level < 0
        ):
            return
        if isinstance(tensor, torch.Tensor) and _is_mapped(tensor) and not torch._C._are_functorch_transforms_active():
            raise ValueError(f"{name} belongs to a transform of torch.func that is over")
    _check(name, tensor, dims, types)


def _check(name, tensor, dims, types):
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, not {type(tensor).__qualname__}")
    if tensor.is_nested:
        raise ValueError(f"{name} is a nested tensor: pass {name}.to_padded_tensor(0), and its lengths as key_lengths=")
    if tensor.dtype not in types:
        raise ValueError(_other_dtype(name, tensor.dtype, dims, types))
    if tensor.device.type not in ("cpu", "meta"):
        raise NotImplementedError(
            f"{name} is on {tensor.device}, and gradients are computed on the CPU: for the forward pass alone call muattn's function of "
            "the same name under torch.no_grad()"
        )
    if tensor.dim() != len(dims):
        raise ValueError(_other_rank(name, tensor.dim(), dims))
    _refuse_tangent(name, tensor)


def _other_dtype(name, dtype, dims, types):
    *most, last = map(_name_of, types)
    wanted = f"{', '.join(most)} or {last}" if most else last
    message = f"{name}.dtype must be {wanted}, not {_name_of(dtype)}"
    if dims == MASK:
        return f"{message}: for a mask of 0 and 1 give mask != 0, which is bool"
    return message if dtype.is_complex or dtype is torch.bool else f"{message}: convert it to float32"


def _name_of(dtype):
    return str(dtype).removeprefix("torch.")


def _other_rank(name, rank, dims):
    """With what a caller whose tensor lacks one or two dimensions can write."""
    message = f"{name} must have {len(dims)} dimensions [{', '.join(dims)}], not {rank}"
    if len(dims) - rank == 1:
        return f"{message}: {name}[None] where the batch is missing, {name}[:, None] where the heads are"
    if len(dims) - rank == 2 and dims == MASK:
        return f"{message}: {name}[None, None] is that of [n_q, n_k], {name}[:, None, None] that of [batch, n_k]"
    return f"{message}: {name}[None, None] where batch and heads are missing" if len(dims) - rank == 2 else message


def _refuse_tangent(name, tensor):
    if _forward_mode._current_level >= 0 and _forward_mode.unpack_dual(tensor).tangent is not None:
        raise NotImplementedError(f"{name} carries a forward-mode tangent: muattn has derivatives in reverse mode alone")


def rows(tensor):
    """As kernels read it: without PyTorch's negative bit, the innermost stride 1."""
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    if tensor.stride(-1) != 1 and tensor.shape[-1] != 1:
        tensor = tensor.contiguous()
    return tensor


def new_like(tensor):
    """For a gradient by it, in its order in memory as rows() has it."""
    if tensor.stride(-1) == 1 or tensor.shape[-1] == 1:
        return torch.empty_like(tensor)
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def new_token_gradients(q, k, v, wanted):
    """By name, those of q, k and v that are wanted."""
    gradients = {}
    if wanted[0]:
        gradients["q"] = new_like(q)
    if wanted[1]:
        gradients["k"] = new_like(k)
    if wanted[2]:
        gradients["v"] = new_like(v)
    return gradients


def in_four_dimensions(mask):
    """A mask that lacks the first ones, as PyTorch's may."""
    while mask is not None and mask.dim() < 4:
        mask = mask.unsqueeze(0)
    return mask


def widened(mask):
    """A mask of 16 bits in float32, which kernels read, without what it repeats; other masks as they are. For masks without gradient."""
    if mask is None or mask.dtype not in HALVES:
        return mask
    return mask[tuple(slice(None, None if stride else 1) for stride in mask.stride())].float().expand(mask.shape)


class _Dtypes(dict):
    def __missing__(self, dtype):
        raise ValueError(f"muattn's operators take tensors of {', '.join(map(_name_of, self))}, not {_name_of(dtype)}")


_DTYPES = _Dtypes({getattr(torch, name): number for name, number in dtypes.items()})


def view(tensor):
    """What the extension takes instead of an array; the tensor must outlive the call. What check() has not seen comes here too: arguments of
    torch.ops.muattn, a traced module that was made .half() since, what hooks make of saved tensors."""
    return tensor.data_ptr(), tensor.shape, tensor.stride(), _DTYPES[tensor.dtype]


def tell_openmp():
    """How many threads PyTorch takes here: in a new thread of Python's it does so when it first needs them itself."""
    torch.get_num_threads()


def view_or_none(tensor):
    return None if tensor is None else view(tensor)


def beside_tokens(like, B, H, n, d):
    """A new tensor [B, H, n, d] whose memory is [B, n, H, d], as q, k and v of packed projections, and the results of PyTorch's own
    attention: a model makes [B, n, H * d] of it without a copy."""
    return like.new_empty_strided((B, H, n, d), (n * H * d, d, H * d, 1))


def _float_tensor(name, tensor):
    if tensor.dtype is torch.bool or tensor.is_complex():
        raise TypeError(f"{name} must be numbers, not {tensor.dtype}")
    _refuse_tangent(name, tensor)
    return tensor.reshape(-1).to(device="cpu", dtype=torch.float32)


def joined_entries(name, value, tensor_of):
    """The entries of a sequence that holds tensors, tensor_of() each, as one tensor that PyTorch follows; None: value is no such sequence."""
    entries = entries_of(value)
    if entries is None or not any(isinstance(x, torch.Tensor) for x in entries):
        return None
    for i, x in enumerate(entries):
        if isinstance(x, torch.Tensor) and x.dim() > 0 and x.numel() != 1:
            raise TypeError(f"{name}[{i}] must be a number, not a tensor of {x.numel()}")
    return torch.cat([tensor_of(f"{name}[{i}]", x if isinstance(x, torch.Tensor) else [x]) for i, x in enumerate(entries)])


def float_tensor(name, value):
    """Numbers for heads, [1] or [H], float32, as a tensor that autograd follows."""
    if isinstance(value, torch.Tensor):
        return _float_tensor(name, value)
    joined = joined_entries(name, value, float_tensor)
    return torch.tensor(numbers(name, value), dtype=torch.float32, device="cpu") if joined is None else joined


def integer_tensor(name, value):
    """Integers for batch entries, [n], int64."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point() or value.is_complex() or value.dtype is torch.bool:
            raise TypeError(f"{name} must be integers, not {value.dtype}")
        return value.reshape(-1).to(device="cpu", dtype=torch.int64)
    joined = joined_entries(name, value, integer_tensor)
    return torch.tensor(integers(name, value), dtype=torch.int64, device="cpu") if joined is None else joined


def heads_of(name, value):
    """(tensor, number) of numbers for heads as a caller gives them: both None where there are none."""
    if value is None:
        return None, None
    if isinstance(value, (float, int)) and not isinstance(value, bool):
        return None, number(name, value)
    return float_tensor(name, value), None


def one_number_of(name, value):
    """The same of one number for a call."""
    tensor, number = heads_of(name, value)
    if tensor is not None and tensor.shape[0] != 1:
        raise ValueError(f"{name} must be one number, not {tensor.shape[0]}")
    return tensor, number


def numbers_of(tensor, number):
    """What heads_of() gave, as the extension takes it."""
    if tensor is not None:
        return tensor.tolist()
    return None if number is None else (number,)


def item(value):
    """A tensor's only entry as a number, other things as they are. Where PyTorch maps or records the tensor, its item() is an error, a warning,
    or a symbol; tolist() and operator.index() may pass in silence, and the number is a constant of the graph then."""
    return value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value


def width_of_base(d_base):
    d_base = item(d_base)
    if isinstance(d_base, torch.SymInt):
        torch._check(d_base >= 1, lambda: "d_base must be at least 1")
        return d_base
    return base_width(d_base)


def constant(name, value):
    """A number that has no gradient."""
    if isinstance(value, torch.Tensor):
        if value.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{name} requires a gradient, and muattn has none by it: pass {name}.item()")
        _refuse_tangent(name, value)
    return number(name, item(value))
