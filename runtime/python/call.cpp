#include "call.h"

#include "arrays.h"

namespace muattn::python {

void check(muattn_status status) {
    PyObject *type = PyExc_ValueError;
    switch (status) {
    case MUATTN_OK: return;
    case MUATTN_UNSUPPORTED: type = PyExc_NotImplementedError; break;
    case MUATTN_OUT_OF_MEMORY: type = PyExc_MemoryError; break;
    case MUATTN_INTERNAL_ERROR: type = PyExc_RuntimeError; break;
    default: break;
    }
    raise(type, muattn_last_error());
}

}  // namespace muattn::python
