/* SPDX-License-Identifier: GPL-2.0-only */
/* The life of a process, from its fork to its release: what each hook notes of it. */
#ifndef TRACER_LIFECYCLE_H
#define TRACER_LIFECYCLE_H

#define LATE_NS 1000000000ULL

/* The entry of that very process; 0 when there is none. */
static __always_inline struct process *find_process(struct process_key *key, __u64 start_ns)
{
	struct process *entry = bpf_map_lookup_elem(&processes, key);

	return entry && entry->start_ns == start_ns ? entry : 0;
}

/* Adds an entry; 0 when the process is not visible to user space, or there is no room. */
static __always_inline struct process *add_process(struct task_struct *leader,
						   struct process_key *key, __u64 start_ns,
						   __u64 flags, bool *no_room)
{
	struct process added = {};
	struct process *entry;

	added.pid = visible_pid(leader, key->pid);
	if (!added.pid)
		return 0;
	added.start_ns = start_ns;
	bpf_map_update_elem(&processes, key, &added, flags);
	entry = find_process(key, start_ns); /* whether we added it or another thread */
	if (entry)
		remember_host_pid(added.pid, start_ns, key->pid);
	else
		*no_room = true;
	return entry;
}

/*
 * The entry of a process; it is added when the process is older than the hooks, or its
 * fork was missed. 0 when that cannot be; for want of room, `no_room` is set.
 */
static __always_inline struct process *find_or_add(struct task_struct *leader, __u32 host_pid,
						   __u64 start_ns, bool *no_room)
{
	struct process_key key = process_key(host_pid, start_ns);
	struct process *entry = bpf_map_lookup_elem(&processes, &key);

	if (entry && entry->start_ns == start_ns)
		return entry;
	/* BPF_NOEXIST: another thread of it may add the entry at the same time. */
	return add_process(leader, &key, start_ns, entry ? BPF_ANY : BPF_NOEXIST, no_room);
}

/* How the ancestry of a new process begins in its pid namespace. */
static __always_inline void note_origin(struct process *added, struct task_struct *forker,
					struct task_struct *child)
{
	unsigned int forker_level = forker->thread_pid->level;
	unsigned int child_level = child->thread_pid->level;
	struct birth *birth = &added->birth;
	__u32 vpid = 0, inum = 0;
	struct process_key key;
	struct process *entry;

	if (!child_level)
		return;
	/* A process can only go down, into a descendant of its own pid namespace. */
	if (child_level > forker_level) {
		read_vpid(child, &vpid, &inum);
		birth->origin = vpid == 1 ? ORIGIN_INIT : ORIGIN_SETNS;
		birth->origin_pid = added->pid;
		return;
	}
	key = process_key(forker->tgid, birth->forker_start_ns);
	entry = find_process(&key, birth->forker_start_ns);
	if (entry && entry->birth.origin) {
		birth->origin = entry->birth.origin;
		birth->origin_pid = entry->birth.origin_pid;
		return;
	}
	/* The forker is older than the hooks: it may be the init itself. */
	read_vpid(forker->group_leader, &vpid, &inum);
	if (vpid == 1) {
		birth->origin = ORIGIN_INIT;
		birth->origin_pid = birth->forker_pid;
	}
}

/* In two loads: a call of bpf_probe_read_kernel() would cost every fork 15 ns more. */
static __always_inline void copy_comm(char *comm, struct task_struct *task)
{
	__u64 *from = (__u64 *)task->comm, *to = (__u64 *)comm;

	to[0] = from[0];
	to[1] = from[1];
}

static __always_inline void note_fork(struct task_struct *forker, struct task_struct *child)
{
	__u32 host_pid = child->pid;
	struct process added = {};
	struct process_key key;

	if (child->pid != child->tgid) /* a thread: it dies with its process */
		return;
	added.pid = visible_pid(child, host_pid);
	if (!added.pid)
		return;
	added.start_ns = child->start_boottime;
	added.birth.forker_pid = visible_pid(forker->group_leader, forker->tgid);
	added.birth.forker_start_ns = forker->group_leader->start_boottime;
	copy_comm(added.birth.forker_comm, forker);
	note_origin(&added, forker, child);

	key = process_key(host_pid, added.start_ns);
	if (bpf_map_update_elem(&processes, &key, &added, BPF_ANY))
		COUNT(forks_lost);
	else
		remember_host_pid(added.pid, added.start_ns, host_pid);
}

static __always_inline void note_exec(struct task_struct *leader)
{
	bool no_room = false;
	struct process *entry;

	entry = find_or_add(leader, leader->pid, leader->start_boottime, &no_room);
	if (no_room)
		COUNT(waits_lost);
	if (!entry)
		return;
	entry->exec_ns = bpf_ktime_get_boot_ns();
	entry->last_wait_ns = entry->last_wait_any_ns = entry->reaped_late_ns = 0;
	entry->waits_any = entry->waits_specific = entry->last_wait_pid = 0;
	entry->reaped = entry->reaped_late = 0;
}

/* The leader of the calling process, and its start time. */
static __always_inline struct task_struct *current_leader(__u64 *start_ns)
{
	struct task_struct *leader;

	/* From Linux 5.11 on; its loads are direct, which saves two calls. */
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)) {
		leader = ((struct task_struct *)bpf_get_current_task_btf())->group_leader;
		*start_ns = leader->start_boottime;
	} else {
		leader = (void *)bpf_get_current_task();
		leader = BPF_CORE_READ(leader, group_leader);
		*start_ns = BPF_CORE_READ(leader, start_boottime);
	}
	return leader;
}

/* The calling process waits for that pid, or for any child when it is NULL. */
static __always_inline void note_wait(struct pid *wanted)
{
	__u32 host_pid = bpf_get_current_pid_tgid() >> 32;
	__u64 now = bpf_ktime_get_boot_ns(), start_ns;
	struct task_struct *leader = current_leader(&start_ns);
	bool no_room = false;
	struct process *entry;

	entry = find_or_add(leader, host_pid, start_ns, &no_room);
	if (no_room)
		COUNT(waits_lost);
	if (!entry)
		return;
	entry->last_wait_ns = now;
	if (wanted) {
		entry->last_wait_pid = visible_number(wanted);
		__sync_fetch_and_add(&entry->waits_specific, 1);
	} else {
		entry->last_wait_any_ns = now;
		__sync_fetch_and_add(&entry->waits_any, 1);
	}
}

/* Nothing of the process lives any more. Facts are read later, of those that stay dead. */
static __always_inline void note_exit(struct task_struct *leader)
{
	struct task_struct *parent = leader->real_parent->group_leader;
	__u64 start_ns = leader->start_boottime;
	__u32 host_pid = leader->pid;
	struct death death = {};
	bool no_room = false;
	struct process *entry;

	entry = find_or_add(leader, host_pid, start_ns, &no_room);
	if (no_room) {
		COUNT(exits);
		COUNT(map_full);
	}
	if (!entry || entry->exit_ns)
		return;
	COUNT(exits);

	death.key = process_key(host_pid, start_ns);
	death.exit_ns = bpf_ktime_get_boot_ns();
	death.due_ns = death.exit_ns + settle_ns;
	entry->exit_parent = process_key(parent->pid, parent->start_boottime);
	entry->exit_parent_pid = visible_pid(parent, parent->pid);
	entry->task = (__u64)leader;
	entry->exit_ns = death.exit_ns;
	if (bpf_map_push_elem(&pending, &death, 0))
		COUNT(queue_full);
}

/* Counts a reaping for the process that was the parent at the death. */
static __always_inline void note_reaped(struct process *entry, __u64 now)
{
	struct process_key key = entry->exit_parent;
	struct process *parent = bpf_map_lookup_elem(&processes, &key);
	__u64 dead_ns = now - entry->exit_ns;

	if (!parent)
		return;
	__sync_fetch_and_add(&parent->reaped, 1);
	if (dead_ns > LATE_NS) {
		__sync_fetch_and_add(&parent->reaped_late, 1);
		__sync_fetch_and_add(&parent->reaped_late_ns, dead_ns);
	}
}

static __always_inline void report_gone(struct process *entry, __u64 now)
{
	struct gone_record record = {};

	record.header.type = RECORD_GONE;
	record.start_ns = entry->start_ns;
	record.gone_ns = now;
	record.pid = entry->pid;
	if (bpf_ringbuf_output(&events, &record, sizeof(record), 0))
		COUNT(ring_full);
}

/* Removes the entry of a process that was released. Returns whether it is gone. */
static __always_inline bool remove_process(struct process *entry, struct process_key *key,
					   __u64 now)
{
	long error;

	if (entry->exit_ns)
		note_reaped(entry, now);
	if (entry->known)
		report_gone(entry, now);
	forget_host_pid(entry->pid, entry->start_ns);
	entry->gone = 1;
	error = bpf_map_delete_elem(&processes, key);
	return !error || error == -ENOENT;
}

/* The process was released: its parent, its tracer or an init has reaped it. */
static __always_inline void note_free(struct task_struct *leader)
{
	__u64 start_ns = leader->start_boottime, now;
	struct death death = {};
	struct process *entry;

	death.key = process_key(leader->pid, start_ns);
	entry = find_process(&death.key, start_ns);
	if (!entry)
		return;
	now = bpf_ktime_get_boot_ns();
	if (remove_process(entry, &death.key, now))
		return;
	/*
	 * EBUSY: we have interrupted an operation on the same buckets. No later process
	 * has this key, so the entry would stay for ever: expire deletes it.
	 */
	death.exit_ns = entry->exit_ns;
	death.due_ns = now + RETRY_NS;
	if (bpf_map_push_elem(&retries, &death, 0))
		COUNT(queue_full);
}

#endif
