"""From a cgroup path to container, pod and systemd unit; filters."""
