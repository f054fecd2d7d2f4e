"""What the evidence means before any cause is named: who forked the zombie, who waited when.

Pure. Each property answers one question with True, False or None for unknown, or with a
number; the rules of the causes are written in these terms.
"""

from functools import cached_property

from tracer.clock import NS, TICK_NS
from tracer.diagnosis import programs
from tracer.diagnosis.thresholds import LONG_ENOUGH_NS, MARGIN_NS, PATIENT_NS
from tracer.model import (
    BlockedWait,
    Evidence,
    Identity,
    OriginKind,
    Process,
    WaitFor,
    Waits,
)

SIGCHLD = 17


class Facts:
    """The evidence for one zombie whose parent could be read."""

    def __init__(self, evidence: Evidence, parent: Process) -> None:
        self.evidence = evidence
        self.child = evidence.child
        self.parent = parent
        self.waits: Waits | None = evidence.waits
        self.age_ns = max(0, evidence.age_ns)
        self.now = evidence.now_boot_ns

    @property
    def died_boot_ns(self) -> int:
        """When it exited; no later than this where the exit was not observed."""
        return self.now - self.age_ns

    # -- who forked it -------------------------------------------------------------

    @property
    def forker_is_parent(self) -> bool | None:
        """Whether its parent now is the process that forked it."""
        forker = self.child.forker
        return None if forker is None else is_same(forker.identity, self.parent.identity)

    @cached_property
    def adopted(self) -> bool | None:
        """Whether its parent adopted it, because the previous parent died.

        A forker that is alive and not the parent used CLONE_PARENT: then nobody adopted it.
        """
        if self.forker_is_parent:
            return False
        if self.adopted_after_death:
            return True
        return None if self.child.forker is None else not self.evidence.forker_alive

    @property
    def adopted_after_death(self) -> bool:
        """Whether its parent died after it did: when it was adopted is unknown."""
        parent_at_exit = self.child.exit_parent_pid
        return parent_at_exit is not None and parent_at_exit != self.parent.identity.pid

    @property
    def foreign_session(self) -> bool:
        """Whether a process between it and its parent created its session."""
        session = self.evidence.session
        return bool(session) and session not in {self.parent.session, self.child.identity.pid}

    @property
    def joined_from_outside(self) -> bool | None:
        """Whether its ancestry began outside its PID namespace, as far as that is known."""
        if self.child.origin is not None:
            return self.child.origin is OriginKind.SETNS
        return self.evidence.joined_from_outside

    @property
    def may_be_of_an_exec(self) -> bool:
        """Whether it may come from an exec: how its ancestry began was not observed."""
        return self.child.origin is None and self.parent.vpid != self.parent.identity.pid

    @property
    def born_after_parent_ns(self) -> int:
        """How much younger than its parent it is."""
        return self.child.start_boot_ns - self.parent_start_boot_ns

    @property
    def parent_start_boot_ns(self) -> int:
        """When its parent started, to the tick."""
        return self.parent.identity.start_ticks * TICK_NS

    @property
    def parent_executed_since(self) -> bool:
        """Whether the parent has executed another program since it forked this child.

        Where execs are not observed, its name at the fork tells; threads have names of their
        own, so not for a program with threads.
        """
        forker, executed = self.child.forker, self.waits and self.waits.exec_boot_ns
        if forker is None or not self.forker_is_parent:
            return False
        if executed is not None:
            return executed > self.child.start_boot_ns
        return self.parent.threads == 1 and forker.comm not in {None, self.parent.comm}

    @property
    def parent_never_waits_by_nature(self) -> bool:
        """Whether the parent is a program that never calls wait()."""
        return programs.never_waits(self.parent)

    # -- how the parent waits ------------------------------------------------------

    @property
    def watched_ns(self) -> int:
        """For how long the parent's wait calls were observed; 0 when they are not."""
        return 0 if self.waits is None else max(0, self.now - self.waits.watched_since_boot_ns)

    @property
    def watched_all_its_life(self) -> bool:
        """Whether no wait call of the program that the parent runs now can have been missed."""
        if self.waits is None or not self.evidence.waits_complete:
            return False
        began = max(self.parent_start_boot_ns, self.waits.exec_boot_ns or 0)
        return self.waits.watched_since_boot_ns <= began + 2 * TICK_NS

    @property
    def past_its_first_rounds(self) -> bool:
        """Whether a parent that reaps at intervals would have waited by now.

        One that has just started may do so for the first time after half a minute.
        """
        rounds = LONG_ENOUGH_NS if programs.reaps_on_signal(self.parent) else PATIENT_NS
        return self.watched_all_its_life and self.watched_ns >= rounds

    @property
    def observed_ns(self) -> int:
        """For how long the parent was observed while this child was a zombie."""
        return min(self.age_ns, self.watched_ns)

    @property
    def waited_never(self) -> bool:
        """Whether the parent was observed and made no wait call."""
        return self.waits is not None and not self.waits.any and not self.waits.specific

    @property
    def waited_any_since(self) -> bool:
        """Whether it waited for any child, certainly after this one was a zombie."""
        return self._since(self.waits and self.waits.last_any_boot_ns)

    @property
    def waited_since(self) -> bool:
        """Whether it waited at all, certainly after this one was a zombie."""
        return self._since(self.waits and self.waits.last_boot_ns)

    def _since(self, moment: int | None) -> bool:
        # If the zombie is gone, that wait call may have collected it.
        late = moment is not None and moment > self.died_boot_ns + MARGIN_NS
        return late and not self.evidence.gone

    @property
    def waited_of_late(self) -> bool:
        """Whether the parent made a wait call since this child exited, or in the last second."""
        last = self.waits.last_boot_ns if self.waits else None
        return self.waited_since or (last is not None and last > self.now - NS)

    @property
    def reaped_just_now(self) -> bool:
        """Whether its parent reaped it while this evidence was gathered."""
        last = self.waits.last_boot_ns if self.waits else None
        return self.evidence.gone and last is not None and last > self.now - NS

    @property
    def waited_before_its_birth_only(self) -> bool:
        """Whether all wait calls came before this child was forked."""
        last = self.waits.last_boot_ns if self.waits else None
        return last is not None and last < self.child.start_boot_ns

    @property
    def asked_for_this_one(self) -> bool:
        """Whether the latest wait call for a PID or group named this child or its group."""
        wanted = self.waits.last_specific_pid if self.waits else None
        return wanted is not None and wanted in {self.child.identity.pid, self.evidence.group}

    @property
    def asked_for_a_zombie(self) -> bool:
        """Whether the latest wait call for one PID named a child that is still a zombie."""
        wanted = self.evidence.waited_for
        return wanted is not None and wanted.state == "Z" and wanted.threads <= 1

    @property
    def takes_turns(self) -> bool:
        """Whether it waits for any child at intervals, and the next time is not overdue."""
        waits = self.waits
        if waits is None or waits.last_any_boot_ns is None or waits.any < 3:
            return False
        rhythm = (waits.last_any_boot_ns - waits.watched_since_boot_ns) // waits.any
        return self.now - waits.last_any_boot_ns <= 3 * rhythm + NS

    @property
    def took_another_at_its_death(self) -> bool:
        """Whether the parent last waited for any child just when this one exited."""
        last = self.waits.last_any_boot_ns if self.waits else None
        return last is not None and abs(last - self.died_boot_ns) <= MARGIN_NS

    @property
    def mean_late_ns(self) -> int:
        """How long the children it reaped late had been zombies, on average."""
        return self.waits.reaped_late_ns // max(1, self.waits.reaped_late) if self.waits else 0

    # -- where the parent is now ---------------------------------------------------

    @property
    def blocked_for_any(self) -> bool:
        """Whether a thread of the parent is in a wait call for any child."""
        return any(call.wanted is WaitFor.ANY for call in self.evidence.blocked_waits)

    @property
    def blocked_for_this_one(self) -> bool:
        """Whether a thread of the parent is in a wait call for this child or its group."""
        return any(self._names_this_one(call) for call in self.evidence.blocked_waits)

    def _names_this_one(self, call: BlockedWait) -> bool:
        if call.wanted is WaitFor.PROCESS:
            return call.number is not None and call.number == self.evidence.pid_in_parent
        if call.wanted is not WaitFor.GROUP:
            return False
        if call.number is None:
            return self.evidence.group == self.parent.group
        # In a nested PID namespace the number names another group than on the host.
        return self.parent.vpid == self.parent.identity.pid and call.number == self.evidence.group

    @property
    def blocked_for_another(self) -> bool:
        """Whether the parent is in wait calls now, all of them for others."""
        return (
            bool(self.evidence.blocked_waits)
            and not self.blocked_for_any
            and not self.blocked_for_this_one
        )

    @property
    def non_sigchld_clone(self) -> bool:
        """Whether its exit signal is not SIGCHLD: only __WALL and __WCLONE collect it then.

        See eligible_child() in kernel/exit.c.
        """
        return self.evidence.exit_signal not in {None, SIGCHLD}

    @property
    def may_still_come(self) -> bool:
        """Whether the parent may still reap it, by the kind of program it is.

        Weak evidence: some shells wait only between commands. A program that catches or
        blocks SIGCHLD may act on it, but Go always catches it, and bash reaps at once.
        """
        parent = self.parent
        if programs.reaps_on_signal(parent):
            return False
        heeds = bool(parent.sigchld_caught) or bool(parent.sigchld_blocked)
        return programs.is_lazy_shell(parent) or heeds


def is_same(one: Identity, other: Identity) -> bool:
    """Compare identities; a start time that was inferred may be off by a tick."""
    return one.pid == other.pid and abs(one.start_ticks - other.start_ticks) <= 1
