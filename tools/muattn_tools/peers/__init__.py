"""./dev bench --peers: against PyTorch, ONNX Runtime and OpenVINO, in .venv-peers."""
