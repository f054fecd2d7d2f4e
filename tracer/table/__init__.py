"""Ageing, and every zombie reported exactly once. Pure."""
