// A PyTorch C++ extension with libmuattn.a inside: torch.Tensor in and out, no copies.
#include <muattn/muattn.hpp>

#include <torch/extension.h>

namespace {

muattn_tensor view(const torch::Tensor &x) {
    TORCH_CHECK(x.dim() == 4 && x.scalar_type() == torch::kFloat32 && x.device().is_cpu(),
                "float32 tensors [B, H, n, d] on the CPU");
    muattn_tensor t{};
    t.data = x.data_ptr();
    t.dtype = MUATTN_FLOAT32;
    for (int dim = 0; dim < 4; dim++) {
        t.shape[dim] = x.size(dim);
        t.strides[dim] = x.stride(dim);
    }
    return t;
}

torch::Tensor spatial_attention(const torch::Tensor &q, const torch::Tensor &k, const torch::Tensor &v, double d_base) {
    torch::Tensor out = torch::empty({q.size(0), q.size(1), q.size(2), v.size(3)});
    muattn::SpatialOptions options{};
    options.scaling = MUATTN_SCALING_MUP;
    options.d_base = int64_t(d_base);
    muattn::spatial_attention(view(q), view(k), view(v), view(out), options);
    return out;
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("spatial_attention", &spatial_attention); }
