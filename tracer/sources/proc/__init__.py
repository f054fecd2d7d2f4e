"""Scanning /proc."""
