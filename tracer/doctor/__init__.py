"""`tracer doctor`: checks whether the agent can run on this node.

`facts` reads the machine; `bpf_checks`, `proc_checks`, `node_checks` and `capabilities` turn
facts into checks (pure); `probe` starts the sources for a moment; `cluster` asks the API
server; `report` renders. `run` puts them together.
"""
