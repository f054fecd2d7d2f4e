"""Evidence in, cause out."""
