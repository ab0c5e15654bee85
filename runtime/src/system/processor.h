// What this processor, with its operating system, can run: the words of the conditions in tables/machines.json.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__linux__) && (defined(__aarch64__) || defined(__riscv))
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdint>
#endif

namespace muattn {

// Before __builtin_cpu_supports() in what may run before libgcc's own constructor: a constructor of the program's.
inline void learn_processor() {
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
}

#if defined(__x86_64__)
// Half-precision conversion; not every compiler's __builtin_cpu_supports knows it.
inline bool has_f16c() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#elif defined(__linux__) && defined(__aarch64__)
// Linux' ABI; the names in <asm/hwcap.h> are younger than some compilers' headers.
inline bool has_dot_prod() { return (getauxval(AT_HWCAP) & 1ul << 20) != 0; }  // HWCAP_ASIMDDP
inline bool has_fp16() {
    const unsigned long both = 1ul << 9 | 1ul << 10;  // HWCAP_FPHP, HWCAP_ASIMDHP
    return (getauxval(AT_HWCAP) & both) == both;
}
inline bool has_sve() { return (getauxval(AT_HWCAP) & 1ul << 22) != 0; }   // HWCAP_SVE
inline bool has_sve2() { return (getauxval(AT_HWCAP2) & 1ul << 1) != 0; }  // HWCAP2_SVE2
// Code for vectors of one length is wrong, not slow, where they have another: it writes past arrays.
inline int sve_bits() {
    const int bytes = prctl(51);  // PR_SVE_GET_VL
    return bytes < 0 ? 0 : (bytes & 0xffff) * 8;
}
#elif defined(__linux__) && defined(__riscv)
// Kernels for the draft of V, 0.7.1, set the bit in HWCAP as well. Linux since 6.4 tells the ratified one apart by a system call,
// riscv_hwprobe. Without it (older ones, QEMU 7.2, some sandboxes) the processor is asked: to the draft the bits of 1.0's "tail and
// mask agnostic" are an illegal type of vectors, whose mark is the sign of vtype.
inline bool has_rvv() {
    if ((getauxval(AT_HWCAP) & 1ul << ('V' - 'A')) == 0) {
        return false;
    }
    struct {
        int64_t key;
        uint64_t value;
    } extensions{4, 0};  // RISCV_HWPROBE_KEY_IMA_EXT_0; a kernel that does not know a key makes it -1
    if (syscall(258, &extensions, 1L, 0L, nullptr, 0L) == 0) {
        return extensions.key == 4 && (extensions.value & 1u << 2) != 0;  // RISCV_HWPROBE_IMA_V
    }
    long type = 0;
    // vsetvli t0, zero, e8, m1, ta, ma, written as a number: the compiler has no V here. csrr %0, vtype.
    asm volatile(".4byte 0x0c0072d7\n\tcsrr %0, 0xc21" : "=r"(type) : : "t0");
    return type > 0;
}
// As for SVE. Only where has_rvv(): elsewhere reading the register is an illegal instruction.
inline int rvv_bits() {
    unsigned long bytes = 0;
    asm volatile("csrr %0, 0xc22" : "=r"(bytes));  // vlenb
    return int(bytes) * 8;
}
#endif

}  // namespace muattn
