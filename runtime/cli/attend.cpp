// muattn attend: a call of the library on .npy files.
#include "attend.h"

#include "verbs.h"

namespace muattn::cli {

void add_inputs(CLI::App &verb, AttendCall &call, const char *q, const char *k, const char *v) {
    verb.add_option("--q", call.q, q)->required();
    verb.add_option("--k", call.k, k)->required();
    verb.add_option("--v", call.v, v)->required();
    verb.add_option("--dtype", call.dtype, "what files of uint16 hold: bfloat16, in which results are written then too")
        ->check(CLI::IsMember({"bfloat16"}));
}

void add_scaling(CLI::App &verb, AttendCall &call, const std::vector<std::string> &rules, const char *about_d_base) {
    verb.add_option("--scaling", call.scaling, "scaling rule; `muattn scale` explains them; default: sp")
        ->check(CLI::IsMember(rules));
    verb.add_option("--d-base", call.d_base, about_d_base);
    verb.add_option("--alpha", call.alpha, "factor on the rule's s; default: 1")->check(above_0);
    verb.add_option("--scale", call.scale, "s itself, instead of the rule's: a number, or H numbers a,b,...");
    verb.add_option("--output-multiplier", call.output_multiplier, "o itself, instead of the rule's");
}

void add_stats(CLI::App &verb, AttendCall &call) {
    verb.add_option("--stats", call.stats,
                    "to be written: [B, H, 1, 4], what the logits are like after scale and softcap: mean |logit|, root "
                    "mean square, maximum, mean entropy of the rows in nats");
}

void add_gradient(CLI::App &verb, const std::string &option, std::string &path, const char *what) {
    verb.add_option(option, path, what)->needs("--backward")->group("Gradients");
}

void add_gradients(CLI::App &verb, AttendCall &call, const char *about_backward, const char *d_out) {
    verb.add_flag("--backward", call.backward, about_backward)->group("Gradients")->excludes("--stats");
    add_gradient(verb, "--d-out", call.d_out, d_out);
    add_gradient(verb, "--d-q", call.d_q, "to be written: the loss's gradient by q, in its shape");
    add_gradient(verb, "--d-k", call.d_k, "to be written: by k");
    add_gradient(verb, "--d-v", call.d_v, "to be written: by v");
    add_gradient(verb, "--d-scale", call.d_scale, "to be written: [H], by each head's s, the rule's too");
    add_gradient(verb, "--d-output-multiplier", call.d_output_multiplier, "to be written: [1], by o");
}

void refuse_empty(CLI::App &verb) {
    for (CLI::Option *option : verb.get_options()) {
        option->check([](const std::string &value) { return value.empty() ? std::string("is empty") : std::string(); });
    }
}

void check_needed(const std::string &option, const std::string &path) {
    if (path.empty()) {
        fail("--backward needs {} (--help shows the options)", option);
    }
}

void add_attend(CLI::App &app) {
    auto &attend =
        *app.add_subcommand("attend", "attention of three .npy files, to a fourth; its gradients with --backward");
    attend.require_subcommand(1);
    add_attend_spatial(attend);
    add_attend_channel(attend);
}

}  // namespace muattn::cli
