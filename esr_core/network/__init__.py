"""The ESR network in PyTorch: modules, checkpoints, ONNX export, saliency."""
