/* bcc brings its own bpf_log2. */
