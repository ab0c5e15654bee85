// QEMU 7.2, Debian 12's, runs RISC-V's vector instructions without telling programs of them. With MUATTN_TEST_RVV in the
// environment this getauxval(), which comes before the C library's, says for it that they are there.
#include <dlfcn.h>
#include <sys/auxv.h>

#include <cstdlib>

extern "C" unsigned long getauxval(unsigned long type) noexcept {
    static const auto of_libc = reinterpret_cast<unsigned long (*)(unsigned long)>(dlsym(RTLD_NEXT, "getauxval"));
    const unsigned long value = of_libc(type);
    return type == AT_HWCAP && getenv("MUATTN_TEST_RVV") != nullptr ? value | 1ul << ('V' - 'A') : value;
}
