"""How each ATen operator is written in ONNX; one table per kind of operator."""
