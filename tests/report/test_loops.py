"""What the report reads out of loops of which one knows what is in them."""

import pytest
from muattn_tools.report.mca import cycles_per_iteration

PRODUCT = """
#include <immintrin.h>
// Rows of a matrix times columns of another: ROWS x COLUMNS vectors of sums, in registers if there are enough.
void product(const float *a, const float *b, float *c, long n) {
    VECTOR sums[ROWS * COLUMNS] = {};
    for (long k = 0; k < n; k++) {
#pragma GCC unroll 32
        for (int i = 0; i < ROWS; i++) {
#pragma GCC unroll 32
            for (int j = 0; j < COLUMNS; j++)
                sums[i * COLUMNS + j] = ADD(sums[i * COLUMNS + j], SET1(a[k * ROWS + i]), LOAD(b + (k * COLUMNS + j) * LANES));
        }
    }
    for (int i = 0; i < ROWS * COLUMNS; i++) STORE(c + i * LANES, sums[i]);
}
"""
FMA = ["-mavx2", "-mfma", "-DVECTOR=__m256", "-DLANES=8", "-DSET1=_mm256_set1_ps", "-DLOAD=_mm256_loadu_ps",
       "-DSTORE=_mm256_storeu_ps", "-DADD(s,a,b)=_mm256_fmadd_ps(a,b,s)"]  # fmt: skip
SSE = ["-msse4.1", "-DVECTOR=__m128", "-DLANES=4", "-DSET1=_mm_set1_ps", "-DLOAD=_mm_loadu_ps", "-DSTORE=_mm_storeu_ps",
       "-DADD(s,a,b)=_mm_add_ps(s,_mm_mul_ps(a,b))"]  # fmt: skip


def product(compile_cpp, rows, columns, options):
    loops = [loop for loop in compile_cpp(PRODUCT, f"-DROWS={rows}", f"-DCOLUMNS={columns}", *options) if loop.multiply_adds]
    assert len(loops) == 1
    return loops[0]


def test_compiled_product(compile_cpp):
    loop = product(compile_cpp, 4, 3, FMA)
    assert (loop.multiply_adds, loop.fused, loop.width, loop.spills, loop.gathers) == (12, True, "y", 0, 0)
    assert loop.share == 12 / len(loop.body) >= 0.5


def test_compiled_product_with_too_many_sums(compile_cpp):
    loop = product(compile_cpp, 5, 4, FMA)
    assert loop.multiply_adds == 20 and loop.spills >= 5


def test_compiled_product_without_fma(compile_cpp):
    loop = product(compile_cpp, 2, 3, SSE)
    assert (loop.multiply_adds, loop.fused, loop.width, loop.spills) == (6, False, "x", 0)
    assert loop.share == 12 / len(loop.body)


def loop(lines, before=""):
    return f"{before}\n1:\n{lines}\naddq $32, %rdi\ncmpq %rdi, %rsi\njne 1b\n"


def only(loops):
    assert len(loops) == 1
    return loops[0]


@pytest.mark.parametrize("form", ["vfmadd231ps (%rdi), %ymm1, %ymm0", "vfmadd213ps %ymm0, %ymm1, %ymm2\nvmovaps %ymm2, %ymm0",
                                  "vfmadd132ps (%rdi), %ymm0, %ymm2\nvmovaps %ymm2, %ymm0", "vfnmadd231ps %ymm2, %ymm1, %ymm0"])  # fmt: skip
def test_addend_of_every_form(loops_in, form):
    assert only(loops_in(loop(form))).multiply_adds == 1


def test_polynomial_is_no_product(loops_in):
    """p = (c x + c) x + c: all FMA, but of nothing that the iteration before left."""
    fma = "vfmadd213ps %ymm3, %ymm0, %ymm2\nvfmadd213ps %ymm4, %ymm0, %ymm2\n"
    assert only(loops_in(loop(f"vmovaps (%rdi), %ymm0\nvmovaps %ymm1, %ymm2\n{fma}vmovaps %ymm2, (%rdi)"))).multiply_adds == 0


def test_sum_without_product_does_not_count(loops_in):
    assert only(loops_in(loop("vaddps (%rdi), %ymm0, %ymm0"))).multiply_adds == 0


def test_accumulators_that_change_registers(loops_in):
    """Three sums, each in another register's place after an iteration."""
    fma = "".join(f"vfmadd231ps %ymm8, %ymm9, %ymm{n}\n" for n in range(3))
    moves = "vmovaps %ymm0, %ymm3\nvmovaps %ymm1, %ymm0\nvmovaps %ymm2, %ymm1\nvmovaps %ymm3, %ymm2"
    assert only(loops_in(loop(fma + moves))).multiply_adds == 3


def test_spilled_accumulator_counts(loops_in):
    found = only(loops_in(loop("vmovups 0x40(%rsp), %ymm0\nvfmadd231ps %ymm8, %ymm9, %ymm0\nvmovups %ymm0, 0x40(%rsp)")))
    assert (found.multiply_adds, found.spills, found.reloads) == (1, 2, 0)


def test_reloads_are_apart(loops_in):
    found = only(loops_in(loop("movq 0x8(%rsp), %rax\nvfmadd231ps (%rax), %ymm9, %ymm0")))
    assert (found.spills, found.reloads) == (0, 1)


def test_arrays_on_the_stack_are_no_spills(loops_in):
    assert only(loops_in(loop("vfmadd231ps (%rsp,%rdi,4), %ymm9, %ymm0\nleaq 0x40(%rsp), %rax"))).spills == 0


@pytest.mark.parametrize("before, spills", [("pushq %rbp\nmovq %rsp, %rbp", 1), ("movq %rdx, %rbp", 0)])
def test_frame_pointer(loops_in, before, spills):
    assert only(loops_in(loop("vfmadd231ps -0x40(%rbp), %ymm9, %ymm0", before))).spills == spills


def test_gathers(loops_in):
    lines = "vgatherdps %ymm1, (%rax,%ymm2,4), %ymm3\nvpinsrd $1, (%rdi), %xmm4, %xmm4\nvinsertps $16, (%rdi), %xmm4, %xmm4\n"
    assert only(loops_in(loop(lines))).gathers == 3
    assert only(loops_in(loop("vpinsrd $1, %eax, %xmm4, %xmm4\nvinsertps $16, %xmm1, %xmm4, %xmm4"))).gathers == 0


def test_only_innermost_loops(loops_in):
    nested = f"2:\nvmovaps (%rdx), %ymm8\n{loop('vfmadd231ps (%rdi), %ymm8, %ymm0')}\ndecq %rcx\njne 2b"
    assert [found.multiply_adds for found in loops_in(nested)] == [1]
    assert len(only(loops_in(nested)).body) == 4


def test_a_jump_back_alone_is_no_loop(loops_in):
    """Code that is rarely needed lies behind the rest, and jumps back there."""
    assert loops_in("testq %rdi, %rdi\nje 2f\n1:\nvfmadd231ps %ymm1, %ymm2, %ymm0\nret\n2:\nmovq $1, %rdi\njmp 1b") == []


def test_a_way_out_is_not_part_of_the_loop(loops_in):
    way_out = "testq %rax, %rax\njne 2f\ndivq %rcx\nret\n2:"
    found = only(loops_in(f"1:\nvfmadd231ps (%rdi), %ymm1, %ymm0\n{way_out}\naddq $4, %rdi\njne 1b"))
    assert [i.mnemonic for i in found.body] == ["vfmadd231ps", "testq", "jne", "addq", "jne"]


def test_arm64(loops_in):
    text = """mov x29, sp
1:
ldp q4, q5, [x0], #32
ldr q6, [x29, #16]
ldr s7, [x1, x2, lsl #2]
fmla v0.4s, v4.4s, v7.s[0]
fmla v1.4s, v5.4s, v7.s[0]
fmla v2.4s, v6.4s, v7.s[0]
fmul v8.4s, v4.4s, v4.4s
fmla v8.4s, v4.4s, v5.4s
ld1 {v9.s}[1], [x3]
ldr x3, [sp, #8]
subs x4, x4, #1
b.ne 1b"""
    found = only(loops_in(text, "aarch64"))
    assert (found.multiply_adds, found.spills, found.reloads, found.gathers) == (3, 1, 1, 1)


def test_arm64_spilled_accumulators(loops_in):
    fma = "fmla v0.4s, v4.4s, v5.4s\nfmla v1.4s, v4.4s, v5.4s\n"
    found = only(loops_in(f"1:\nldp q0, q1, [sp, #32]\n{fma}stp q0, q1, [sp, #32]\ncbnz x0, 1b", "aarch64"))
    assert (found.multiply_adds, found.spills) == (2, 2)


def test_cycles():
    """A chain waits four cycles for each FMA; independent ones take half a cycle, with 512 bits on znver4 a whole one."""
    chain = ("vfmadd231ps %ymm1, %ymm2, %ymm0",)
    wide = tuple(f"vfmadd231ps %zmm14, %zmm15, %zmm{n}" for n in range(12))
    narrow = tuple(line.replace("zmm", "ymm") for line in wide)
    assert cycles_per_iteration([chain, wide, narrow, chain], "x86_64", "znver4") == pytest.approx([4, 12, 6, 4], rel=0.03)
    assert cycles_per_iteration([wide], "x86_64", "skylake-avx512") == pytest.approx([6], rel=0.03)
