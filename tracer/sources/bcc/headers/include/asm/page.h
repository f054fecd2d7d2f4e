/* For kernel structs; nothing of it is used. */
