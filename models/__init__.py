"""The network and everything that differentiates through it: architectures, explainers, export, runtime."""
