"""Reading and parsing /proc."""
