/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Deaths, until they are reaped or old enough to be reported.
 *
 * Four queues, each in the order of its due times: `pending` for settle_ns, which
 * nearly all leave by having been reaped; `aged` until the minimum age, so it holds
 * zombies only, however long that is; `retries` for what has to be checked again soon;
 * `known` for zombies that were reported, in case their release is not announced.
 *
 * `aged` has no due times of its own: the minimum age can change while deaths wait there.
 * It is the same for all of them, so the order in which they died is that of their due times.
 */
#ifndef TRACER_AGEING_H
#define TRACER_AGEING_H

#define EXIT_DEAD 0x10 /* include/linux/sched.h */
#define EXIT_ZOMBIE 0x20
#define SIGNAL_GROUP_EXIT 0x4 /* include/linux/sched/signal.h */
#define BATCH 64              /* entries of each queue checked in one run */
#define IDLE_MS 0x7fffffff
#define RELEASE_CHECKS 20     /* retries, which is 2 s: grace periods are shorter */

/*
 * A field of a kernel struct. Directly is 14 ns faster, but only a trusted pointer
 * can be read so, and for each pointer loaded so the verifier searches the kernel's
 * types by name, which takes it milliseconds (type_is_rcu(), 6.18).
 */
#define FIELD(trusted, pointer, field) \
	((trusted) ? (pointer)->field : BPF_CORE_READ(pointer, field))

/* Reads the facts of a dead process. wait_task_zombie() reports this exit status. */
static __always_inline void read_facts(struct task_struct *leader, struct facts *facts,
				       bool trusted, __u32 user)
{
	struct signal_struct *signal = FIELD(trusted, leader, signal);

	facts->exit_status = FIELD(trusted, signal, flags) & SIGNAL_GROUP_EXIT
				     ? FIELD(trusted, signal, group_exit_code)
				     : FIELD(trusted, leader, exit_code);
	facts->uid = trusted ? leader->real_cred->uid.val
			     : BPF_CORE_READ(leader, real_cred, uid.val);
	bpf_probe_read_kernel(facts->comm, COMM_LEN, leader->comm);
	read_vpid(leader, &facts->vpid, &facts->pid_namespace);
	read_cgroup(leader, &facts->cgroup_id, &facts->cgroup_hierarchy, user);
}

static __always_inline void copy_history(struct zombie *zombie, struct process *entry)
{
	zombie->exit_ns = entry->exit_ns;
	zombie->exit_parent_pid = entry->exit_parent_pid;
	zombie->birth = entry->birth;
}

static __always_inline long report_zombie(struct process *entry, enum record_type type)
{
	struct task_struct *task = (void *)entry->task, *parent;
	struct zombie_record record = {};
	struct zombie *zombie = &record.zombie;

	record.header.type = type;
	if (!entry->facts_read) {
		read_facts(task, &entry->facts, false, USER_ENGINE);
		entry->facts_read = 1;
	}
	zombie->facts = entry->facts;
	copy_history(zombie, entry);
	zombie->dead_since_ns = entry->exit_ns;
	zombie->start_ns = entry->start_ns;
	zombie->start_ticks = entry->start_ns / tick_ns;
	zombie->pid = entry->pid;
	parent = BPF_CORE_READ(task, real_parent, group_leader);
	zombie->parent_pid = visible_pid(parent, BPF_CORE_READ(parent, pid));
	if (BPF_CORE_READ(task, ptrace)) {
		parent = BPF_CORE_READ(task, parent, group_leader);
		zombie->tracer_pid = visible_pid(parent, BPF_CORE_READ(parent, pid));
	}
	/* User space is about to read: it needs no wake-up. */
	return bpf_ringbuf_output(&events, &record, sizeof(record), BPF_RB_NO_WAKEUP);
}

enum stage { STAGE_DYING, STAGE_ZOMBIE, STAGE_RELEASED };

/*
 * How far a death has come. Between the exit hook and exit_notify() a process gives
 * back its memory, which takes a large one seconds (from 6.16 on the hook comes
 * before exit_mm()); and between release_task() and the free hook is an RCU grace
 * period. Freed memory may be read here: wait_task_zombie() and exit_notify() leave
 * EXIT_DEAD behind before a release, and another task has another start time.
 */
static __always_inline enum stage stage_of(struct process *entry, __u32 host_pid)
{
	struct task_struct *task = (void *)entry->task;
	int state;

	if (BPF_CORE_READ(task, start_boottime) != entry->start_ns ||
	    BPF_CORE_READ(task, pid) != (int)host_pid)
		return STAGE_RELEASED;
	state = BPF_CORE_READ(task, exit_state);
	if (state == EXIT_ZOMBIE)
		return STAGE_ZOMBIE;
	return state == EXIT_DEAD ? STAGE_RELEASED : STAGE_DYING;
}

enum outcome { DEATH_DONE, DEATH_RETRY, DEATH_KNOWN, DEATH_RING_FULL };

/*
 * The task was released, and on_free has not come yet. It may never come: Linux 6.18
 * was seen to fire sched_process_free for none of several dozen zombies that an init
 * reaped within a millisecond (an unrelated program on the same tracepoint missed the
 * same ones, and no skipped run was counted). So after RELEASE_CHECKS, do its work.
 */
static __always_inline enum outcome await_release(struct process *entry, struct death *death,
						  __u64 now)
{
	if (++entry->release_checks < RELEASE_CHECKS)
		return DEATH_RETRY;
	COUNT(releases_missed);
	return remove_process(entry, &death->key, now) ? DEATH_DONE : DEATH_RETRY;
}

/* Reports a death that has reached the minimum age, if it is still unreaped. */
static __always_inline enum outcome check_death(struct death *death, __u64 now)
{
	struct process *entry = bpf_map_lookup_elem(&processes, &death->key);
	enum stage stage;
	long error;

	if (!entry || entry->exit_ns != death->exit_ns)
		return DEATH_DONE;
	if (entry->gone) { /* on_free could not delete it, or is about to */
		error = bpf_map_delete_elem(&processes, &death->key);
		return error && error != -ENOENT ? DEATH_RETRY : DEATH_DONE;
	}
	stage = stage_of(entry, death->key.pid);
	if (stage == STAGE_DYING)
		return DEATH_RETRY;
	if (stage == STAGE_RELEASED)
		return await_release(entry, death, now);
	if (entry->known)
		return DEATH_KNOWN;
	/* Before the report: struct process says why. */
	entry->known = 1;
	if (!report_zombie(entry, RECORD_ZOMBIE))
		return DEATH_KNOWN;
	entry->known = 0;
	return DEATH_RING_FULL;
}

/* Never 0. */
static __always_inline __u32 ms_until(__u64 due, __u64 now)
{
	__u64 ms = due > now ? (due - now) / NSEC_PER_MSEC + 1 : 1;

	return ms < IDLE_MS ? ms : IDLE_MS;
}

/*
 * The functions that follow each take the next death from one queue. They return 0
 * when they did, else in how many milliseconds they are to be called again. They are
 * global, so that the verifier walks through each once, and not in each round of the
 * loop that calls it; with scalars only, because it accepts pointers from 5.12 on.
 */

/* Moves on a death that is settle_ns old and unreaped. */
__noinline int settle_next(__u64 now)
{
	struct death death = {};
	struct process *entry;

	if (bpf_map_peek_elem(&pending, &death))
		return IDLE_MS;
	if (now < death.due_ns) /* it matters only when it reaches the minimum age */
		return ms_until(death.exit_ns + min_age_ns, now);
	bpf_map_pop_elem(&pending, &death);
	entry = bpf_map_lookup_elem(&processes, &death.key);
	if (!entry || entry->exit_ns != death.exit_ns || entry->gone)
		return 0;
	if (stage_of(entry, death.key.pid) == STAGE_ZOMBIE)
		report_zombie(entry, RECORD_YOUNG); /* with no room, a restart may lose it */
	death.due_ns = 0; /* check_next_aged() computes it */
	if (bpf_map_push_elem(&aged, &death, 0))
		COUNT(queue_full);
	return 0;
}

/* Has a zombie that was reported checked again in recheck_ns. */
static __always_inline void watch_release(struct death *death, __u64 now)
{
	death->due_ns = now + recheck_ns;
	if (bpf_map_push_elem(&known, death, 0))
		COUNT(queue_full);
}

static __always_inline int check_next(void *queue, __u64 now)
{
	struct death death = {};
	enum outcome outcome;
	__u64 due_ns;

	if (bpf_map_peek_elem(queue, &death))
		return IDLE_MS;
	due_ns = queue == &aged ? death.exit_ns + min_age_ns : death.due_ns;
	if (now < due_ns)
		return ms_until(due_ns, now);
	outcome = check_death(&death, now);
	if (outcome == DEATH_RING_FULL) /* it stays in the queue: nothing is lost */
		return 1;
	bpf_map_pop_elem(queue, &death);
	if (outcome == DEATH_KNOWN) {
		watch_release(&death, now);
	} else if (outcome == DEATH_RETRY) {
		death.due_ns = now + RETRY_NS;
		if (bpf_map_push_elem(&retries, &death, 0))
			COUNT(queue_full);
	}
	return 0;
}

__noinline int check_next_aged(__u64 now)
{
	return check_next(&aged, now);
}

__noinline int check_next_known(__u64 now)
{
	return check_next(&known, now);
}

__noinline int check_next_retry(__u64 now)
{
	return check_next(&retries, now);
}

/* Empties a queue of what is due. Returns as expire does. */
#define DRAIN(take_next, now)                                       \
	({                                                          \
		__u32 wait_ms_ = 0;                                 \
		for (int i_ = 0; i_ < BATCH && !wait_ms_; i_++)     \
			wait_ms_ = take_next(now);                  \
		wait_ms_;                                           \
	})

#endif
