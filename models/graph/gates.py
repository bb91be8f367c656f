"""Derivatives of activations as arithmetic that ONNX Runtime runs without leaving its fast layout.

A comparison and a `Where` would be the natural gate of a ReLU. On the CPU they force every
activation out of the blocked layout of the convolutions and back, which costs more than the
convolutions. A scaled 1x1 depthwise convolution followed by a clamp is one fused operator there.
Half precision cannot hold the scale, so it takes the sign instead.
"""

import torch
from torch import Tensor

# A power of two, so that scaling is exact; anything above 2**-100 counts as positive.
_STEEP = float(2**100)
_STEEPER = float(2**120)
_MAP_AXES = 4


def positive(values: Tensor) -> Tensor:
    """Return 1 where `values` is above zero, else 0; no value may be below zero."""
    if values.dtype != torch.float32:
        return torch.sign(values)
    return affine(values, _STEEP, 0.0).clamp(0.0, 1.0)


def between(values: Tensor, low: float, high: float) -> Tensor:
    """Return 1 where low < `values` < high, else 0; no value may be outside [low, high]."""
    if values.dtype != torch.float32:
        return torch.sign(values - low) * torch.sign(high - values)
    above = affine(values, _STEEP, -low * _STEEP).clamp(0.0, 1.0)
    below = affine(values, -_STEEP, high * _STEEP).clamp(0.0, 1.0)
    return above * below


def affine(values: Tensor, scale: float, shift: float) -> Tensor:
    """Return scale * values + shift; for maps [N,C,h,w] as a 1x1 depthwise convolution."""
    if values.dim() != _MAP_AXES:
        return values * scale + shift
    channels = values.shape[1]
    weight = values.new_full((channels, 1, 1, 1), scale)
    bias = values.new_full((channels,), shift)
    return torch.conv2d(values, weight, bias, groups=channels)
