"""`tracer doctor`: can the agent see here, how well, and what would help.

`facts` reads the machine, `judge` and `capabilities` decide (pure), `trial` really starts sources,
`cluster` asks Kubernetes, `report` renders. `examine` puts them together.
"""
