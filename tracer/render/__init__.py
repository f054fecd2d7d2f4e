"""Records as text and JSON. Pure: no I/O, no clock."""
