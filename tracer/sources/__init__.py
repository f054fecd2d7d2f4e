"""The three sources of zombies, all behind the protocol model.Source.

core/ loads the CO-RE program of bpf/ with libbpf; bcc/ compiles a header-free program where
core cannot load; proc/ scans /proc where no BPF is allowed. select chooses one of them;
failures and skipped_runs are what core and bcc share.
"""
