/* bcc includes it for kprobes; nothing of it is used. */
