"""The loop and what it drives."""
