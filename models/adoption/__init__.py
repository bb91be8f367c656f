"""Somebody else's ONNX classifier, made a version that answers with its reason."""
