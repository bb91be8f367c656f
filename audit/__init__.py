"""Judgement on numbers: no torch, no ONNX Runtime, no web, no clock."""
