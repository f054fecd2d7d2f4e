/* Instruction encodings, for programs written in them; nothing of it is used. */
