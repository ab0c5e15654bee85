#include "npy.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <regex>
#include <xtensor/xnpy.hpp>

#include "usage_error.h"

namespace muattn::cli {
namespace {

namespace fs = std::filesystem;

// xtensor's public load_npy takes the dtype for granted and a file that was cut short for whole, and dump_npy does not
// tell of a full disk: hence its parts, xt::detail. Its reader of headers wants their keys in one order, which the format
// does not, and misreads lengths of 128 and more.
using NpyFile = xt::detail::npy_file;

std::string dtype_name(const std::string &typestring) {
    const std::string bits = std::to_string(8 * std::atoi(typestring.c_str() + 2));
    switch (typestring[1]) {
    case 'f': return "float" + bits;
    case 'i': return "int" + bits;
    case 'u': return "uint" + bits;
    case 'c': return "complex" + bits;
    case 'b': return "bool";
    default: return typestring;
    }
}

std::string read_header(std::istream &stream) {
    unsigned char major = 0, minor = 0;
    xt::detail::read_magic(stream, &major, &minor);
    if (major < 1 || major > 3 || minor != 0) {
        throw std::runtime_error(fmt::format("format version {}.{}", major, minor));
    }
    size_t length = 0;
    for (int i = 0; i < (major == 1 ? 2 : 4); i++) {
        length |= size_t(stream.get() & 0xff) << (8 * i);
    }
    if (length > 4096) {  // what a shape and a dtype need is a hundred characters
        throw std::runtime_error("no header");
    }
    std::string header(length, '\0');
    stream.read(header.data(), std::streamsize(length));
    return header;
}

// The value of a key in the header, a Python dict: the pattern has one group.
std::string header_value(const std::string &header, const std::string &key, const char *pattern) {
    std::smatch match;
    if (!std::regex_search(header, match, std::regex("['\"]" + key + "['\"]\\s*:\\s*" + pattern))) {
        throw std::runtime_error(fmt::format("no '{}' that is one of an array of numbers", key));
    }
    return match[1];
}

NpyFile read_file(std::istream &stream) {
    const std::string header = read_header(stream);
    const std::string typestring = header_value(header, "descr", "['\"]([<>|=][a-zA-Z][0-9]+)['\"]");
    const bool is_fortran = header_value(header, "fortran_order", "(True|False)") == "True";
    const std::string sizes = header_value(header, "shape", "\\(([0-9,\\s]*)\\)");
    std::vector<size_t> shape;
    static const std::regex number("[0-9]+");
    for (auto at = std::sregex_iterator(sizes.begin(), sizes.end(), number); at != std::sregex_iterator(); ++at) {
        shape.push_back(std::stoull(at->str()));
    }
    NpyFile file(shape, is_fortran, typestring);
    stream.read(file.ptr(), std::streamsize(file.n_bytes()));
    return file;
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
        file = std::make_shared<NpyFile>(read_file(stream));
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

namespace {

// False: such a file has no such elements.
bool find_dtype(const std::string &type, Holds holds, bool uint16_is_bfloat16, muattn_dtype &found) {
    const bool is_matrix = holds == Holds::Matrices || holds == Holds::Cache;
    const struct {
        const char *type;
        muattn_dtype dtype;
        bool is_allowed;
    } known[] = {{"<f4", MUATTN_FLOAT32, true},
                 {"<f2", MUATTN_FLOAT16, is_matrix},
                 {"<u2", MUATTN_BFLOAT16, is_matrix && uint16_is_bfloat16},
                 {"<V2", MUATTN_BFLOAT16, is_matrix && uint16_is_bfloat16},  // ml_dtypes' own, saved by numpy.save()
                 {"|i1", MUATTN_INT8, holds == Holds::Cache},
                 {"|b1", MUATTN_BOOL, holds == Holds::Mask}};
    for (const auto &each : known) {
        if (type == each.type && each.is_allowed) {
            found = each.dtype;
            return true;
        }
    }
    return false;
}

[[noreturn]] void fail_for_dtype(const std::string &what, const std::string &type, Holds holds) {
    if (type == ">f4") {
        fail("{}: big-endian float32; save x.astype('<f4')", what);
    }
    const bool is_mask = holds == Holds::Mask, is_integer = type[1] == 'i' || type[1] == 'u';
    const char *advice = "";
    if (is_mask && is_integer) {
        advice = "; for a mask of 0 and 1 save x != 0, which is bool";
    } else if ((type == "<u2" || type == "<V2") && holds != Holds::Rows) {
        advice = "; --dtype bfloat16 says that it holds bfloat16";
    } else if (is_integer || type[1] == 'f' || (type[1] == 'b' && !is_mask)) {
        advice = "; save x.astype('float32')";
    }
    const char *expected = "float32";
    switch (holds) {
    case Holds::Matrices: expected = "float32 or float16"; break;
    case Holds::Cache: expected = "float32, float16 or int8"; break;
    case Holds::Mask: expected = "bool or float32"; break;
    case Holds::Rows: break;
    }
    fail("{}: dtype {}{}, not {}{}", what, type.front() == '>' ? "big-endian " : "", dtype_name(type), expected,
         advice);
}

}  // namespace

Array load_npy(const std::string &option, const std::string &path, Holds holds, bool uint16_is_bfloat16) {
    const std::string what = option + " " + path;
    const auto file = read(what, path);
    const std::string &type = file->m_typestring;
    const bool is_mask = holds == Holds::Mask;
    muattn_dtype dtype = MUATTN_FLOAT32;
    if (!find_dtype(type, holds, uint16_is_bfloat16, dtype)) {
        fail_for_dtype(what, type, holds);
    }
    const size_t rank = file->m_shape.size(), expected = holds == Holds::Rows ? 3 : 4;
    if (rank != expected) {
        const char *advice = "";
        if (holds == Holds::Rows) {
            advice = rank == 4 ? "; save x[..., 0] where the last one is 1" : "";
        } else if (rank == 3) {
            advice = "; save x[None] where the batch is missing, x[:, None] where the heads are";
        } else if (rank == 2) {
            advice = is_mask ? "; save x[None, None] of [n_q, n_k], x[:, None, None] of [B, n_k]"
                             : "; save x[None, None] where batch and heads are missing";
        }
        const bool of_keys = option == "--k-scale" || option == "--v-scale";
        const char *names = is_mask                ? " [B, H, n_q, n_k]"
                            : of_keys              ? " [B, Hk, n_k]"
                            : holds == Holds::Rows ? " [B, H, n_q]"
                                                   : "";
        fail("{}: must have {} dimensions{}, not {}: shape ({}){}", what, expected, names, rank,
             fmt::join(file->m_shape, ", "), advice);
    }
    if (file->m_fortran_order) {
        fail("{}: is in Fortran order; save numpy.ascontiguousarray(x)", what);
    }
    if (!shape_fits(*file)) {
        fail("{}: impossible shape ({})", what, fmt::join(file->m_shape, ", "));
    }
    Array array;
    array.data = std::shared_ptr<void>(file, file->ptr());
    array.dtype = dtype;
    std::copy(file->m_shape.begin(), file->m_shape.end(), array.shape);
    if (holds == Holds::Rows) {
        array.shape[3] = 1;
    }
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

void NpyOutput::write(const void *data, muattn_dtype dtype, const std::vector<size_t> &shape) {
    errno = 0;
    const bool is_float32 = dtype == MUATTN_FLOAT32;
    const std::string type = is_float32 ? "<f4" : dtype == MUATTN_FLOAT16 ? "<f2" : "<u2";
    size_t bytes = is_float32 ? sizeof(float) : sizeof(uint16_t);
    for (const size_t size : shape) {
        bytes *= size;
    }
    xt::detail::write_header(stream_, type, false, shape);
    stream_.write(static_cast<const char *>(data), std::streamsize(bytes));
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
