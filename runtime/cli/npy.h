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
    Matrices,  // float32, float16 or, in files of uint16 that are said to hold it, bfloat16
    Cache,     // the same, or int8
    Mask,      // float32 or bool
    Rows       // float32, [B, H, n]: gets a fourth dimension of 1
};

// A rank-4 array, or of rank 3. option names it in errors, e.g. "--q". Throws UsageError: no such file, not a .npy file, cut short, of
// another dtype, byte order, element order or rank.
Array load_npy(const std::string &option, const std::string &path, Holds holds, bool uint16_is_bfloat16 = false);

// A file that appears under its name only when it is complete: written under a temporary name in the same folder, then
// renamed by commit(); without commit() it is removed. Throws UsageError.
class NpyOutput {
public:
    NpyOutput(const std::string &option, const std::string &path);
    ~NpyOutput();
    NpyOutput(const NpyOutput &) = delete;
    NpyOutput &operator=(const NpyOutput &) = delete;

    // bfloat16 becomes uint16.
    void write(const void *data, muattn_dtype dtype, const std::vector<size_t> &shape);
    void commit();
    const std::string &target() const { return target_; }

private:
    [[noreturn]] void fail_to(const char *action) const;

    std::string option_, target_, temporary_;
    std::ofstream stream_;
};

}  // namespace muattn::cli
