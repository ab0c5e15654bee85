// The consumer's own Halide pipeline: out(x) = 2 in(x), in parallel, through memory that Halide allocates.
#include <Halide.h>

class HostPipeline : public Halide::Generator<HostPipeline> {
public:
    Input<Buffer<float, 1>> in{"in"};
    Output<Buffer<float, 1>> out{"out"};

    void generate() {
        doubled(x) = 2.0f * in(x);
        out(x) = doubled(x);
    }

    void schedule() {
        Halide::Var chunk("chunk");
        out.split(x, chunk, x, 16, Halide::TailStrategy::GuardWithIf).parallel(chunk);
        doubled.compute_root();
    }

private:
    Halide::Var x{"x"};
    Halide::Func doubled{"doubled"};
};

HALIDE_REGISTER_GENERATOR(HostPipeline, host_pipeline)
