// QEMU 7.2, Debian 12's, runs RISC-V's vector instructions without telling programs of them. With MUATTN_TEST_RVV in the
// environment this getauxval(), which comes before the C library's, says for it that they are there. MUATTN_TEST_HWPROBE is what
// riscv_hwprobe, which QEMU 7.2 does not have, says of extensions.
#include <dlfcn.h>
#include <sys/auxv.h>

#include <cstdarg>
#include <cstdint>
#include <cstdlib>

extern "C" unsigned long getauxval(unsigned long type) noexcept {
    static const auto of_libc = reinterpret_cast<unsigned long (*)(unsigned long)>(dlsym(RTLD_NEXT, "getauxval"));
    const unsigned long value = of_libc(type);
    return type == AT_HWCAP && getenv("MUATTN_TEST_RVV") != nullptr ? value | 1ul << ('V' - 'A') : value;
}

extern "C" long syscall(long number, ...) noexcept {
    static const auto of_libc = reinterpret_cast<long (*)(long, ...)>(dlsym(RTLD_NEXT, "syscall"));
    long x[6];
    va_list arguments;
    va_start(arguments, number);
    for (long &argument : x) {
        argument = va_arg(arguments, long);
    }
    va_end(arguments);
    const char *extensions = getenv("MUATTN_TEST_HWPROBE");
    if (number == 258 && extensions != nullptr) {
        reinterpret_cast<uint64_t *>(x[0])[1] = strtoull(extensions, nullptr, 0);
        return 0;
    }
    return of_libc(number, x[0], x[1], x[2], x[3], x[4], x[5]);
}
