// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sees every process forked, dying, being reaped and waiting, and keeps the
 * state of it in the kernel, so that user space is asked for nothing but what
 * has stayed dead for longer than the minimum age.
 *
 * fork ──► processes[pid] ──► exit: how, when, in which cgroup ──► fresh queue
 *              │                                                     │ expire
 *              └──► free: removed, told if it was known     settled queue ──► ring
 *
 * One hash map holds all of it, keyed by pid and checked by start time: a pid
 * can be reused between release_task() and sched_process_free.
 */
#include "kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "tracer.h"

/* The kernel lets only GPL-compatible programs read its memory (NOTICE says more). */
char LICENSE[] SEC("license") = "GPL";

#define EXIT_DEAD 0x10        /* include/linux/sched.h */
#define EXIT_ZOMBIE 0x20
#define SIGNAL_GROUP_EXIT 0x4 /* include/linux/sched/signal.h */
#define NSEC_PER_MSEC 1000000ULL
#define PROC_PID_INIT_INO 0xEFFFFFFCU /* include/linux/proc_ns.h */
#define LATE_NS 1000000000ULL
#define RETRY_NS (100 * NSEC_PER_MSEC)
#define MAX_DEPTH 32          /* cgroups walked on the way up to the root */
/* Entries looked at in one run: the verifier walks through each, which takes it time. */
#define FRESH_BATCH 64
#define SETTLED_BATCH 16
#define IDLE_MS 0x7fffffff

/*
 * The object's BTF describes what a map or a variable is made of. These types
 * only pass through rings and queues, so they are named here, for the test that
 * compares them with Python's; libbpf makes no map of a section it does not know.
 */
struct {
	struct zombie zombie;
	struct gone gone;
	struct death death;
	enum origin_kind origin;
} btf_anchor SEC(".types");

/* Set before load. */
const volatile __u64 min_age_ns = 0;  /* younger ones are nobody's business yet */
const volatile __u64 settle_ns = 0;   /* after so long a death leaves `fresh` */
const volatile __u64 tick_ns = 1;     /* in which /proc counts start times */
const volatile __u64 watching = 0;    /* the hooks are attached: keep what a snapshot finds */

/*
 * The pid namespace of whoever loaded us, from init_pidns(): its depth and its
 * inode. Where nodes are containers themselves (kind, k3d), hostPID leads to the
 * node's namespace and not to the machine's.
 */
__u32 agent_level;
__u32 agent_namespace;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536); /* user space sets it before load */
	__type(key, __u32);
	__type(value, struct process);
} processes SEC(".maps");

/*
 * Deaths wait here until they have settled: nearly all are reaped within
 * milliseconds, and are dropped when their turn comes. What survives moves to
 * `settled`, which therefore holds zombies only, however long the minimum age.
 */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 65536);
	__uint(key_size, 0);
	__uint(value_size, sizeof(struct death));
} fresh SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 65536);
	__uint(key_size, 0);
	__uint(value_size, sizeof(struct death));
} settled SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/*
 * Names of cgroups by id, filled at the first death in each. They depend on
 * nobody's cgroup namespace, and they can be read where /proc/PID/cgroup says
 * "/" for a zombie on v1: only proc_cgroup_show() hides it there, the task
 * keeps its css_set until it is freed.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct cgroup_key);
	__type(value, struct cgroup_names);
} cgroups SEC(".maps");

/* Too large for the stack. Two: the exit hook can run in the middle of the iterator. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct cgroup_names);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* Keys of `processes` by user space's pid, where that is another. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u32);
} keys SEC(".maps");

#define COUNT(field)                                                          \
	do {                                                                  \
		__u32 zero_ = 0;                                              \
		struct counters *c_ = bpf_map_lookup_elem(&counters, &zero_); \
		if (c_)                                                       \
			c_->field++;                                          \
	} while (0)

/*
 * A field of a kernel struct. Directly is 14 ns faster, but for each pointer loaded
 * so the verifier searches the kernel's types by name, which takes it milliseconds
 * (type_is_rcu(), 6.18): it is for what every process pays, and not for the rest.
 */
#define FIELD(direct, pointer, field) \
	((direct) ? (pointer)->field : BPF_CORE_READ(pointer, field))

/* The number of a pid at one depth, and the namespace there. The depth must exist. */
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
static __always_inline void read_vpid(struct task_struct *task, __u32 *vpid, __u32 *inum,
				      bool direct)
{
	struct pid *pid = FIELD(direct, task, thread_pid);
	unsigned int level;

	if (!pid) /* detached: released already */
		return;
	level = FIELD(direct, pid, level);
	if (level) {
		*vpid = number_at(pid, level, inum);
	} else {
		*vpid = FIELD(direct, task, pid);
		*inum = PROC_PID_INIT_INO;
	}
}

/* A struct pid as user space counts; 0 when it cannot see it. */
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

/* The same of a thread-group leader, whose pid the host calls `tgid`. */
static __always_inline __u32 visible_pid(struct task_struct *leader, __u32 tgid)
{
	return agent_level ? visible_number(BPF_CORE_READ(leader, thread_pid)) : tgid;
}

static __always_inline void remember_key(__u32 pid, __u32 key)
{
	if (agent_level)
		bpf_map_update_elem(&keys, &pid, &key, BPF_ANY);
}

/* A v1 controller's cgroup of that task, if it is below the root. */
static __always_inline struct cgroup *controller_cgroup(struct css_set *set, int index,
							bool direct)
{
	struct cgroup_subsys_state *css = 0;
	struct cgroup *cgroup;

	if (direct)
		css = set->subsys[index];
	else
		bpf_core_read(&css, sizeof(css), &set->subsys[index]);
	if (!css)
		return 0;
	cgroup = FIELD(direct, css, cgroup);
	return cgroup && FIELD(direct, cgroup, level) > 0 ? cgroup : 0;
}

#define TRY_CONTROLLER(cgroup, set, id, direct)                                      \
	do {                                                                         \
		if (!(cgroup) && bpf_core_enum_value_exists(enum cgroup_subsys_id, id)) \
			(cgroup) = controller_cgroup(                                \
				set, bpf_core_enum_value(enum cgroup_subsys_id, id),  \
				direct);                                              \
	} while (0)

/*
 * The cgroup that says most: the v2 one, or where the runtime does not use
 * that hierarchy, a v1 controller's.
 */
static __always_inline struct cgroup *pick_cgroup(struct task_struct *task, bool direct)
{
	struct css_set *set = FIELD(direct, task, cgroups);
	struct cgroup *cgroup;

	if (!set)
		return 0;
	cgroup = FIELD(direct, set, dfl_cgrp);
	if (cgroup && FIELD(direct, cgroup, level) > 0)
		return cgroup;
	cgroup = 0;
	TRY_CONTROLLER(cgroup, set, pids_cgrp_id, direct);
	TRY_CONTROLLER(cgroup, set, memory_cgrp_id, direct);
	TRY_CONTROLLER(cgroup, set, cpu_cgrp_id, direct);
	return cgroup;
}

/*
 * Stores the names from the root down. The root's end is kept when the path is
 * deeper than CGROUP_LEVELS: what identifies a container stands there, and what
 * a tenant may create stands below.
 */
static __always_inline void remember_names(struct cgroup *cgroup, struct cgroup_key *key,
					   __u32 slot)
{
	struct cgroup_names *names = bpf_map_lookup_elem(&scratch, &slot);
	int level, i;

	if (!names)
		return;
	level = BPF_CORE_READ(cgroup, level);
	names->level = level;
	for (i = 0; i < MAX_DEPTH; i++) {
		if (level <= 0 || !cgroup)
			break;
		if (level <= CGROUP_LEVELS)
			bpf_probe_read_kernel_str(names->names[(level - 1) & (CGROUP_LEVELS - 1)],
						  CGROUP_NAME_LEN, BPF_CORE_READ(cgroup, kn, name));
		cgroup = BPF_CORE_READ(cgroup, self.parent, cgroup);
		level--;
	}
	if (level > 0) /* deeper than we walk: user space reads /proc instead */
		return;
	bpf_map_update_elem(&cgroups, key, names, BPF_ANY);
}

static __always_inline void read_cgroup(struct task_struct *task, __u64 *id, __u32 *hierarchy,
					__u32 slot, bool direct)
{
	struct cgroup *cgroup = pick_cgroup(task, direct);
	struct cgroup_key key = {};

	if (!cgroup)
		return;
	key.id = direct ? cgroup->kn->id : BPF_CORE_READ(cgroup, kn, id);
	key.hierarchy = direct ? cgroup->root->hierarchy_id
			       : BPF_CORE_READ(cgroup, root, hierarchy_id);
	*id = key.id;
	*hierarchy = key.hierarchy;
	if (!bpf_map_lookup_elem(&cgroups, &key))
		remember_names(cgroup, &key, slot);
}

/*
 * kernel_clone() fires this after copy_process(), before the child first runs,
 * so whatever the child does is seen with its forker known. /proc can never
 * tell who forked: it shows the parent, which CLONE_PARENT (runc) makes another,
 * and which changes when the parent dies.
 */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 key = child->pid, forker_key = parent->tgid, vpid = 0, inum = 0;
	unsigned int forker_level, child_level;
	struct process entry = {};
	struct process *forker;

	if (child->pid != child->tgid) /* a thread: it dies with its process */
		return 0;

	entry.pid = visible_pid(child, key);
	if (!entry.pid)
		return 0;
	entry.start_ns = child->start_boottime;
	entry.first_seen_ns = entry.start_ns;
	entry.forker_pid = visible_pid(parent->group_leader, forker_key);
	entry.forker_start_ns = parent->group_leader->start_boottime;
	bpf_probe_read_kernel(entry.forker_comm, COMM_LEN, parent->comm);

	/* A process can only go down into a descendant of its own pid namespace. */
	forker_level = parent->thread_pid->level;
	child_level = child->thread_pid->level;
	if (child_level > forker_level) {
		read_vpid(child, &vpid, &inum, false);
		entry.origin = vpid == 1 ? ORIGIN_INIT : ORIGIN_SETNS;
		entry.origin_pid = entry.pid;
	} else if (child_level > 0) {
		forker = bpf_map_lookup_elem(&processes, &forker_key);
		if (forker && forker->start_ns == entry.forker_start_ns) {
			entry.origin = forker->origin;
			entry.origin_pid = forker->origin_pid;
		}
		if (!entry.origin) { /* older than us: is it the init itself? */
			read_vpid(parent->group_leader, &vpid, &inum, false);
			if (vpid == 1) {
				entry.origin = ORIGIN_INIT;
				entry.origin_pid = entry.forker_pid;
			}
		}
	}

	/* BPF_ANY: an entry under this pid is of one whose free hook is still to come. */
	if (bpf_map_update_elem(&processes, &key, &entry, BPF_ANY))
		COUNT(forks_lost);
	remember_key(entry.pid, key);
	return 0;
}

/*
 * do_exit() decrements signal->live and then fires this, for every thread. The
 * process is dead when nothing of it lives; that thread need not be the leader,
 * and two leaving together both see 0, so the hook does its work once. Name,
 * identity and exit code are the leader's: wait_task_zombie() reports those.
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader, *parent;
	struct signal_struct *signal = task->signal;
	__u32 key = task->tgid;
	struct death death = {};
	struct process *entry;
	__u64 start_ns;

	if (signal->live.counter != 0)
		return 0;

	start_ns = leader->start_boottime;
	death.exit_ns = bpf_ktime_get_boot_ns();
	death.key = key;

	entry = bpf_map_lookup_elem(&processes, &key);
	if (!entry || entry->start_ns != start_ns) {
		struct process unforked = {};

		unforked.pid = visible_pid(leader, key);
		if (!unforked.pid)
			return 0;
		unforked.start_ns = start_ns;
		unforked.first_seen_ns = death.exit_ns;
		bpf_map_update_elem(&processes, &key, &unforked, BPF_ANY);
		entry = bpf_map_lookup_elem(&processes, &key);
		if (!entry) {
			COUNT(exits);
			COUNT(map_full);
			return 0;
		}
		remember_key(unforked.pid, key);
	}
	if (entry->exit_ns)
		return 0;
	COUNT(exits);

	parent = leader->real_parent;
	entry->exit_parent_key = parent->tgid;
	entry->exit_parent_pid = visible_pid(parent->group_leader, parent->tgid);
	entry->exit_parent_start_ns = parent->group_leader->start_boottime;
	entry->uid = leader->real_cred->uid.val;
	entry->exit_status = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code
							      : leader->exit_code;
	bpf_probe_read_kernel(entry->comm, COMM_LEN, leader->comm);
	read_vpid(leader, &entry->vpid, &entry->pid_namespace, true);
	read_cgroup(leader, &entry->cgroup_id, &entry->cgroup_hierarchy, 0, true);
	entry->task = (__u64)leader;
	entry->flags |= PROCESS_READ;
	entry->exit_ns = death.exit_ns;

	death.due_ns = death.exit_ns + settle_ns;
	if (bpf_map_push_elem(&fresh, &death, 0))
		COUNT(queue_full);
	return 0;
}

static __always_inline void report_gone(__u32 pid, __u64 start_ns, __u64 now)
{
	struct gone gone = {};

	gone.start_ns = start_ns;
	gone.gone_ns = now;
	gone.pid = pid;
	if (bpf_ringbuf_output(&events, &gone, sizeof(gone), 0))
		COUNT(ring_full);
}

/*
 * delayed_put_task_struct() fires this for every task that release_task() took
 * away, whoever reaped it and however (wait4, waitid, io_uring, auto-reap, the
 * parent's death), one RCU grace period later and in softirq context: the
 * current task means nothing here.
 */
SEC("tp_btf/sched_process_free")
int BPF_PROG(on_free, struct task_struct *task)
{
	__u32 key = task->pid, parent_key;
	struct process *entry, *parent;
	__u64 now, start_ns, dead_ns;

	/*
	 * Threads; and after an exec by a non-leader thread the old leader, which
	 * de_thread() gave the thread's pid: the process lives on.
	 */
	if (task->pid != task->tgid)
		return 0;
	entry = bpf_map_lookup_elem(&processes, &key);
	if (!entry)
		return 0;
	start_ns = task->start_boottime;
	now = bpf_ktime_get_boot_ns();
	if (entry->start_ns != start_ns) {
		/*
		 * The pid is taken again already: whether this one was known is lost,
		 * and so is its number in any namespace but the host's.
		 */
		if (!agent_level)
			report_gone(key, start_ns, now);
		return 0;
	}

	if (entry->exit_ns) {
		parent_key = entry->exit_parent_key;
		parent = bpf_map_lookup_elem(&processes, &parent_key);
		if (parent && parent->start_ns == entry->exit_parent_start_ns) {
			dead_ns = now - entry->exit_ns;
			__sync_fetch_and_add(&parent->reaped, 1);
			if (dead_ns > LATE_NS) {
				__sync_fetch_and_add(&parent->reaped_late, 1);
				__sync_fetch_and_add(&parent->reaped_late_ns, dead_ns);
			}
		}
	}
	if (entry->flags & PROCESS_KNOWN)
		report_gone(entry->pid, start_ns, now);
	/* Deleting can fail with EBUSY in softirq: the flag keeps expire honest. */
	entry->flags |= PROCESS_GONE;
	bpf_map_delete_elem(&processes, &key);
	return 0;
}

/*
 * do_wait() fires this at its entry, with the host's view of whom the caller
 * waits for; NULL for any child (and for a pid that is no longer there). A raw
 * tracepoint, because some verifiers take the argument of a tp_btf program for
 * never NULL and drop the branch that handles it.
 */
SEC("raw_tp/sched_process_wait")
int on_wait(struct bpf_raw_tracepoint_args *ctx)
{
	struct pid *wanted = (struct pid *)ctx->args[0];
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 now = bpf_ktime_get_boot_ns();
	struct process *entry;

	entry = bpf_map_lookup_elem(&processes, &tgid);
	if (!entry) {
		struct task_struct *task = (void *)bpf_get_current_task();
		struct process unforked = {};

		task = BPF_CORE_READ(task, group_leader);
		unforked.pid = visible_pid(task, tgid);
		if (!unforked.pid)
			return 0;
		unforked.start_ns = BPF_CORE_READ(task, start_boottime);
		unforked.first_seen_ns = now;
		bpf_map_update_elem(&processes, &tgid, &unforked, BPF_NOEXIST);
		entry = bpf_map_lookup_elem(&processes, &tgid);
		if (!entry) {
			COUNT(forks_lost);
			return 0;
		}
		remember_key(unforked.pid, tgid);
	}
	entry->last_wait_ns = now;
	if (wanted) {
		entry->last_wait_pid = visible_number(wanted);
		__sync_fetch_and_add(&entry->waits_specific, 1);
	} else {
		entry->last_wait_any_ns = now;
		__sync_fetch_and_add(&entry->waits_any, 1);
	}
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
	__u32 key = task->tgid;
	struct process *entry = bpf_map_lookup_elem(&processes, &key);

	if (!entry)
		return 0;
	entry->exec_ns = bpf_ktime_get_boot_ns();
	entry->last_wait_ns = entry->last_wait_any_ns = entry->reaped_late_ns = 0;
	entry->waits_any = entry->waits_specific = entry->last_wait_pid = 0;
	entry->reaped = entry->reaped_late = 0;
	return 0;
}

static __always_inline void copy_history(struct zombie *zombie, struct process *entry)
{
	zombie->exit_ns = entry->exit_ns;
	zombie->exit_parent_pid = entry->exit_parent_pid;
	zombie->forker_pid = entry->forker_pid;
	zombie->forker_start_ns = entry->forker_start_ns;
	zombie->origin = entry->origin;
	zombie->origin_pid = entry->origin_pid;
	__builtin_memcpy(zombie->forker_comm, entry->forker_comm, COMM_LEN);
}

/* What never changes in a dead process, and is read once. */
static __always_inline void copy_facts(struct zombie *zombie, struct process *entry)
{
	zombie->cgroup_id = entry->cgroup_id;
	zombie->cgroup_hierarchy = entry->cgroup_hierarchy;
	zombie->vpid = entry->vpid;
	zombie->pid_namespace = entry->pid_namespace;
	zombie->uid = entry->uid;
	zombie->exit_status = entry->exit_status;
	__builtin_memcpy(zombie->comm, entry->comm, COMM_LEN);
}

static __always_inline void keep_facts(struct process *entry, struct zombie *zombie)
{
	entry->cgroup_id = zombie->cgroup_id;
	entry->cgroup_hierarchy = zombie->cgroup_hierarchy;
	entry->vpid = zombie->vpid;
	entry->pid_namespace = zombie->pid_namespace;
	entry->uid = zombie->uid;
	entry->exit_status = zombie->exit_status;
	__builtin_memcpy(entry->comm, zombie->comm, COMM_LEN);
	entry->flags |= PROCESS_READ;
}

static __always_inline long report_zombie(struct process *entry)
{
	struct task_struct *task = (void *)entry->task, *parent;
	struct zombie zombie = {};

	copy_history(&zombie, entry);
	copy_facts(&zombie, entry);
	zombie.dead_since_ns = entry->exit_ns;
	zombie.start_ns = entry->start_ns;
	zombie.start_ticks = entry->start_ns / tick_ns;
	zombie.pid = entry->pid;
	parent = BPF_CORE_READ(task, real_parent, group_leader);
	zombie.parent_pid = visible_pid(parent, BPF_CORE_READ(parent, tgid));
	if (BPF_CORE_READ(task, ptrace)) {
		parent = BPF_CORE_READ(task, parent, group_leader);
		zombie.tracer_pid = visible_pid(parent, BPF_CORE_READ(parent, tgid));
	}
	/* User space is in the middle of asking: it needs no wake-up. */
	return bpf_ringbuf_output(&events, &zombie, sizeof(zombie), BPF_RB_NO_WAKEUP);
}

static __always_inline struct process *still_dead(struct death *death)
{
	__u32 key = death->key;
	struct process *entry = bpf_map_lookup_elem(&processes, &key);

	if (!entry || entry->exit_ns != death->exit_ns || entry->flags & PROCESS_GONE)
		return 0;
	return entry;
}

enum stage { STAGE_DYING, STAGE_ZOMBIE, STAGE_RELEASED };

/*
 * How far a death has come. Between the exit hook and exit_notify() a process gives
 * back its memory, which takes a large one seconds (from 6.16 on the hook comes
 * before exit_mm()); and between release_task() and the free hook lies an RCU grace
 * period. Freed memory may be read here: wait_task_zombie() and exit_notify() leave
 * EXIT_DEAD behind before a release, and another task has another start time.
 */
static __always_inline enum stage stage_of(struct process *entry, __u32 key)
{
	struct task_struct *task = (void *)entry->task;
	int state;

	if (BPF_CORE_READ(task, start_boottime) != entry->start_ns ||
	    BPF_CORE_READ(task, pid) != (int)key)
		return STAGE_RELEASED;
	state = BPF_CORE_READ(task, exit_state);
	if (state == EXIT_ZOMBIE)
		return STAGE_ZOMBIE;
	return state == EXIT_DEAD ? STAGE_RELEASED : STAGE_DYING;
}

static __always_inline __u32 ms_until(__u64 due, __u64 now)
{
	__u64 ms = due > now ? (due - now) / NSEC_PER_MSEC + 1 : 1;

	return ms < IDLE_MS ? ms : IDLE_MS;
}

/*
 * Never attached: user space runs it (BPF_PROG_TEST_RUN, Linux 5.10). Returns 0
 * when there is more to do at once, else in how many milliseconds there may be.
 */
SEC("raw_tp")
int expire(void *ctx)
{
	__u32 fresh_ms = IDLE_MS, settled_ms = IDLE_MS;
	__u64 now = bpf_ktime_get_boot_ns();
	struct death death = {};
	struct process *entry;
	enum stage stage;
	int i;

	for (i = 0; i < FRESH_BATCH; i++) {
		if (bpf_map_peek_elem(&fresh, &death))
			break;
		if (now < death.due_ns) {
			/* It matters only once it reaches the minimum age. */
			fresh_ms = ms_until(death.exit_ns + min_age_ns, now);
			break;
		}
		bpf_map_pop_elem(&fresh, &death);
		death.due_ns = death.exit_ns + min_age_ns;
		if (still_dead(&death) && bpf_map_push_elem(&settled, &death, 0))
			COUNT(queue_full);
	}
	if (i == FRESH_BATCH)
		fresh_ms = 0;

	for (i = 0; i < SETTLED_BATCH; i++) {
		if (bpf_map_peek_elem(&settled, &death))
			break;
		if (now < death.due_ns) {
			settled_ms = ms_until(death.due_ns, now);
			break;
		}
		entry = still_dead(&death);
		stage = entry ? stage_of(entry, death.key) : STAGE_RELEASED;
		if (stage == STAGE_ZOMBIE && !(entry->flags & PROCESS_KNOWN)) {
			/*
			 * Known before it is told, so that a reaping in between is told
			 * too; "gone" of one never heard of means nothing to user space.
			 */
			entry->flags |= PROCESS_KNOWN;
			if (report_zombie(entry)) {
				entry->flags &= ~PROCESS_KNOWN;
				settled_ms = 1; /* the ring is full; nothing is lost, come again */
				break;
			}
		}
		bpf_map_pop_elem(&settled, &death);
		death.due_ns = now + RETRY_NS;
		if (stage == STAGE_DYING && bpf_map_push_elem(&settled, &death, 0))
			COUNT(queue_full);
	}
	if (i == SETTLED_BATCH)
		settled_ms = 0;
	return fresh_ms < settled_ms ? fresh_ms : settled_ms;
}

/*
 * When a zombie that nobody saw die last ran, which is when it died: a dead
 * leader is never scheduled again. In the scheduler's clock, which drifts from
 * the boot clock, so the distance to the reader's own last arrival is taken;
 * that makes it an hour that is certainly not too early by more than a slice.
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

/* Never attached: run once by the agent, to learn where it lives. */
SEC("raw_tp")
int init_pidns(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 inum = 0;

	agent_level = BPF_CORE_READ(pid, level);
	number_at(pid, agent_level, &inum);
	agent_namespace = inum;
	return 0;
}

/*
 * The snapshot: every real zombie of the minimum age. A leader in state Z whose
 * other threads live is no zombie: delay_group_leader() keeps wait() from seeing
 * it. What is found becomes known, so that its reaping will be told, also when
 * it is older than us. Younger ones are in the queues and come by themselves.
 */
SEC("iter/task")
int zombies(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;
	struct zombie zombie = {};
	struct process *entry;
	__u32 key;
	__u64 now;

	if (!task || task->exit_state != EXIT_ZOMBIE || task->pid != task->tgid ||
	    task->signal->nr_threads != 1)
		return 0;

	key = task->pid;
	now = bpf_ktime_get_boot_ns();
	entry = bpf_map_lookup_elem(&processes, &key);
	if (entry && entry->start_ns != task->start_boottime)
		entry = 0;
	if (entry && entry->exit_ns && now < entry->exit_ns + min_age_ns)
		return 0;

	zombie.pid = visible_pid(task, key);
	if (!zombie.pid)
		return 0;
	zombie.start_ns = task->start_boottime;
	zombie.start_ticks = zombie.start_ns / tick_ns;
	zombie.dead_since_ns = entry && entry->exit_ns ? entry->exit_ns : last_ran(task, now);
	zombie.parent_pid =
		visible_pid(task->real_parent->group_leader, task->real_parent->tgid);
	if (task->ptrace)
		zombie.tracer_pid =
			visible_pid(task->parent->group_leader, task->parent->tgid);
	if (entry && entry->flags & PROCESS_READ) {
		copy_facts(&zombie, entry);
	} else {
		zombie.uid = task->real_cred->uid.val;
		zombie.exit_status = task->signal->flags & SIGNAL_GROUP_EXIT
					     ? task->signal->group_exit_code
					     : task->exit_code;
		bpf_probe_read_kernel(zombie.comm, COMM_LEN, task->comm);
		read_vpid(task, &zombie.vpid, &zombie.pid_namespace, false);
		read_cgroup(task, &zombie.cgroup_id, &zombie.cgroup_hierarchy, 1, false);
		if (entry)
			keep_facts(entry, &zombie);
	}

	if (entry) {
		entry->flags |= PROCESS_KNOWN;
		copy_history(&zombie, entry);
	} else if (watching) {
		struct process adopted = {};

		adopted.pid = zombie.pid;
		adopted.start_ns = zombie.start_ns;
		adopted.first_seen_ns = now;
		keep_facts(&adopted, &zombie);
		adopted.flags |= PROCESS_KNOWN;
		/* No room: a later snapshot will find it gone. */
		bpf_map_update_elem(&processes, &key, &adopted, BPF_ANY);
		remember_key(adopted.pid, key);
	}
	bpf_seq_write(seq, &zombie, sizeof(zombie));
	return 0;
}
