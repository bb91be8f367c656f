"""The network and what differentiates through it: architectures, explainers, export, runtime."""
