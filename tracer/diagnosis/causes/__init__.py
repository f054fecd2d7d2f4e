"""The causes."""
