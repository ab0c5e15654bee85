"""muattn.h by ctypes alone: attention.py LIBMUATTN.SO"""

import ctypes
import sys


class Tensor(ctypes.Structure):
    """muattn_tensor: float32 on the CPU, dense."""

    _fields_ = [("data", ctypes.c_void_p), ("dtype", ctypes.c_int), ("device", ctypes.c_int),
                ("shape", ctypes.c_int64 * 4), ("strides", ctypes.c_int64 * 4), ("offset", ctypes.c_int64)]  # fmt: skip

    def __init__(self, floats, *shape):
        super().__init__(ctypes.addressof(floats), 0, 0, shape)


muattn = ctypes.CDLL(sys.argv[1])
muattn.muattn_last_error.restype = ctypes.c_char_p
n, d = 5, 64
q, out = (ctypes.c_float * (n * d))(), (ctypes.c_float * (n * d))()
v = (ctypes.c_float * (n * d))(*(i // d for i in range(n * d)))
tensors = [Tensor(x, 1, 1, n, d) for x in (q, q, v, out)]
status = muattn.muattn_spatial_attention_forward(*map(ctypes.byref, tensors[:3]), None, ctypes.byref(tensors[3]), None)
if status:
    sys.exit(muattn.muattn_last_error().decode())
print("mean", round(out[d], 5))
