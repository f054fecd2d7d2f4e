/* The bcc program: for kernels without BTF, compiled at start on nodes without kernel headers.
 *
 * It touches no kernel struct. All it knows comes from tracepoint arguments, whose structs bcc
 * makes from the running kernel's own tracefs formats (their layout changed in 6.16: fields are
 * named here, never placed), and from helpers. What it cannot know that way (parent, start time,
 * exit code, whether the whole process is dead) user space reads from /proc, for candidates only.
 *
 * Set by user space with -D: MAP_ENTRIES (tasks), DEATHS_ENTRIES, REPORTED_ENTRIES; NOW, the
 * clock's helper; GROUP_DEAD where the format of sched_process_exit has that field.
 *
 * Every value is mirrored in load.py, and tests/sources/bcc/test_bcc.py compares the two.
 */

#define COMM_BYTES 16
#define NO_PREALLOC 1 /* BPF_F_NO_PREALLOC */

/* The fork of a task, and its forker. Threads have one too: the fork tracepoint gives thread ids only, and
 * whether a new task is a process shows first when it exits. */
struct birth {
	u64 fork_boot_ns;
	u64 forker_start_boot_ns; /* 0: it started before this program */
	u32 forker;               /* process id */
	u32 stale_frees;          /* earlier tasks of this pid whose free is still to come */
	char forker_comm[COMM_BYTES];
};

/* A dead child that user space knows; in this map from then on, and no longer in deaths. */
struct reported {
	u64 exit_boot_ns; /* 0: unknown */
	u64 start_ticks;
};

struct gone {
	u64 gone_boot_ns;
	u64 exit_boot_ns; /* 0: unknown */
	u64 start_ticks;
	u32 pid;
	u32 padding;
};

/* How one process waits. The counts of reaped children are of those that it forked. */
struct waits {
	u64 any;
	u64 specific;
	u64 last_boot_ns;
	u64 last_any_boot_ns;
	u64 reaped;
	u64 reaped_late;
	u64 reaped_late_ns;
	u32 last_specific_pid;
	u32 padding;
};

#define LATE_NS 1000000000ULL

enum counter { EXITS, BIRTHS_FULL, DEATHS_FULL, GONE_FULL, WAITS_FULL, COUNTERS };

BPF_PERCPU_ARRAY(counters, u64, COUNTERS);
BPF_F_TABLE("hash", u32, struct birth, births, MAP_ENTRIES, 0);
/* When the last thread seen of a process exited. */
BPF_F_TABLE("hash", u32, u64, deaths, DEATHS_ENTRIES, 0);
/* Mostly empty, and must hold a machine full of zombies: nothing is allocated ahead. */
BPF_F_TABLE("hash", u32, struct reported, reported, REPORTED_ENTRIES, NO_PREALLOC);
BPF_F_TABLE("hash", u32, struct waits, waits, MAP_ENTRIES, NO_PREALLOC);
BPF_QUEUE(gone, struct gone, 65536);

static inline void count(int which)
{
	u64 *value = counters.lookup(&which);

	if (value)
		__sync_fetch_and_add(value, 1); /* one copy a CPU, but a softirq may come between */
}

/* Fires in kernel_clone() after the new task got its pid and before it runs, in the forker. */
TRACEPOINT_PROBE(sched, sched_process_fork)
{
	u32 child = args->child_pid;
	u32 forker = bpf_get_current_pid_tgid() >> 32;
	struct birth birth = {};
	struct birth *other;

	birth.fork_boot_ns = NOW();
	birth.forker = forker;
	bpf_get_current_comm(&birth.forker_comm, sizeof(birth.forker_comm));
	other = births.lookup(&forker);
	if (other)
		birth.forker_start_boot_ns = other->fork_boot_ns;

	/* release_task() gives the pid back a grace period (5–20 ms) before sched_process_free:
	 * what is here is of an earlier task then, and its free must not take ours away. */
	other = births.lookup(&child);
	if (other) {
		birth.stale_frees = other->stale_frees + 1;
		waits.delete(&child);
	}
	deaths.delete(&child);
	if (births.update(&child, &birth))
		count(BIRTHS_FULL);
	return 0;
}

/* Fires in do_exit() for every thread. Before 6.16 its arguments do not say which is the last
 * one: each overwrites the time of the one before, and /proc decides once that is old.
 *
 * A raw tracepoint, since it needs no argument but that one, and must not miss anything: other
 * tracepoint programs do not run on a CPU on which another program, or a map system call (in
 * which user space may be preempted), has begun and not ended (trace_call_bpf()). A fork or a
 * free missed so is healed by user space.
 */
RAW_TRACEPOINT_PROBE(sched_process_exit)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 process = id >> 32;
	u64 now = NOW();

#ifdef GROUP_DEAD
	if (!(u8)ctx->args[1]) /* the C type is bool: only its byte means something */
		return 0;
	count(EXITS);
#else
	if (process == (u32)id)
		count(EXITS);
#endif
	if (deaths.update(&process, &now))
		count(DEATHS_FULL);
	return 0;
}

static inline void report_gone(u32 pid, struct reported *known)
{
	struct gone event = {};

	event.gone_boot_ns = NOW();
	event.exit_boot_ns = known->exit_boot_ns;
	event.start_ticks = known->start_ticks;
	event.pid = pid;
	reported.delete(&pid);
	if (gone.push(&event, 0))
		count(GONE_FULL);
}

static inline void settle(u32 forker, u64 exit_boot_ns)
{
	struct waits *waiting = waits.lookup(&forker);
	u64 dead_ns = NOW() - exit_boot_ns;

	if (!waiting)
		return;
	__sync_fetch_and_add(&waiting->reaped, 1);
	if (dead_ns > LATE_NS) {
		__sync_fetch_and_add(&waiting->reaped_late, 1);
		__sync_fetch_and_add(&waiting->reaped_late_ns, dead_ns);
	}
}

/* Fires from delayed_put_task_struct(), after every way of being reaped; the current task
 * means nothing. For threads too: nothing but births has an entry under a thread's id. */
TRACEPOINT_PROBE(sched, sched_process_free)
{
	u32 pid = args->pid;
	struct birth *birth = births.lookup(&pid);
	struct reported *known = reported.lookup(&pid);
	u64 *death = deaths.lookup(&pid);
	u64 exit_boot_ns = 0;

	if (known)
		exit_boot_ns = known->exit_boot_ns;
	else if (death)
		exit_boot_ns = *death;
	if (known)
		report_gone(pid, known);
	if (birth && birth->stale_frees) {
		birth->stale_frees -= 1; /* not ours, but that of an earlier task of this pid */
		return 0;
	}
	if (birth && exit_boot_ns)
		settle(birth->forker, exit_boot_ns);
	if (death)
		deaths.delete(&pid);
	if (birth)
		births.delete(&pid);
	waits.delete(&pid);
	return 0;
}

/* Fires at the entry of wait4() and waitid(), on the host's view; pid 0 is "any child". */
TRACEPOINT_PROBE(sched, sched_process_wait)
{
	u32 process = bpf_get_current_pid_tgid() >> 32;
	u32 wanted = args->pid;
	u64 now = NOW();
	struct waits *waiting = waits.lookup(&process);

	if (!waiting) {
		struct waits none = {};

		if (waits.update(&process, &none))
			count(WAITS_FULL);
		waiting = waits.lookup(&process);
		if (!waiting)
			return 0;
	}
	waiting->last_boot_ns = now;
	if (wanted) {
		waiting->last_specific_pid = wanted;
		__sync_fetch_and_add(&waiting->specific, 1);
	} else {
		waiting->last_any_boot_ns = now;
		__sync_fetch_and_add(&waiting->any, 1);
	}
	return 0;
}
