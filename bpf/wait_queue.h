/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who waits now: the threads of a process that sleep in wait4(), waitid() or io_uring's
 * IORING_OP_WAITID are in its signal->wait_chldexit. That needs no right over the process,
 * unlike /proc/PID/syscall, and is the same for every architecture's system calls.
 *
 * The entries lie on the stacks of those threads, under a spinlock that BPF cannot take:
 * they may go, and be something else, at any moment. So every read can fail, each entry is
 * checked to be of that process, and a walk that does not come back to the head within
 * MAX_WAITS steps found nothing: the answer is "unreadable" then, never "nobody".
 */
#ifndef TRACER_WAIT_QUEUE_H
#define TRACER_WAIT_QUEUE_H

#define WEXITED 0x4	  /* include/uapi/linux/wait.h */
#define XA_INTERNAL 2UL	  /* the low bits of a pointer to a node, include/linux/xarray.h */
#define XA_LEVELS 6	  /* of a tree of pids: 2^22 of them need four */
#define UNREADABLE (-1)

/* The pid of that number in a pid namespace; 0 when there is none. As idr_find() does. */
static __always_inline struct pid *find_pid(struct pid_namespace *ns, __u32 number)
{
	__u64 index = number - BPF_CORE_READ(ns, idr.idr_base);
	__u64 entry = (__u64)BPF_CORE_READ(ns, idr.idr_rt.xa_head);
	__u64 slots = bpf_core_field_size(((struct xa_node *)0)->slots) / sizeof(void *);
	struct xa_node *node;
	__u8 shift;
	int i;

	for (i = 0; i < XA_LEVELS; i++) {
		if ((entry & 3) != XA_INTERNAL)
			break;
		node = (void *)(entry - XA_INTERNAL);
		shift = BPF_CORE_READ(node, shift);
		if (i == 0 && index >> (shift & 63) >= slots)
			return 0;
		entry = 0;
		bpf_probe_read_kernel(&entry, sizeof(entry),
				      (void *)node + bpf_core_field_offset(struct xa_node, slots) +
					      (index >> (shift & 63) & (slots - 1)) *
						      sizeof(void *));
	}
	return (entry & 3) == 0 ? (struct pid *)entry : 0;
}

/* The leader of the process that has a pid; 0 when there is none. */
static __always_inline struct task_struct *find_leader(struct pid *pid)
{
	__u64 type = bpf_core_enum_value(enum pid_type, PIDTYPE_TGID);
	void *link = 0;

	bpf_probe_read_kernel(&link, sizeof(link),
			      (void *)pid + bpf_core_field_offset(struct pid, tasks) +
				      type * bpf_core_type_size(struct hlist_head));
	if (!link)
		return 0;
	return link - bpf_core_field_offset(struct task_struct, pid_links) -
	       type * bpf_core_type_size(struct hlist_node);
}

static __always_inline struct task_struct *find_process_now(__u32 pid, __u64 start_ticks)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pid *own = BPF_CORE_READ(task, thread_pid), *found;
	struct pid_namespace *ns = 0;
	void *upid;

	upid = (void *)own + bpf_core_field_offset(struct pid, numbers) +
	       (agent_level & 31) * bpf_core_type_size(struct upid);
	bpf_probe_read_kernel(&ns, sizeof(ns), upid + bpf_core_field_offset(struct upid, ns));
	found = find_pid(ns, pid);
	task = found ? find_leader(found) : 0;
	return task && BPF_CORE_READ(task, start_boottime) / tick_ns == start_ticks ? task : 0;
}

static __always_inline struct pid *group_of(struct signal_struct *signal)
{
	struct pid *group = 0;

	bpf_probe_read_kernel(&group, sizeof(group),
			      (void *)signal + bpf_core_field_offset(struct signal_struct, pids) +
				      bpf_core_enum_value(enum pid_type, PIDTYPE_PGID) *
					      sizeof(void *));
	return group;
}

static __always_inline __u32 kind_of(int type)
{
	if (type == (int)bpf_core_enum_value(enum pid_type, PIDTYPE_PID))
		return WAITS_FOR_PROCESS;
	if (type == (int)bpf_core_enum_value(enum pid_type, PIDTYPE_PGID))
		return WAITS_FOR_GROUP;
	return WAITS_FOR_ANY;
}

/* Reads one entry. False when it is none of a thread of that process. */
static __always_inline bool read_wait(struct wait_opts *opts, struct signal_struct *signal,
				      struct blocked_wait *wait)
{
	struct task_struct *thread = BPF_CORE_READ(opts, child_wait.private);
	struct pid *own, *wanted = BPF_CORE_READ(opts, wo_pid);
	unsigned int level;
	__u32 inum = 0;

	if (!thread || BPF_CORE_READ(thread, signal) != signal)
		return false;
	wait->kind = kind_of(BPF_CORE_READ(opts, wo_type));
	wait->flags = BPF_CORE_READ(opts, wo_flags);
	own = BPF_CORE_READ(thread, thread_pid);
	wait->thread = visible_number(own);
	wait->wanted = 0;
	level = BPF_CORE_READ(own, level);
	if (wait->kind == WAITS_FOR_ANY || !wanted)
		return true;
	if (wait->kind == WAITS_FOR_GROUP && wanted == group_of(signal)) /* waitpid(0) */
		return true;
	if (BPF_CORE_READ(wanted, level) >= level)
		wait->wanted = number_at(wanted, level, &inum);
	return true;
}

/* Walks the queue. Returns how many waits for exits are in it, or UNREADABLE. */
static __always_inline int read_queue(struct task_struct *leader, struct blocked_waits *waits)
{
	struct signal_struct *signal = BPF_CORE_READ(leader, signal);
	struct list_head *head, *at = 0;
	struct blocked_wait *wait;
	struct wait_opts *opts;
	__u32 found = 0;
	int i;

	head = (void *)signal + bpf_core_field_offset(struct signal_struct, wait_chldexit) +
	       bpf_core_field_offset(struct wait_queue_head, head);
	if (BPF_CORE_READ_INTO(&at, head, next))
		return UNREADABLE;
	for (i = 0; i < MAX_WAITS; i++) {
		if (at == head)
			return found;
		opts = (void *)at - bpf_core_field_offset(struct wait_queue_entry, entry) -
		       bpf_core_field_offset(struct wait_opts, child_wait);
		wait = &waits->waits[found & (MAX_WAITS - 1)];
		if (!read_wait(opts, signal, wait))
			return UNREADABLE;
		if (wait->flags & WEXITED)
			found++;
		if (BPF_CORE_READ_INTO(&at, at, next))
			return UNREADABLE;
	}
	return at == head ? (int)found : UNREADABLE;
}

#endif
