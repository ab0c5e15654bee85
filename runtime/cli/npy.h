// Tensors from .npy files, and to them.
#pragma once

#include <muattn/muattn.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace muattn::cli {

// What a file holds: dense, row-major.
struct Array {
    std::shared_ptr<void> data;
    muattn_dtype dtype = MUATTN_FLOAT32;
    int64_t shape[4] = {};

    muattn_tensor tensor() const;
};

enum class Holds {
    Matrices,
    Mask,  // float32 or bool
    Rows   // [B, H, n_q]: gets a fourth dimension of 1
};

// A rank-4 array, or of rank 3. option names it in errors, e.g. "--q". Throws UsageError: no such file, not a .npy file, cut short, of
// another dtype, byte order, element order or rank.
Array load_npy(const std::string &option, const std::string &path, Holds holds = Holds::Matrices);

// A file that appears under its name only when it is complete: written under a temporary name in the same folder, then
// renamed by commit(); without commit() it is removed. Throws UsageError.
class NpyOutput {
public:
    NpyOutput(const std::string &option, const std::string &path);
    ~NpyOutput();
    NpyOutput(const NpyOutput &) = delete;
    NpyOutput &operator=(const NpyOutput &) = delete;

    void write(const std::vector<float> &data, const std::vector<size_t> &shape);
    void commit();
    const std::string &target() const { return target_; }

private:
    [[noreturn]] void fail_to(const char *action) const;

    std::string option_, target_, temporary_;
    std::ofstream stream_;
};

}  // namespace muattn::cli
