// muattn, the program: the library's two operators on .npy files, its scaling rules, and what it can do on this machine.
// Exit codes: 0; 1 where `check` found a wrong result, or the machine let us down; 2 for what the user can mend.
#include <fmt/format.h>

#include <algorithm>
#include <muattn/muattn.hpp>

#include "usage_error.h"
#include "verbs.h"

namespace {

constexpr const char *kFooter = R"(
Files are .npy in C order, little-endian: q, k, v and what is like them float32 or float16, or uint16 that --dtype says to be bfloat16; k and v
also int8, with --k-scale and --v-scale; masks float32 or bool; all others float32. Results are written under a temporary name and renamed,
so a file is there complete or not at all. Errors are one line on stderr.
Exit codes: 0 done; 1 a check failed, or out of memory; 2 a bad option or file.

Examples:
  muattn attend spatial --q q.npy --k k.npy --v v.npy --out o.npy --scaling mup --d-base 64 --causal bottom_right
  muattn attend spatial --q q.npy --k k.npy --v v.npy --out o.npy --lse l.npy --backward --d-out do.npy --d-q dq.npy
  muattn attend channel --q q.npy --k k.npy --v v.npy --out o.npy --normalize --scale 2
  muattn scale spatial --rule mup --d 128 --d-base 64
  muattn attend spatial --help)";

int report(int code, std::string message) {
    std::replace(message.begin(), message.end(), '\n', ' ');
    fmt::print(stderr, "muattn: {}\n", message);
    return code;
}

bool is_users(muattn_status status) { return status != MUATTN_OUT_OF_MEMORY && status != MUATTN_INTERNAL_ERROR; }

}  // namespace

int main(int argc, char **argv) {
    CLI::App app("Spatial and channel attention for models in the maximal update parametrization (muP).", "muattn");
    app.set_version_flag("--version", std::string("muattn ") + muattn_version());
    app.get_formatter()->column_width(34);
    app.footer(kFooter);
    app.require_subcommand(1);
    muattn::cli::add_attend(app);
    muattn::cli::add_scale(app);
    muattn::cli::add_info(app);
    muattn::cli::add_check(app);
    try {
        app.parse(argc, argv);
        return 0;
    } catch (const CLI::ParseError &error) {  // also how --help and --version arrive
        return error.get_exit_code() == 0 ? app.exit(error)
                                          : report(2, std::string(error.what()) + " (--help shows the options)");
    } catch (const muattn::cli::UsageError &error) {
        return report(2, error.what());
    } catch (const muattn::Error &error) {
        return report(is_users(error.status()) ? 2 : 1, error.what());
    } catch (const std::bad_alloc &) {
        return report(1, "out of memory");
    } catch (const std::exception &error) {
        return report(1, error.what());
    }
}
