// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sees every process fork, exec, wait, die and be released, and keeps the state in the
 * kernel: user space learns only of what has stayed dead for the minimum age.
 *
 * on_fork ──► processes ──► on_exit ──► pending ──► aged ──► ring buffer
 *                 │                          expire
 *                 └──► on_free: removed, and reported when it was known as a zombie
 *
 * The maps and the programs' entry points are here; each header has one concept.
 */
#include "kernel_types.h"
#include <asm-generic/errno-base.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "tracer.h"

/* The kernel lets only GPL-compatible programs read its memory (see NOTICE). */
char LICENSE[] SEC("license") = "GPL";

#define NSEC_PER_MSEC 1000000ULL
#define RETRY_NS (100 * NSEC_PER_MSEC)

/*
 * Keeps the types in the object's BTF that only pass through rings and queues, for the
 * test that compares them with Python's. libbpf makes no map of this section.
 */
struct {
	struct zombie_record zombie;
	struct gone_record gone;
	struct death death;
	enum record_type record;
	enum origin_kind origin;
	enum wait_kind wait;
} btf_anchor SEC(".types");

/* Set before load. */
const volatile __u64 settle_ns = 0;  /* how long a death stays in `pending` */
const volatile __u64 recheck_ns = 0; /* how often a known zombie is checked */
const volatile __u64 tick_ns = 1;    /* the unit in which /proc counts start times */

/* Younger zombies are not reported. User space changes it while the programs run. */
__u64 min_age_ns SEC(".data.settings") = 0;

/*
 * The agent's pid namespace, from init_pidns: its level and its inode. Where nodes are
 * containers (kind, k3d), hostPID leads to the node's namespace, not to the machine's.
 */
__u32 agent_level;
__u32 agent_namespace;

/* Preallocated: without, each hook takes twice as long. User space sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct process_key);
	__type(value, struct process);
} processes SEC(".maps");

/* Host pids by the agent's pids, where the two differ. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct process_key);
	__type(value, __u32);
} host_pids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 65536);
	__uint(key_size, 0);
	__uint(value_size, sizeof(struct death));
} pending SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 65536);
	__uint(key_size, 0);
	__uint(value_size, sizeof(struct death));
} aged SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4096);
	__uint(key_size, 0);
	__uint(value_size, sizeof(struct death));
} retries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 65536);
	__uint(key_size, 0);
	__uint(value_size, sizeof(struct death));
} known SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/* Names of cgroups by id, filled at the first zombie in each. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct cgroup_key);
	__type(value, struct cgroup_names);
} cgroups SEC(".maps");

/* Too large for the stack. One for each thread of user space that runs our programs. */
enum scratch_user { USER_ENGINE, USER_LOOK, USERS };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, USERS);
	__type(key, __u32);
	__type(value, struct cgroup_names);
} scratch SEC(".maps");

/* What read_waits found last. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct blocked_waits);
} blocked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

#define COUNT(field)                                                          \
	do {                                                                  \
		__u32 zero_ = 0;                                              \
		struct counters *c_ = bpf_map_lookup_elem(&counters, &zero_); \
		if (c_)                                                       \
			c_->field++;                                          \
	} while (0)

#include "pidns.h"
#include "cgroup.h"
#include "lifecycle.h"
#include "ageing.h"
#include "snapshot.h"
#include "wait_queue.h"

/*
 * kernel_clone() fires this after copy_process(), before the child first runs, so
 * whatever the child does is seen with its forker known. /proc cannot show who forked:
 * it shows the parent, which CLONE_PARENT (runc) makes another process, and which
 * changes when the parent dies.
 */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *forker, struct task_struct *child)
{
	note_fork(forker, child);
	return 0;
}

/*
 * begin_new_exec() has succeeded: from here on another program runs. How the one
 * before it waited (a shell that ends in `exec app`, a version manager's shim)
 * says nothing about this one; whom it forked are its children all the same.
 */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task)
{
	note_exec(task); /* de_thread() has made it the leader */
	return 0;
}

/*
 * do_wait() fires this at its entry, with the host's view of whom the caller waits
 * for; NULL for any child (and for a pid that no longer exists). A raw tracepoint,
 * because some verifiers take the argument of a tp_btf program for never NULL and
 * drop the branch that handles it.
 */
SEC("raw_tp/sched_process_wait")
int on_wait(struct bpf_raw_tracepoint_args *ctx)
{
	note_wait((struct pid *)ctx->args[0]);
	return 0;
}

/*
 * do_exit() decrements signal->live and then fires this, for every thread. The process
 * is dead when nothing of it lives. That thread need not be the leader, and two that
 * leave together both see 0. Identity and parent are the leader's.
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	if (task->signal->live.counter == 0)
		note_exit(task->group_leader);
	return 0;
}

/*
 * delayed_put_task_struct() fires this for every task that release_task() took
 * away, whoever reaped it and however (wait4, waitid, io_uring, auto-reap, the
 * parent's death), one RCU grace period later and in softirq context: the
 * current task means nothing here.
 *
 * Not for threads; nor, after an exec by a thread that is not the leader, for the old
 * leader, which de_thread() gave the thread's pid: the process lives on.
 */
SEC("tp_btf/sched_process_free")
int BPF_PROG(on_free, struct task_struct *task)
{
	if (task->pid == task->tgid)
		note_free(task);
	return 0;
}

/*
 * Never attached: user space runs it (BPF_PROG_TEST_RUN, Linux 5.10). Returns 0
 * when there is more to do at once, else in how many milliseconds there may be.
 */
SEC("raw_tp")
int expire(void *ctx)
{
	__u64 now = bpf_ktime_get_boot_ns();
	/* In this order, because each may add to the queue of the next. */
	__u32 settle_ms = DRAIN(settle_next, now);
	__u32 aged_ms = DRAIN(check_next_aged, now);
	__u32 known_ms = DRAIN(check_next_known, now);
	__u32 retry_ms = DRAIN(check_next_retry, now);
	__u32 wait_ms = settle_ms < aged_ms ? settle_ms : aged_ms;

	wait_ms = wait_ms < known_ms ? wait_ms : known_ms;
	return wait_ms < retry_ms ? wait_ms : retry_ms;
}

/*
 * Never attached: user space runs it with the pid and the start time (in ticks) of a
 * process. Returns how many of `blocked` it filled in, or UNREADABLE.
 */
SEC("raw_tp")
int read_waits(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0;
	struct blocked_waits *waits = bpf_map_lookup_elem(&blocked, &zero);
	struct task_struct *leader;

	if (!waits || !bpf_core_type_exists(struct wait_opts) ||
	    !bpf_core_field_exists(((struct pid_namespace *)0)->idr))
		return UNREADABLE;
	leader = find_process_now(ctx->args[0], ctx->args[1]);
	return leader ? read_queue(leader, waits) : UNREADABLE;
}

/* Never attached: run once by the agent, to learn its own pid namespace. */
SEC("raw_tp")
int init_pidns(void *ctx)
{
	find_own_namespace();
	return 0;
}

/*
 * Run for each task in a look: every zombie of any age. It changes nothing of what the
 * other programs report, and may run in another thread at the same time as they do.
 */
SEC("iter/task")
int look(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (task && is_zombie(task))
		report_to_look(ctx->meta->seq, task);
	return 0;
}

/* Run for each task in a snapshot; what it reports becomes known. */
SEC("iter/task")
int zombies(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (task && is_zombie(task))
		report_to_snapshot(ctx->meta->seq, task);
	return 0;
}
