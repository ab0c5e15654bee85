"""./dev bench --gpu: the CUDA backend against PyTorch, in .venv-peers."""
