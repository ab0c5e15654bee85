// muattn info: what this build has, and what this machine runs of it.
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <muattn/muattn.hpp>

#include "machine_options.h"
#include "verbs.h"

namespace muattn::cli {
namespace {

// The kernels of one operation, direction and dtype; a name is operation/direction/dtype/kernel/backend.
struct KernelGroup {
    std::string name;
    std::vector<std::string> kernels;  // without their backends
    size_t count = 0;                  // on all backends
};

std::vector<KernelGroup> kernel_groups() {
    std::vector<KernelGroup> groups;
    for (int i = 0; i < muattn_kernel_count(); i++) {
        const std::string name = muattn_kernel_name(i);
        const size_t backend = name.rfind('/'), kernel = name.rfind('/', backend - 1);
        const std::string of = name.substr(0, kernel), short_name = name.substr(kernel + 1, backend - kernel - 1);
        auto group = std::find_if(groups.begin(), groups.end(), [&](const KernelGroup &g) { return g.name == of; });
        group = group != groups.end() ? group : groups.insert(group, KernelGroup{of, {}, 0});
        group->count++;
        if (std::find(group->kernels.begin(), group->kernels.end(), short_name) == group->kernels.end()) {
            group->kernels.push_back(short_name);
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
        fmt::print("  {} ({}): {}\n", group.name, group.count, fmt::join(group.kernels, ", "));
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
