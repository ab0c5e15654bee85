/* A shared object of a user's that has the library inside, and shows one function of its own. */
#include "call.h"

__attribute__((visibility("default"))) int module_call(int threads);

int module_call(int threads) { return muattn_set_num_threads(threads) != MUATTN_OK || call() != 0; }
