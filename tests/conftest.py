"""Settings that all tests share."""

from hypothesis import settings

# A deadline measures the machine's other work, not the code.
settings.register_profile("tracer", deadline=None)
settings.load_profile("tracer")
