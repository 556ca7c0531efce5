"""ONNX Runtime: networks, their metadata, execution providers."""
