"""Which types a library takes: element_types.py LIBMUATTN.SO"""

import ctypes
import sys


class Tensor(ctypes.Structure):
    """muattn_tensor on the CPU, dense."""

    _fields_ = [("data", ctypes.c_void_p), ("dtype", ctypes.c_int), ("device", ctypes.c_int),
                ("shape", ctypes.c_int64 * 4), ("strides", ctypes.c_int64 * 4), ("offset", ctypes.c_int64)]  # fmt: skip


muattn = ctypes.CDLL(sys.argv[1])
muattn.muattn_status_name.restype = muattn.muattn_last_error.restype = ctypes.c_char_p
n, d = 5, 64
for name, dtype in (("float32", 0), ("bfloat16", 3), ("float16", 2)):
    arrays = [(ctypes.c_float * (n * d))() for _ in range(4)]
    q, k, v, out = (Tensor(ctypes.addressof(x), dtype, 0, (1, 1, n, d)) for x in arrays)
    status = muattn.muattn_spatial_attention_forward(ctypes.byref(q), ctypes.byref(k), ctypes.byref(v), None, ctypes.byref(out), None)
    words = [muattn.muattn_status_name(status).decode()] + ([muattn.muattn_last_error().decode()] if status else [])
    print(f"{name}: {', '.join(words)}")
