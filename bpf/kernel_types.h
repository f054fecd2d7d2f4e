/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few types internal to the kernel that the programs read, declared by hand; those
 * of its user-space interface come from the system's headers.
 *
 * Only names and types matter here: preserve_access_index makes the compiler
 * record each access, and libbpf rewrites the offsets against the BTF of the
 * kernel that runs. So building needs neither a BTF dump nor kernel headers.
 */
#ifndef TRACER_KERNEL_TYPES_H
#define TRACER_KERNEL_TYPES_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#define CORE __attribute__((preserve_access_index))

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__u32 val;
} kuid_t;

struct kernfs_node {
	__u64 id;
	const char *name;
} CORE;

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
} CORE;

struct cgroup_root {
	int hierarchy_id;
} CORE;

struct cgroup {
	struct cgroup_subsys_state self;
	int level;
	struct kernfs_node *kn;
	struct cgroup_root *root;
} CORE;

/* The numbers depend on the kernel's configuration; CO-RE relocates them by name. */
enum cgroup_subsys_id {
	cpu_cgrp_id = 1,
	memory_cgrp_id = 4,
	pids_cgrp_id = 11,
};

struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
} CORE;

struct ns_common {
	unsigned int inum;
} CORE;

struct list_head {
	struct list_head *next;
} CORE;

struct hlist_node {
	struct hlist_node *next;
} CORE;

struct hlist_head {
	struct hlist_node *first;
} CORE;

struct xa_node {
	unsigned char shift;
	void *slots[64];
} CORE;

struct xarray {
	void *xa_head;
} CORE;

struct idr {
	struct xarray idr_rt;
	unsigned int idr_base;
} CORE;

struct pid_namespace {
	struct idr idr;
	struct ns_common ns;
} CORE;

enum pid_type {
	PIDTYPE_PID,
	PIDTYPE_TGID,
	PIDTYPE_PGID,
	PIDTYPE_SID,
	PIDTYPE_MAX,
};

struct upid {
	int nr;
	struct pid_namespace *ns;
} CORE;

struct pid {
	unsigned int level;
	struct hlist_head tasks[PIDTYPE_MAX];
	struct upid numbers[1];
} CORE;

struct cred {
	kuid_t uid;
} CORE;

struct wait_queue_entry {
	void *private;
	struct list_head entry;
} CORE;

struct wait_queue_head {
	struct list_head head;
} CORE;

/* kernel/exit.c, from 6.7 on kernel/exit.h */
struct wait_opts {
	enum pid_type wo_type;
	int wo_flags;
	struct pid *wo_pid;
	struct wait_queue_entry child_wait;
} CORE;

struct signal_struct {
	struct wait_queue_head wait_chldexit;
	struct pid *pids[PIDTYPE_MAX];
	atomic_t live;
	int nr_threads;
	int group_exit_code;
	unsigned int flags;
} CORE;

struct sched_info {
	unsigned long long last_arrival;
} CORE;

struct task_struct {
	int exit_state;
	int exit_code;
	int pid;
	int tgid;
	unsigned int ptrace;
	__u64 start_boottime;
	struct task_struct *real_parent;
	struct task_struct *parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct hlist_node pid_links[PIDTYPE_MAX];
	const struct cred *real_cred;
	struct signal_struct *signal;
	struct css_set *cgroups;
	struct sched_info sched_info;
	char comm[16];
} CORE;

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} CORE;

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} CORE;

#endif
