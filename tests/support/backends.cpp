#include "support/backends.h"

#include <cstdlib>

#include "muattn/muattn.h"

namespace muattn::test {

std::vector<std::string> backend_names() {
    std::vector<std::string> names;
    for (int i = 0; i < muattn_backend_count(); i++) {
        names.emplace_back(muattn_backend_name(i));
    }
    return names;
}

namespace {

bool lists(const char *names, const std::string &name) {
    return ("," + std::string(names) + ",").find("," + name + ",") != std::string::npos;
}

}  // namespace

bool is_wanted(const std::string &name) {
    const char *wanted = getenv("MUATTN_TEST_BACKENDS");
    return wanted != nullptr ? lists(wanted, name) : !is_gpu(name);
}

bool gpu_head_dim_is_wanted(int64_t head_dim) {
    const char *wanted = getenv("MUATTN_TEST_GPU_HEAD_DIMS");
    return wanted == nullptr || lists(wanted, std::to_string(head_dim));
}

bool is_gpu(const std::string &backend) { return backend.rfind("cpu:", 0) != 0; }

std::vector<std::string> available_backends() {
    std::vector<std::string> names;
    for (const std::string &name : backend_names()) {
        if (is_wanted(name) && backend_is_available(name)) {
            names.push_back(name);
        }
    }
    return names;
}

bool backend_is_available(const std::string &name) {
    for (int i = 0; i < muattn_backend_count(); i++) {
        if (name == muattn_backend_name(i)) {
            return muattn_backend_available(i) != 0;
        }
    }
    return false;
}

void restore_settings() {
    static const int default_threads = muattn_get_num_threads();
    muattn_force_backend(nullptr);
    muattn_set_num_threads(default_threads);
    muattn_set_parallel_for(nullptr, nullptr);
    muattn_set_allocator(nullptr, nullptr, nullptr);
    muattn_set_scratch_poison(getenv("MUATTN_TEST_POISON") != nullptr);
}

void OnEveryBackend::SetUp() { ASSERT_EQ(muattn_force_backend(GetParam().c_str()), MUATTN_OK) << muattn_last_error(); }

std::string test_name(const testing::TestParamInfo<std::string> &info) {
    std::string name = info.param;
    for (char &c : name) {
        c = isalnum(static_cast<unsigned char>(c)) ? c : '_';
    }
    return name;
}

void OnEveryProcessor::SetUp() {
    if (is_gpu(GetParam())) {
        GTEST_SKIP() << "for processors";
    }
    OnEveryBackend::SetUp();
}

}  // namespace muattn::test
