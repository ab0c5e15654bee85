#include "npy.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <xtensor/xadapt.hpp>
#include <xtensor/xnpy.hpp>

#include "usage_error.h"

namespace muattn::cli {
namespace {

namespace fs = std::filesystem;

// xtensor's public load_npy takes the dtype for granted and a file that was cut short for whole, and dump_npy does not
// tell of a full disk: hence its parts, xt::detail.
using NpyFile = xt::detail::npy_file;

std::string dtype_name(const std::string &typestring) {
    const char kind = typestring[1];
    const std::string bits = std::to_string(8 * std::atoi(typestring.c_str() + 2));
    switch (kind) {
    case 'f': return "float" + bits;
    case 'i': return "int" + bits;
    case 'u': return "uint" + bits;
    case 'c': return "complex" + bits;
    default: return "bool";
    }
}

std::shared_ptr<NpyFile> read(const std::string &what, const std::string &path) {
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) {
        fail("{}: is a folder", what);
    }
    errno = 0;
    std::ifstream stream(path, std::ios::binary);
    if (!stream) {
        fail("{}: cannot be opened: {}", what, std::strerror(errno));
    }
    std::shared_ptr<NpyFile> file;
    try {
        file = std::make_shared<NpyFile>(xt::detail::load_npy_file(stream));
    } catch (const std::bad_alloc &) {
        fail("{}: too large for the memory of this machine, or damaged", what);
    } catch (const std::exception &error) {
        fail("{}: no .npy file of numbers: {}", what, error.what());
    }
    if (!stream) {
        fail("{}: the file ends before its data do", what);
    }
    return file;
}

// Sizes whose product overflows would pass for a small array.
bool shape_fits(const NpyFile &file) {
    size_t bytes = file.m_word_size;
    for (const size_t size : file.m_shape) {
        if (size > size_t(std::numeric_limits<int64_t>::max()) || __builtin_mul_overflow(bytes, size, &bytes)) {
            return false;
        }
    }
    return bytes == file.m_n_bytes;
}

}  // namespace

muattn_tensor Array::tensor() const {
    muattn_tensor t{};
    t.data = data.get();
    t.dtype = dtype;
    std::copy_n(shape, 4, t.shape);
    return t;
}

Array load_npy(const std::string &option, const std::string &path, Dtypes dtypes) {
    const std::string what = option + " " + path;
    const auto file = read(what, path);
    const bool is_bool = file->m_typestring == "|b1";
    if (file->m_typestring.front() == '>') {
        fail("{}: big-endian {}; save x.astype('<f4')", what, dtype_name(file->m_typestring));
    }
    if (file->m_typestring != "<f4" && !(is_bool && dtypes == Dtypes::Float32OrBool)) {
        fail("{}: dtype {}, not {}; save x.astype('float32')", what, dtype_name(file->m_typestring),
             dtypes == Dtypes::Float32 ? "float32" : "bool or float32");
    }
    if (file->m_shape.size() != 4) {
        fail("{}: must have 4 dimensions, not {}: shape ({})", what, file->m_shape.size(),
             fmt::join(file->m_shape, ", "));
    }
    if (file->m_fortran_order) {
        fail("{}: is in Fortran order; save numpy.ascontiguousarray(x)", what);
    }
    if (!shape_fits(*file)) {
        fail("{}: impossible shape ({})", what, fmt::join(file->m_shape, ", "));
    }
    Array array;
    array.data = std::shared_ptr<void>(file, file->ptr());
    array.dtype = is_bool ? MUATTN_BOOL : MUATTN_FLOAT32;
    std::copy(file->m_shape.begin(), file->m_shape.end(), array.shape);
    return array;
}

NpyOutput::NpyOutput(const std::string &option, const std::string &path) : option_(option), target_(path) {
    // Through a symbolic link to what it names; what is no file, such as /dev/null, must not be renamed over.
    std::error_code error;
    const fs::path target = fs::weakly_canonical(path, error);
    if (path.empty() || error || (fs::exists(target, error) && !fs::is_regular_file(target, error))) {
        fail("{} {}: is no name for a file", option, path);
    }
    target_ = target.string();
    temporary_ = fmt::format("{}.{}.tmp", target_, getpid());
    errno = 0;
    stream_.open(temporary_, std::ios::binary | std::ios::trunc);
    if (!stream_) {
        fail_to("created");
    }
}

NpyOutput::~NpyOutput() {
    std::error_code ignored;
    fs::remove(temporary_, ignored);
}

void NpyOutput::write(const std::vector<float> &data, const std::vector<size_t> &shape) {
    errno = 0;
    xt::detail::dump_npy_stream(stream_, xt::adapt(data, shape));
    stream_.close();
    if (!stream_) {
        fail_to("written");
    }
}

void NpyOutput::commit() {
    errno = 0;
    if (std::rename(temporary_.c_str(), target_.c_str()) != 0) {
        fail_to("written");
    }
}

void NpyOutput::fail_to(const char *action) const {
    fail("{} {}: cannot be {}: {}", option_, target_, action, std::strerror(errno));
}

}  // namespace muattn::cli
