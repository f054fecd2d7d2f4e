"""How long is long enough: the times that decide how sure a rule is. Pure."""

from tracer.clock import NS

LONG_ENOUGH_NS = 95 * NS // 10
"""A zombie of this age that its parent has not asked for will not be reaped in passing. Just
under the agent's default minimum age."""
PATIENT_NS = 60 * NS
"""The same for programs that may still reap it: shells between commands, event loops."""
FIRST_ROUND_NS = 5 * NS
"""A parent observed for this long without a wait call is likely to make none."""
MARGIN_NS = NS // 2
"""A wait call this soon after an exit may have come before the kernel made it a zombie:
exit_mm() of a large process and exit_notify() come later than the exit hook."""
INHERITED_NS = 5 * NS
"""An entrypoint script starts its background jobs, and then executes the real program, within
this time."""
