"""Arrays come in as views of any kind and go out as the caller's kind, without copies."""

import sys
import types

import muattn
import numpy as np
import pytest
from muattn import _devices


class DLPackOnly:
    """The least that a tensor of another library offers."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **arguments):
        return self.array.__dlpack__(**arguments)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class StandardTensor(DLPackOnly):
    """With a namespace of the array API standard."""

    def __array_namespace__(self, api_version=None):
        return types.SimpleNamespace(from_dlpack=lambda x: StandardTensor(np.from_dlpack(x)))


@pytest.fixture
def packed(random):
    """Q, K, V in one array [B, n, 3, H, d], as a linear layer leaves them, and as [B, H, n, d] views of it."""
    qkv = random(2, 30, 3, 4, 16)
    return [qkv[:, :, i].transpose(0, 2, 1, 3) for i in range(3)]


OPERATORS = [muattn.spatial_attention, muattn.channel_attention]


@pytest.mark.parametrize("operator", OPERATORS)
def test_packed_views_give_the_bits_of_copies(packed, operator):
    assert not packed[0].flags.c_contiguous
    assert np.array_equal(operator(*packed), operator(*map(np.ascontiguousarray, packed)))


@pytest.mark.parametrize("operator", OPERATORS)
def test_read_only_broadcast_and_reversed_inputs(random, operator):
    q = np.broadcast_to(random(1, 1, 30, 16), (2, 4, 30, 16))
    k, v = random(2, 4, 30, 16)[:, ::-1], random(2, 4, 60, 16)[:, :, ::-2]
    assert not q.flags.writeable
    assert np.array_equal(operator(q, k, v), operator(q.copy(), k.copy(), v.copy()))


def test_one_repeated_element():
    one = np.broadcast_to(np.float32(1), (2, 2, 4, 1))  # every stride is 0
    assert (muattn.spatial_attention(one, one, one) == 1).all()
    with pytest.raises(ValueError, match=r"q.strides\[3\] must be 1 \(elements; .*\), not 0"):
        muattn.spatial_attention(*3 * [np.broadcast_to(np.float32(1), (2, 2, 4, 8))])


@pytest.mark.parametrize("operator", OPERATORS)
def test_out_is_written_and_returned(packed, operator):
    expected = operator(*packed)
    out = np.full((2, 30, 4, 20), np.nan, np.float32).transpose(0, 2, 1, 3)[..., :16]
    assert operator(*packed, out=out) is out
    assert np.array_equal(out, expected)
    assert np.isnan(out.base[..., 16:]).all()


def test_out_and_lse(packed):
    expected = muattn.spatial_attention(*packed, return_lse=True)
    out = np.empty((2, 4, 30, 16), np.float32)
    result = muattn.spatial_attention(*packed, return_lse=True, out=out)
    assert result[0] is out
    assert all(np.array_equal(a, b) for a, b in zip(result, expected))


@pytest.mark.parametrize("operator", OPERATORS)
def test_results_are_ordinary_arrays(packed, operator):
    out = operator(*packed)
    assert type(out) is np.ndarray and out.dtype == np.float32 and out.flags.c_contiguous and out.flags.owndata


@pytest.mark.parametrize("operator", OPERATORS)
def test_dlpack_tensors(packed, operator):
    expected = operator(*packed)
    assert np.array_equal(operator(*map(DLPackOnly, packed)), expected)
    result = operator(*map(StandardTensor, packed))
    assert isinstance(result, StandardTensor) and np.array_equal(result.array, expected)
    out = DLPackOnly(np.empty_like(expected))
    assert operator(*packed, out=out) is out and np.array_equal(out.array, expected)


def test_a_library_without_namespace_is_found_by_its_package(packed, monkeypatch):
    """PyTorch's tensors have no __array_namespace__; torch.from_dlpack makes them."""
    package = types.ModuleType("tensors")
    package.Tensor = type("Tensor", (DLPackOnly,), {"__module__": "tensors.core"})
    package.from_dlpack = lambda x: package.Tensor(np.from_dlpack(x))
    monkeypatch.setitem(sys.modules, "tensors", package)
    out, lse = muattn.spatial_attention(*map(package.Tensor, packed), return_lse=True)
    assert type(out) is type(lse) is package.Tensor


def library(monkeypatch, name, **functions):
    """A module of tensors with these functions, and a class of tensors that is defined in it."""
    package = types.ModuleType(name)
    package.Tensor = type("Tensor", (DLPackOnly,), {"__module__": f"{name}.core"})
    package.__dict__.update(functions)
    monkeypatch.setitem(sys.modules, name, package)
    return package


@pytest.mark.parametrize("where", ["from_dlpack", "utils", "experimental"])
def test_subclasses_get_tensors_of_the_library_that_they_extend(packed, monkeypatch, where):
    """Paddle and TensorFlow have a function that takes capsules, one and two modules down."""
    package = library(monkeypatch, "tensors")
    made = []

    def from_dlpack(x):
        made.append(type(x).__name__)
        return package.Tensor(x)

    if where == "from_dlpack":
        package.from_dlpack = lambda x: from_dlpack(np.from_dlpack(x))
    else:
        setattr(package, where, types.SimpleNamespace(dlpack=types.SimpleNamespace(from_dlpack=from_dlpack)))

    class Parameter(package.Tensor):
        pass

    for kind in (package.Tensor, Parameter):
        for result in (
            *muattn.spatial_attention(*map(kind, packed), return_lse=True),
            muattn.channel_attention(*map(kind, packed)),
            *muattn.merge(kind(packed[0]), packed[0][..., 0], packed[0], packed[0][..., 0]),
        ):
            assert type(result) is package.Tensor
    assert set(made) == {"ndarray" if where == "from_dlpack" else "PyCapsule"}


def test_new_arrays_in_device_memory_are_of_the_library_too(monkeypatch):
    package = library(monkeypatch, "tensors", float32="float32", empty=lambda shape, dtype, device: (shape, dtype, device))
    mine = type("Mine", (package.Tensor,), {"device": "cuda:1"})
    assert _devices.new_array(mine(None), (1, 2)) == ((1, 2), "float32", "cuda:1")


@pytest.mark.parametrize("kind", [np.recarray, np.memmap, type("Mine", (np.ndarray,), {"__module__": "elsewhere"})])
def test_subclasses_of_numpy_give_its_own_arrays(packed, kind):
    mine = [x.view(kind) for x in packed]
    out, lse = muattn.spatial_attention(*mine, return_lse=True)
    assert type(out) is type(lse) is type(muattn.channel_attention(*mine)) is np.ndarray
    assert np.array_equal(out, muattn.spatial_attention(*packed))


def test_read_only_tensors_are_no_outputs(packed):
    class Versioned(DLPackOnly):
        def __dlpack__(self, max_version=None):  # as JAX does: read-only to those who may be told so
            return self.array.__dlpack__(max_version=max_version)

    frozen = np.zeros((2, 4, 30, 16), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(TypeError, match="out must be a writable array .*: this one is read-only"):
        muattn.spatial_attention(*packed, out=Versioned(frozen))
    assert np.array_equal(muattn.spatial_attention(Versioned(frozen), *packed[1:]), muattn.spatial_attention(frozen, *packed[1:]))


def test_pytorch(packed):
    torch = pytest.importorskip("torch")
    out, lse = muattn.spatial_attention(*map(torch.from_numpy, packed), return_lse=True)
    assert isinstance(out, torch.Tensor) and isinstance(lse, torch.Tensor)
    assert np.array_equal(out.numpy(), muattn.spatial_attention(*packed))


def test_a_tensor_that_refuses_says_why(packed):
    class Refusing:
        def __dlpack__(self, **arguments):
            raise BufferError("requires gradient: detach it")

    with pytest.raises(TypeError, match="k must be an array.*requires gradient: detach it"):
        muattn.spatial_attention(packed[0], Refusing(), packed[2])


def test_inputs_are_not_kept(packed):
    before = [sys.getrefcount(x) for x in packed]
    for operator in OPERATORS:
        operator(*packed)
        with pytest.raises(ValueError):
            operator(*packed, scaling="none")
    assert [sys.getrefcount(x) for x in packed] == before
