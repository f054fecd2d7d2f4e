/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What crosses between the kernel and Python. tracer/sources/core/wire.py mirrors
 * these, and tests/test_wire.py compares the two through the object's BTF.
 * Times are CLOCK_BOOTTIME nanoseconds. Padding is explicit.
 */
#ifndef TRACER_H
#define TRACER_H

#define COMM_LEN 16
#define CGROUP_LEVELS 16    /* levels kept, counted from the root */
#define CGROUP_NAME_LEN 128 /* a systemd pod slice has 80, a container scope 84 */

/* How the line of forks that led to a process began in its pid namespace. */
enum origin_kind {
	ORIGIN_UNKNOWN = 0,
	ORIGIN_INIT = 1,    /* with the pid 1 of the namespace */
	ORIGIN_SETNS = 2, /* with one that came in from outside: nsenter, exec */
};

enum process_flags {
	PROCESS_KNOWN = 1, /* user space was told that it is dead */
	PROCESS_GONE = 2,  /* reaped; the entry is about to be removed */
	PROCESS_READ = 4,  /* dead, and its facts are in the entry */
};

/*
 * All that is kept of a process, from its fork to its release. Pids are those of
 * user space's pid namespace (0: not visible there) unless they are called keys.
 */
struct process {
	__u64 start_ns;
	__u64 exit_ns;          /* 0: alive, or nobody saw it die */
	__u64 forker_start_ns;
	__u64 exit_parent_start_ns;
	__u64 cgroup_id;        /* 0: none that says anything */
	__u64 last_wait_ns;     /* of any kind; 0: never */
	__u64 last_wait_any_ns; /* for any child; 0: never */
	__u64 first_seen_ns;    /* when this entry was made */
	__u64 reaped_late_ns;   /* sum over the late ones */
	__u64 exec_ns;          /* of its newest exec; 0: none seen */
	__u64 task;             /* address of its leader: looked at, never trusted */
	__u32 waits_any;        /* this and the next five: since exec_ns */
	__u32 waits_specific;
	__u32 last_wait_pid;    /* whom the newest specific wait asked for */
	__u32 reaped;           /* children of it that were reaped */
	__u32 reaped_late;      /* those that had been dead for over a second */
	__u32 forker_pid;       /* 0: unknown */
	__u32 exit_parent_pid;
	__u32 origin_pid;
	__u32 origin;           /* enum origin_kind */
	__u32 flags;            /* enum process_flags */
	__u32 cgroup_hierarchy; /* 0: the v2 one */
	__u32 vpid;
	__u32 pid_namespace;
	__u32 uid;
	__u32 exit_status;      /* as wait(2) gives it */
	__u32 pid;              /* as user space counts; the map's key is the host's */
	__u32 exit_parent_key;  /* the same process as exit_parent_pid, the host's number */
	__u32 pad;
	char comm[COMM_LEN];
	char forker_comm[COMM_LEN];
};

/*
 * A zombie, as told to user space: one layout for the iterator and the ring buffer.
 * What tells one from another stands first, in the order of user space's keys.
 */
struct zombie {
	__u32 pid;
	__u32 tracer_pid;       /* 0: nobody */
	__u64 start_ticks;      /* start_ns as /proc counts */
	__u32 parent_pid;       /* now */
	__u32 exit_parent_pid;  /* 0: unknown */
	__u64 dead_since_ns;    /* exit_ns, else when it last ran; 0: unknown */
	__u64 start_ns;
	__u64 exit_ns;          /* 0: nobody saw it die */
	__u64 forker_start_ns;
	__u64 cgroup_id;
	__u32 cgroup_hierarchy;
	__u32 forker_pid;       /* 0: unknown */
	__u32 origin_pid;
	__u32 origin;
	__u32 vpid;
	__u32 pid_namespace;
	__u32 uid;
	__u32 exit_status;
	char comm[COMM_LEN];
	char forker_comm[COMM_LEN];
};

/* A zombie that user space knows of was reaped. */
struct gone {
	__u64 start_ns;
	__u64 gone_ns;
	__u32 pid;
	__u32 pad;
};

/* An entry of the queues in which deaths age. */
struct death {
	__u64 exit_ns;
	__u64 due_ns;           /* when it is to be looked at again */
	__u32 key;
	__u32 pad;
};

struct cgroup_key {
	__u64 id;
	__u32 hierarchy;
	__u32 pad;
};

/* Names from the root down; a deeper cgroup has level > CGROUP_LEVELS. */
struct cgroup_names {
	__u32 level;
	__u32 pad;
	char names[CGROUP_LEVELS][CGROUP_NAME_LEN];
};

/* Per CPU; only ever grow. */
struct counters {
	__u64 exits;      /* deaths of processes */
	__u64 forks_lost; /* no room at fork: who forked it stays unknown */
	__u64 map_full;   /* no room at exit: a death that only a snapshot can find */
	__u64 queue_full; /* the same, for want of room in a queue */
	__u64 ring_full;  /* an event that found no room */
};

#endif
