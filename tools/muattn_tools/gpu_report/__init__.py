"""./dev report --gpu: what the CUDA kernels tell without a device."""
