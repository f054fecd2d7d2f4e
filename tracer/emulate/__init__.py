"""Zombies made on purpose."""
