#include "machine_options.h"

#include <muattn/muattn.hpp>

namespace muattn::cli {

void MachineOptions::add_to(CLI::App &verb) {
    verb.add_option("--threads", threads, "threads to use, 1..256; default: the processors this process may run on");
    verb.add_option("--backend", backend, "run on this one; `muattn info` lists them; default: the best");
}

void MachineOptions::apply() const {
    if (threads) {
        set_num_threads(*threads);
    }
    if (!backend.empty()) {
        force_backend(backend);
    }
}

}  // namespace muattn::cli
