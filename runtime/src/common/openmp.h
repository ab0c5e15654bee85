// Loops on the threads of an OpenMP runtime that the process has loaded.
#pragma once

namespace muattn::openmp {

// The child of a fork() has none of its parent's threads, and the runtime does not know: it would wait for them. From now on there are as many of
// the library's own.
void forget_threads_in_child();

}  // namespace muattn::openmp
