"""Pods of this node: the watch on the API server, and the index built from it."""
