// What a call writes: files that appear together, when all are complete.
#pragma once

#include <muattn/muattn.h>

#include <deque>
#include <string>
#include <vector>

#include "npy.h"

namespace muattn::cli {

class Results {
public:
    // A result of float32 or 16 bits for the file that the option names: dense, of up to four dimensions. Null where path is empty. Throws UsageError, also
    // where two results have one name.
    const muattn_tensor *add(const std::string &option, const std::string &path, const std::vector<size_t> &shape,
                             muattn_dtype dtype = MUATTN_FLOAT32);
    // The same with one dimension.
    float *add_numbers(const std::string &option, const std::string &path, size_t count);

    bool none() const { return results_.empty(); }
    // Throws UsageError. Files that were there are replaced only when all results are written.
    void write();

private:
    struct Result {
        Result(const std::string &name, const std::string &path, const std::vector<size_t> &sizes, muattn_dtype dtype);

        std::string option;
        std::vector<size_t> shape;
        NpyOutput file;
        std::vector<float> data;  // as many as were needed of float32
        muattn_tensor tensor;
    };
    std::deque<Result> results_;
};

}  // namespace muattn::cli
