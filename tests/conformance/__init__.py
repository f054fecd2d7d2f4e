"""One suite for all sources: the same real processes, the same expectations.

What a source cannot know is in one table (facts.py), which docs/sources.md shows.
`python3 -m tests.conformance --help` runs it where there is no pytest.
"""
