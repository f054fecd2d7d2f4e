"""The header-free bcc program."""
