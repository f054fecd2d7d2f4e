"""The CO-RE program, loaded with libbpf."""
