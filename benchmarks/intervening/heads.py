"""A frozen ImageNet backbone and many linear heads: models that differ in what they learnt."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize, special

from models.imagenet import imagenet_classifier

BATCH = 16
# Weight of the squared weights in the loss of a head, on standardised features.
DECAY = 3e-2

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Features:
    """What the backbone sees.

    Attributes:
        maps: Activations of its last convolution, float32 [N, 1280, rows, columns].
        pooled: Their mean over positions, float32 [N, 1280].
    """

    maps: NDArray[np.float32]
    pooled: NDArray[np.float32]


def features(images: NDArray[np.uint8]) -> Features:
    """Return the features of uint8 images [N, H, W, 3], in batches."""
    classifier = imagenet_classifier()
    maps, pooled = [], []
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            pixels = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2) / 255.0
            seen = classifier.trace(pixels)
            maps.append(seen.activation.numpy().copy())
            pooled.append(seen.embedding.numpy().copy())
    return Features(np.concatenate(maps), np.concatenate(pooled))


@dataclass(frozen=True, slots=True)
class Head:
    """A linear layer over the pooled features: logits = features · weights + bias.

    Attributes:
        weights: [1280, classes].
        bias: [classes].
    """

    weights: Floats
    bias: Floats

    def probabilities(self, pooled: Floats) -> Floats:
        """Return probabilities, [N, classes]."""
        return special.softmax(pooled @ self.weights + self.bias, axis=1)

    def heatmaps(self, maps: Floats, targets: NDArray[np.integer]) -> Floats:
        """Return Grad-CAM over its maximum, in [0, 1], [N, rows, columns].

        The layer stands behind global average pooling, so the gradient of a logit at every
        position is the class's weight over the number of positions: a factor that scaling removes.
        """
        cam = np.maximum(np.einsum("nchw,nc->nhw", maps, self.weights[:, targets].T), 0.0)
        peaks = cam.max(axis=(1, 2), keepdims=True)
        return np.divide(cam, peaks, out=np.zeros_like(cam), where=peaks > 0)


def train(pooled: Floats, labels: NDArray[np.intp], *, classes: int = 2) -> Head:
    """Return the head that minimises cross-entropy with weight decay, to convergence."""
    mean, deviation = pooled.mean(axis=0), pooled.std(axis=0) + 1e-3
    inputs = ((pooled - mean) / deviation).astype(np.float64)
    wanted = np.eye(classes)[labels]
    shape = (inputs.shape[1] + 1, classes)

    def loss(flat: Floats) -> tuple[float, Floats]:
        parameters = flat.reshape(shape)
        logits = inputs @ parameters[:-1] + parameters[-1]
        logged = special.log_softmax(logits, axis=1)
        error = (np.exp(logged) - wanted) / len(inputs)
        gradient = np.vstack([inputs.T @ error + DECAY * parameters[:-1], error.sum(axis=0)])
        value = -(wanted * logged).sum() / len(inputs) + DECAY / 2 * (parameters[:-1] ** 2).sum()
        return float(value), gradient.ravel()

    found = optimize.minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B")
    parameters = found.x.reshape(shape)
    weights = parameters[:-1] / deviation[:, None]
    return Head(weights, parameters[-1] - mean @ weights)
