// muattn info: what this build has, and what this machine runs of it.
#include <fmt/ranges.h>

#include <memory>
#include <muattn/muattn.hpp>

#include "machine_options.h"
#include "verbs.h"

namespace muattn::cli {
namespace {

// The kernels "operation/direction/dtype/kind/backend" of one operation, direction and dtype.
struct KernelGroup {
    std::string name;
    std::vector<std::string> kinds;  // each on its backends
    size_t kernels = 0;
};

std::vector<KernelGroup> kernel_groups() {
    std::vector<KernelGroup> groups;
    for (int i = 0; i < muattn_kernel_count(); i++) {
        const std::string name = muattn_kernel_name(i);
        const size_t backend = name.rfind('/'), kind = name.rfind('/', backend - 1);
        const std::string group = name.substr(0, kind), kind_name = name.substr(kind + 1, backend - kind - 1);
        if (groups.empty() || groups.back().name != group) {
            groups.push_back({group, {}, 0});
        }
        KernelGroup &last = groups.back();
        last.kernels++;
        if (last.kinds.empty() || last.kinds.back() != kind_name) {
            last.kinds.push_back(kind_name);
        }
    }
    return groups;
}

void print_info(const MachineOptions &machine) {
    machine.apply();
    fmt::print("muattn   {}\n", muattn_version());
    fmt::print("Halide   {}\n", MUATTN_HALIDE_VERSION);
    fmt::print("threads  {}\n", muattn_get_num_threads());
    fmt::print("backends, best first\n");
    for (const Backend &backend : backends()) {
        fmt::print("  {:<12} {}\n", backend.name, backend.available ? "runs here" : "not for this machine");
    }
    const std::string chosen = muattn_current_backend();
    if (chosen.empty()) {
        fmt::print("chosen   none: this machine can run none of them\n");
    } else {
        fmt::print("chosen   {}: {}\n", chosen,
                   machine.backend.empty() ? "the best that this machine can run" : "forced by --backend");
    }
    fmt::print("kernels  {}\n", muattn_kernel_count());
    for (const KernelGroup &group : kernel_groups()) {
        fmt::print("  {} ({}): {}\n", group.name, group.kernels, fmt::join(group.kinds, ", "));
    }
}

}  // namespace

void add_info(CLI::App &app) {
    auto &verb = *app.add_subcommand("info", "version, backends and which is chosen, kernels");
    const auto machine = std::make_shared<MachineOptions>();
    machine->add_to(verb);
    verb.callback([machine] { print_info(*machine); });
}

}  // namespace muattn::cli
