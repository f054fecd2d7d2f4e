/* bcc includes it for network programs; nothing of it is used. */
