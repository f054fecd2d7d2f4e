/* SPDX-License-Identifier: GPL-2.0-only */
/* Pids as the agent's pid namespace numbers them, and as a process' own does. */
#ifndef TRACER_PIDNS_H
#define TRACER_PIDNS_H

#define PROC_PID_INIT_INO 0xEFFFFFFCU /* include/linux/proc_ns.h */

/* The number of a pid at one level, and the namespace there. The level must exist. */
static __always_inline __u32 number_at(struct pid *pid, unsigned int level, __u32 *inum)
{
	struct pid_namespace *ns = 0;
	__u32 number = 0;
	void *upid;

	upid = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
	       (level & 31) * bpf_core_type_size(struct upid);
	bpf_probe_read_kernel(&number, sizeof(number),
			      upid + bpf_core_field_offset(struct upid, nr));
	bpf_probe_read_kernel(&ns, sizeof(ns), upid + bpf_core_field_offset(struct upid, ns));
	*inum = BPF_CORE_READ(ns, ns.inum);
	return number;
}

/*
 * The number of a task in its own pid namespace, and that namespace. At the host's
 * own level, where most processes are, nothing needs to be read for it.
 */
static __always_inline void read_vpid(struct task_struct *task, __u32 *vpid, __u32 *inum)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	unsigned int level;

	if (!pid) /* detached: released already */
		return;
	level = BPF_CORE_READ(pid, level);
	if (level) {
		*vpid = number_at(pid, level, inum);
	} else {
		*vpid = BPF_CORE_READ(task, pid);
		*inum = PROC_PID_INIT_INO;
	}
}

/* A struct pid as the agent's namespace numbers it; 0 when it is not visible there. */
static __always_inline __u32 visible_number(struct pid *pid)
{
	__u32 inum = 0, number;

	if (!agent_level)
		return BPF_CORE_READ(pid, numbers[0].nr);
	if (!pid || BPF_CORE_READ(pid, level) < agent_level)
		return 0;
	number = number_at(pid, agent_level, &inum);
	return inum == agent_namespace ? number : 0;
}

/* The same of a thread-group leader, whose host pid is `tgid`. */
static __always_inline __u32 visible_pid(struct task_struct *leader, __u32 tgid)
{
	return agent_level ? visible_number(BPF_CORE_READ(leader, thread_pid)) : tgid;
}

static __always_inline struct process_key process_key(__u32 pid, __u64 start_ns)
{
	struct process_key key = { .pid = pid, .start = start_ns >> START_SHIFT };

	return key;
}

/* Lets user space find the entry of a process whose host pid it does not know. */
static __always_inline void remember_host_pid(__u32 pid, __u64 start_ns, __u32 host_pid)
{
	struct process_key key = process_key(pid, start_ns);

	if (agent_level && bpf_map_update_elem(&host_pids, &key, &host_pid, BPF_ANY))
		COUNT(waits_lost);
}

static __always_inline void forget_host_pid(__u32 pid, __u64 start_ns)
{
	struct process_key key = process_key(pid, start_ns);

	if (agent_level)
		bpf_map_delete_elem(&host_pids, &key);
}

/* Sets agent_level and agent_namespace to those of the calling process. */
static __always_inline void find_own_namespace(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 inum = 0;

	agent_level = BPF_CORE_READ(pid, level);
	number_at(pid, agent_level, &inum);
	agent_namespace = inum;
}

#endif
