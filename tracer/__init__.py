"""Finds zombie processes on Kubernetes nodes as they happen."""

__version__ = "0.1.0"
