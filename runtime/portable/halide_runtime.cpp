// As much of Halide's runtime as our kernels call, in C++, for targets that Halide writes C++ for but has no runtime of its
// own for: RISC-V, whose last backend, `scalar`, has no vectors; its others run on it, too. Messages are shorter than Halide's; the arguments of a call were checked before.
#include <HalideRuntime.h>

#include <cstdio>

namespace {

int report(void *user_context, int code, const char *name, const char *what) {
    char message[256];
    snprintf(message, sizeof message, "%s: %s", name, what);
    halide_error(user_context, message);
    return code;
}

}  // namespace

extern "C" {

int halide_error_explicit_bounds_too_small(void *uc, const char *name, const char *, int, int, int, int) {
    return report(uc, halide_error_code_explicit_bounds_too_small, name, "its bounds are too small");
}
int halide_error_storage_bound_too_small(void *uc, const char *name, const char *, int, int) {
    return report(uc, halide_error_code_storage_bound_too_small, name, "its storage is too small");
}
int halide_error_bad_type(void *uc, const char *name, uint32_t, uint32_t) {
    return report(uc, halide_error_code_bad_type, name, "wrong type");
}
int halide_error_bad_dimensions(void *uc, const char *name, int32_t, int32_t) {
    return report(uc, halide_error_code_bad_dimensions, name, "wrong number of dimensions");
}
int halide_error_access_out_of_bounds(void *uc, const char *name, int, int, int, int, int) {
    return report(uc, halide_error_code_access_out_of_bounds, name, "too small for what is read or written");
}
int halide_error_buffer_allocation_too_large(void *uc, const char *name, uint64_t, uint64_t) {
    return report(uc, halide_error_code_buffer_allocation_too_large, name, "too large");
}
int halide_error_buffer_extents_negative(void *uc, const char *name, int, int) {
    return report(uc, halide_error_code_buffer_extents_negative, name, "a negative size");
}
int halide_error_buffer_extents_too_large(void *uc, const char *name, int64_t, int64_t) {
    return report(uc, halide_error_code_buffer_extents_too_large, name, "too large");
}
int halide_error_constraints_make_required_region_smaller(void *uc, const char *name, int, int, int, int, int) {
    return report(uc, halide_error_code_constraints_make_required_region_smaller, name, "its size must be another");
}
int halide_error_constraint_violated(void *uc, const char *name, int, const char *, int) {
    return report(uc, halide_error_code_constraint_violated, name, "not what it must be");
}
int halide_error_device_dirty_with_no_device_support(void *uc, const char *name) {
    return report(uc, halide_error_code_device_dirty_with_no_device_support, name, "its data are on a device");
}
int halide_error_buffer_argument_is_null(void *uc, const char *name) {
    return report(uc, halide_error_code_buffer_argument_is_null, name, "null");
}
int halide_error_host_is_null(void *uc, const char *name) {
    return report(uc, halide_error_code_host_is_null, name, "no data");
}
int halide_error_out_of_memory(void *uc) {
    return report(uc, halide_error_code_out_of_memory, "halide_malloc", "out of memory");
}
}
