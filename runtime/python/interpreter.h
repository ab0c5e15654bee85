// What the life of the interpreter asks of an extension: the GIL where the interpreter ends, and that it is the only one.
#pragma once

#include <Python.h>

namespace muattn::python {

// Takes the GIL back for this thread. Where the interpreter is ending meanwhile, it never returns.
void take_gil(PyThreadState *thread);

// Runs work while other Python threads run.
template<typename Work>
auto without_gil(Work work) {
    PyThreadState *thread = PyEval_SaveThread();
    const auto result = work();
    take_gil(thread);
    return result;
}

// False in every interpreter of the process but the one that asked first.
bool is_only_interpreter();

}  // namespace muattn::python
