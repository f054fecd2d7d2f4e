"""Runs commands for clients that connect to the agent's socket."""
