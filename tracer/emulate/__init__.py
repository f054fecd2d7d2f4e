"""Real zombies, made on purpose."""
