"""Where records go: the JSON log, the live view, metrics. Each fails alone."""
