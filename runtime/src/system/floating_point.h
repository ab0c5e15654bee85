// The floating-point mode of a thread: rounding, subnormal numbers, exceptions.
#pragma once

#include <cfenv>
#include <cstdint>

namespace muattn {

// As long as it lives, this thread rounds to nearest, keeps subnormal numbers and traps nothing, as kernels count on: threads inherit a
// mode from those that start them, and programs set it. Then it is as before. Where nothing had to be changed, which costs a few
// cycles, the flags that the work raised stay raised.
// The assembly's "memory" keeps what is computed from values in memory between the two.
class DefaultFloatingPoint {
public:
#if defined(__x86_64__)
    DefaultFloatingPoint() {
        asm volatile("stmxcsr %0" : "=m"(before_) : : "memory");
        if (is_other()) {
            write(kAllMasked);
        }
    }
    ~DefaultFloatingPoint() {
        if (is_other()) {
            write(before_);
        }
    }

private:
    static constexpr uint32_t kAllMasked = 0x1f80, kFlags = 0x3f;
    bool is_other() const { return (before_ & ~kFlags) != kAllMasked; }
    static void write(uint32_t mxcsr) { asm volatile("ldmxcsr %0" : : "m"(mxcsr) : "memory"); }

    uint32_t before_;
#elif defined(__aarch64__)
    DefaultFloatingPoint() {
        asm volatile("mrs %0, fpcr" : "=r"(before_) : : "memory");
        if (before_ != 0) {
            write(0);
        }
    }
    ~DefaultFloatingPoint() {
        if (before_ != 0) {
            write(before_);
        }
    }

private:
    static void write(uint64_t fpcr) { asm volatile("msr fpcr, %0" : : "r"(fpcr) : "memory"); }

    uint64_t before_;
#elif defined(__riscv)
    DefaultFloatingPoint() { asm volatile("csrrwi %0, frm, 0" : "=r"(before_) : : "memory"); }
    ~DefaultFloatingPoint() { asm volatile("csrw frm, %0" : : "r"(before_) : "memory"); }

private:
    unsigned long before_;
#elif defined(__wasm__)
    DefaultFloatingPoint() {}  // it has one mode
    ~DefaultFloatingPoint() {}
#else
    DefaultFloatingPoint() {
        fegetenv(&before_);
        fesetenv(FE_DFL_ENV);
    }
    ~DefaultFloatingPoint() { fesetenv(&before_); }

private:
    fenv_t before_;
#endif

public:
    DefaultFloatingPoint(const DefaultFloatingPoint &) = delete;
    DefaultFloatingPoint &operator=(const DefaultFloatingPoint &) = delete;
};

}  // namespace muattn
