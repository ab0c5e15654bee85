"""./dev bench: times of the kernels, and how they grow with n."""
