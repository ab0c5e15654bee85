"""GPU backends from Python: arrays of the host on the devices that ./dev test installs, OpenCL and Vulkan on the CPU; and
tensors that say they are in CUDA memory, as far as that goes without a device."""

import ctypes
import re

import muattn
import numpy as np
import pytest
import reference

GPUS = ["opencl", "vulkan"]


class Elsewhere:
    """A DLPack tensor that says it is on another device. Calls with it have to be refused before anything is read."""

    CUDA, CUDA_MANAGED, METAL = 2, 13, 8

    def __init__(self, array, kind=CUDA, index=0):
        self.array, self.device, self.shape, self.streams = array, (kind, index), array.shape, []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, stream=None):
        self.streams.append(stream)
        capsule = self.array.__dlpack__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        # DLTensor begins with the data's address and the device, two 32-bit numbers.
        ctypes.cast(pointer(capsule, b"dltensor") + 8, ctypes.POINTER(ctypes.c_int32 * 2))[0][:] = self.device
        return capsule


@pytest.fixture(params=GPUS)
def gpu(request):
    assert dict(muattn.backends())[request.param], f"{request.param} is not there; ./dev test installs a device for it"
    muattn.force_backend(request.param)
    return request.param


def on_the_processor(call):
    backend = muattn.current_backend()
    muattn.force_backend(None)
    result = call()
    muattn.force_backend(backend)
    return result


def test_lists():
    assert {name for name, _ in muattn.backends()} > {"cuda", *GPUS}
    assert muattn.current_backend().startswith("cpu:")
    for name in ("cuda", *GPUS):
        operations = {kernel.split("/")[0] for kernel in muattn.kernels() if kernel.endswith(f"/{name}")}
        assert operations == {"spatial_attention", "channel_attention", "merge"}


def test_spatial_attention_of_views(gpu, random):
    q, k, v = (random(2, 37, 3, 4, 16)[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    out, lse = muattn.spatial_attention(q, k[:, :2], v[:, :2], causal="top_left", window=(20, None), return_lse=True)
    expected = reference.spatial(q, k[:, :2], v[:, :2], 0.25, causal="top_left", window=(20, None))
    reference.assert_close(out, expected[0], 1e-5)
    reference.assert_close(lse, expected[1], 1e-5)


def test_masks_and_key_lengths(gpu, random):
    q, k, v, bias = random(2, 3, 9, 12), random(2, 3, 21, 12), random(2, 3, 21, 7), random(1, 3, 9, 21)
    for options in ({"mask": bias, "softcap": 2.0}, {"mask": bias > -1, "key_lengths": [21, 5]}):
        expected = reference.spatial(q, k, v, 12**-0.5, **options)[0]
        reference.assert_close(muattn.spatial_attention(q, k, v, **options), expected, 1e-5)


def test_merge(gpu, random):
    q, k, v = random(1, 2, 9, 16), random(1, 2, 30, 16), random(1, 2, 30, 16)
    parts = [muattn.spatial_attention(q, k[:, :, s], v[:, :, s], return_lse=True) for s in (slice(11), slice(11, None))]
    for result, expected in zip(muattn.merge(*parts[0], *parts[1]), reference.spatial(q, k, v, 0.25)):
        reference.assert_close(result, expected, 1e-5)


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_channel_attention_into_an_array(gpu, random, layout):
    q, k, v = random(2, 3, 50, 20), random(2, 3, 50, 20), random(2, 3, 50, 20)
    expected = reference.channel(q, k, v, 0.5, normalize=True)
    if layout == "channels_first":
        q, k, v = (np.ascontiguousarray(x.swapaxes(2, 3)) for x in (q, k, v))
        expected = expected.swapaxes(2, 3)
    out = np.empty_like(q)
    assert muattn.channel_attention(q, k, v, scale=0.5, normalize=True, layout=layout, out=out) is out
    reference.assert_close(out, expected, 1e-5)


def test_large_head_dimensions(gpu, random):
    x = random(1, 1, 3, 257)
    with pytest.raises(NotImplementedError, match=f"no kernel for this call with d or d_v of 257 on backend {gpu}"):
        muattn.spatial_attention(x, x, x)
    reference.assert_close(muattn.channel_attention(x, x, x), reference.channel(x, x, x, 3**-0.5), 1e-5)


def test_pytorch(gpu, random):
    torch = pytest.importorskip("torch")
    q, k, v = (torch.from_numpy(random(1, 2, 20, 16)) for _ in range(3))
    out = muattn.spatial_attention(q, k, v)
    assert isinstance(out, torch.Tensor)
    torch.testing.assert_close(out, torch.nn.functional.scaled_dot_product_attention(q, k, v), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("cuda", [Elsewhere.CUDA, Elsewhere.CUDA_MANAGED])
def test_arrays_in_two_places(random, cuda):
    x = random(1, 2, 5, 8)
    there, other, lse = Elsewhere(x, cuda), Elsewhere(x, cuda, index=1), random(1, 2, 5)
    spatial, channel = muattn.spatial_attention, muattn.channel_attention
    for call, message in [
        (lambda: spatial(x, there, x), "k must be in the CPU's memory, as q is, not in the memory of CUDA device 0"),
        (lambda: channel(there, there, x), "v must be in the memory of CUDA device 0, as q is, not in the CPU's memory"),
        (lambda: channel(there, other, there), "k must be in the memory of CUDA device 0, as q is, not in the memory of CUDA device 1"),
        (lambda: channel(x, x, x, out=there), "out must be in the CPU's memory"),
        (lambda: spatial(x, x, x, mask=there), "mask must be in the CPU's memory"),
        (lambda: muattn.merge(there, lse, there, lse), "lse_a must be in the memory of CUDA device 0, as out_a is"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()
    assert not there.streams


def test_memory_of_no_backend(random):
    x = Elsewhere(random(1, 2, 5, 8), Elsewhere.METAL)
    with pytest.raises(ValueError, match="q must be in the memory of the CPU or of a CUDA device, not on DLPack device type 8"):
        muattn.spatial_attention(x, x, x)


def test_gradients_and_maps_are_for_processors(random):
    x, lse = random(1, 2, 5, 8), random(1, 2, 5)
    there = Elsewhere(x)
    with pytest.raises(NotImplementedError, match=r"spatial_attention_backward\(\) runs on processors alone, and q is in the memory of CUDA device 0"):
        muattn.spatial_attention_backward(there, there, there, there, Elsewhere(lse), there)
    for name, call in {
        "channel_attention_backward()": lambda: muattn.channel_attention_backward(there, there, there, there),
        "channel_map()": lambda: muattn.channel_map(there, there),
        "channel_apply()": lambda: muattn.channel_apply(there, there),
        "channel_apply_backward()": lambda: muattn.channel_apply_backward(there, there, there),
        "channel_map_backward()": lambda: muattn.channel_map_backward(there, there, there, there),
        "channel_attention(..., return_map=True)": lambda: muattn.channel_attention(there, there, there, return_map=True),
        "channel_attention(..., return_stats=True)": lambda: muattn.channel_attention(there, there, there, return_stats=True),
        "spatial_attention(..., return_stats=True)": lambda: muattn.spatial_attention(there, there, there, return_stats=True),
    }.items():
        with pytest.raises(NotImplementedError, match=re.escape(f"{name} runs on processors alone, and ")):
            call()
    with pytest.raises(ValueError, match="d_out must be in the CPU's memory, as q is, not in the memory of CUDA device 0"):
        muattn.spatial_attention_backward(x, x, x, x, lse, there)
    assert not there.streams


def test_gradients_on_a_forced_gpu(gpu, random):
    x, lse = random(1, 2, 5, 8), random(1, 2, 5)
    with pytest.raises(NotImplementedError, match=f"no kernel for this call on backend {gpu}"):
        muattn.spatial_attention_backward(x, x, x, x, lse, x)


def test_cuda_memory_without_a_device(random):
    if dict(muattn.backends())["cuda"]:
        pytest.skip("this machine has a CUDA device")
    x = random(1, 2, 5, 8)
    there, out, lse = Elsewhere(x), Elsewhere(np.empty_like(x)), Elsewhere(random(1, 2, 5))
    message = "memory of cuda, which this machine cannot run: no CUDA d"
    with pytest.raises(ValueError, match=message):
        muattn.spatial_attention(there, there, there, out=out)
    with pytest.raises(ValueError, match=message):
        muattn.channel_attention(there, there, there, out=out)
    # The default stream, by DLPack's number.
    assert set(there.streams) == set(out.streams) == {1}
    for call in (
        lambda: muattn.spatial_attention(there, there, there),
        lambda: muattn.channel_attention(there, there, there),
        lambda: muattn.merge(there, lse, there, lse),
    ):
        with pytest.raises(TypeError, match="out must be given: for Elsewhere in CUDA memory no new array can be made"):
            call()
    # A call on the host's arrays goes where it always goes.
    assert np.isfinite(muattn.spatial_attention(x, x, x)).all()
