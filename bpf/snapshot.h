/* SPDX-License-Identifier: GPL-2.0-only */
/* Zombies from the task iterator: snapshots, and looks that change nothing. */
#ifndef TRACER_SNAPSHOT_H
#define TRACER_SNAPSHOT_H

/*
 * When a zombie whose death was not seen ran last, which is when it died: a dead
 * leader is never scheduled again. sched_info has the scheduler's clock, which drifts
 * from the boot clock: so the distance to the reader's own last arrival is taken. The
 * result is too early by one time slice at most.
 */
static __always_inline __u64 last_ran(struct task_struct *task, __u64 now)
{
	struct task_struct *reader = (void *)bpf_get_current_task();
	__u64 arrived, reader_arrived;

	if (!bpf_core_field_exists(task->sched_info)) /* without CONFIG_SCHED_INFO */
		return 0;
	arrived = BPF_CORE_READ(task, sched_info.last_arrival);
	reader_arrived = BPF_CORE_READ(reader, sched_info.last_arrival);
	if (!arrived || reader_arrived < arrived || reader_arrived - arrived > now)
		return 0;
	return now - (reader_arrived - arrived);
}

/*
 * A leader in EXIT_ZOMBIE whose other threads live is not a zombie: delay_group_leader()
 * keeps wait() from seeing it.
 */
static __always_inline bool is_zombie(struct task_struct *task)
{
	return task->exit_state == EXIT_ZOMBIE && task->pid == task->tgid &&
	       task->signal->nr_threads == 1;
}

/* Adds an entry for a zombie that has none, so that its reaping will be reported. */
static __always_inline void adopt(struct zombie *zombie, struct process_key *key,
				  struct task_struct *task)
{
	struct process adopted = {};

	adopted.pid = zombie->pid;
	adopted.start_ns = zombie->start_ns;
	adopted.facts = zombie->facts;
	adopted.facts_read = 1;
	adopted.known = 1;
	adopted.task = (__u64)task;
	if (bpf_map_update_elem(&processes, key, &adopted, BPF_ANY))
		COUNT(map_full);
	else
		remember_host_pid(zombie->pid, zombie->start_ns, key->pid);
}

/* Fills in all but the facts. False when the process is not visible to user space. */
static __always_inline bool describe(struct zombie *zombie, struct task_struct *task,
				     struct process *entry, __u64 now)
{
	zombie->start_ns = task->start_boottime;
	zombie->pid = visible_pid(task, task->pid);
	if (!zombie->pid)
		return false;
	zombie->start_ticks = zombie->start_ns / tick_ns;
	zombie->parent_pid =
		visible_pid(task->real_parent->group_leader, task->real_parent->tgid);
	if (task->ptrace)
		zombie->tracer_pid = visible_pid(task->parent->group_leader, task->parent->tgid);
	if (entry)
		copy_history(zombie, entry);
	zombie->dead_since_ns = zombie->exit_ns ? zombie->exit_ns : last_ran(task, now);
	return true;
}

/* The entry of a zombie; 0 when there is none. */
static __always_inline struct process *entry_of(struct task_struct *task, struct process_key *key)
{
	*key = process_key(task->pid, task->start_boottime);
	return find_process(key, task->start_boottime);
}

static __always_inline void report_to_snapshot(struct seq_file *seq, struct task_struct *task)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct zombie zombie = {};
	struct process_key key;
	struct process *entry = entry_of(task, &key);

	/* Younger ones are in the queues and come by themselves; known ones were younger than
	 * a minimum age that was raised since. */
	if (entry && entry->exit_ns && !entry->known && now < entry->exit_ns + min_age_ns)
		return;
	if (!describe(&zombie, task, entry, now))
		return;
	if (entry && entry->facts_read) {
		zombie.facts = entry->facts;
	} else {
		read_facts(task, &zombie.facts, true, USER_ENGINE);
		if (entry) {
			entry->facts = zombie.facts;
			entry->facts_read = 1;
		}
	}

	/* With no room left in the buffer, the kernel runs us for this task again. */
	if (bpf_seq_write(seq, &zombie, sizeof(zombie)))
		return;
	if (entry && entry->known)
		return;
	if (entry)
		entry->known = 1;
	else
		adopt(&zombie, &key, task);
	if (!zombie.exit_ns) { /* it is in none of the queues */
		struct death death = { .key = key };

		if (entry)
			entry->task = (__u64)task;
		watch_release(&death, now);
	}
}

static __always_inline void report_to_look(struct seq_file *seq, struct task_struct *task)
{
	struct zombie zombie = {};
	struct process_key key;
	struct process *entry = entry_of(task, &key);

	if (!describe(&zombie, task, entry, bpf_ktime_get_boot_ns()))
		return;
	read_facts(task, &zombie.facts, true, USER_LOOK);
	bpf_seq_write(seq, &zombie, sizeof(zombie));
}

#endif
