/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The types that the kernel and user space share. tracer/sources/core/wire.py mirrors
 * them, and tests/sources/core/test_wire.py compares the two through the object's BTF.
 *
 * Times are CLOCK_BOOTTIME nanoseconds. Padding is explicit. Pids are those of the
 * agent's pid namespace (0: not visible there) unless they are called host pids.
 */
#ifndef TRACER_H
#define TRACER_H

#define COMM_LEN 16
#define CGROUP_LEVELS 16    /* levels kept, counted from the root */
#define CGROUP_NAME_LEN 128 /* a systemd pod slice has 80, a container scope 84 */

/*
 * A process in the maps: its host pid, and its start time in units of 2^24 ns (17 ms).
 *
 * release_task() gives a pid back one RCU grace period before sched_process_free, so
 * two processes with one pid can be in the map at the same time; hash maps have no
 * compare-and-delete. User space knows start times only as /proc counts them, in ticks
 * of 10 ms: a tick touches at most two of these units, so two lookups find an entry.
 * A shift costs the hooks nothing. Dividing by the tick costs 3.3 ns more (measured on
 * a current AMD EPYC; old processors need 90 cycles), six times in a process' life, for
 * a key that is no more exact. Only clone3() with set_tid can give a pid out twice
 * within one unit; start_ns in the entry distinguishes those.
 */
#define START_SHIFT 24

struct process_key {
	__u32 pid;
	__u32 start; /* start_ns >> START_SHIFT; wraps after two years: start_ns still differs */
};

/* How the ancestry of a process begins in its pid namespace. */
enum origin_kind {
	ORIGIN_UNKNOWN = 0,
	ORIGIN_INIT = 1,  /* with pid 1 of the namespace */
	ORIGIN_SETNS = 2, /* with a process that joined it from outside: nsenter, exec */
};

/* Known since the fork. */
struct birth {
	__u64 forker_start_ns;
	__u32 forker_pid; /* 0: unknown */
	__u32 origin_pid;
	__u32 origin;     /* enum origin_kind */
	__u32 pad;
	char forker_comm[COMM_LEN];
};

/* What no longer changes in a dead process. */
struct facts {
	__u64 cgroup_id;        /* 0: only root cgroups */
	__u32 cgroup_hierarchy; /* 0: cgroup v2 */
	__u32 vpid;
	__u32 pid_namespace;
	__u32 uid;
	__u32 exit_status;      /* as wait(2) gives it */
	__u32 pad;
	char comm[COMM_LEN];
};

/*
 * What is kept of a process from its fork to its release. The programs run at the same
 * time on several processors, and Linux 5.10 has no fetching atomics in BPF: so each
 * group of fields has one writer, named here.
 *
 *   identity, birth   whoever adds the entry, before it is in the map
 *   waits             on_wait of the process' threads, atomically where they count;
 *                     on_free of its children adds to reaped*, atomically. on_exec sets
 *                     them back: it runs in the only thread that is left, and a child
 *                     freed at that moment counts before the exec or after it.
 *   exit              on_exit. Two threads that leave together may both find that
 *                     nothing lives: they write the same, but for exit_ns, and of the
 *                     deaths that they queue only the one with the final exit_ns counts.
 *   facts, known,     expire and zombies. User space runs both, from one thread. (Of a
 *   release_checks    death that no hook saw, zombies also notes the task.)
 *   gone              on_free; expire, where on_free does not come
 *
 * exit_ns is written last in its group. expire learns of it from a queue, whose lock
 * orders the two; zombies looks only at tasks in EXIT_ZOMBIE, which follows the exit
 * hook; on_free runs a grace period later.
 *
 * Why a reaping is never missed between a report and on_free: expire and zombies run
 * under rcu_read_lock(). They see exit_state == EXIT_ZOMBIE, set `known` and report, all
 * in one read-side section. release_task() first sets EXIT_DEAD, and on_free comes from
 * call_rcu() after it: so it runs after that section has ended, and sees `known`. For
 * the same reason the task they read cannot be freed under them.
 */
struct process {
	__u64 start_ns;
	__u32 pid;
	__u8 known;             /* reported to user space as dead */
	__u8 facts_read;        /* `facts` is filled */
	__u8 gone;              /* released; the entry is about to be removed */
	__u8 release_checks;    /* how often it was found released, and on_free had not come */
	struct birth birth;
	__u64 exec_ns;          /* of its newest exec; 0: none seen */
	__u64 last_wait_ns;     /* of any kind, as all of this group since exec_ns; 0: never */
	__u64 last_wait_any_ns; /* for any child; 0: never */
	__u64 reaped_late_ns;   /* sum over the late ones */
	__u32 waits_any;
	__u32 waits_specific;
	__u32 last_wait_pid;    /* whom the newest specific wait asked for */
	__u32 reaped;           /* children of it that were reaped */
	__u32 reaped_late;      /* those that had been dead for over a second */
	__u32 exit_parent_pid;  /* its parent when it died */
	struct process_key exit_parent; /* the same */
	__u64 task;             /* address of its leader's task_struct: read, never trusted */
	__u64 exit_ns;          /* 0: alive, or its death was not seen */
	struct facts facts;
};

/*
 * A zombie, as the task iterator and the ring buffer report it. The fields of a
 * snapshot's keys come first, in the order in which user space wants them.
 */
struct zombie {
	__u32 pid;
	__u32 tracer_pid;       /* 0: not traced */
	__u64 start_ticks;      /* start_ns as /proc counts */
	__u32 parent_pid;       /* now */
	__u32 exit_parent_pid;  /* 0: unknown */
	__u64 dead_since_ns;    /* exit_ns, else when it last ran; 0: unknown */
	__u64 start_ns;
	__u64 exit_ns;          /* 0: its death was not seen */
	struct birth birth;
	struct facts facts;
};

/* What a record in the ring buffer is; every record begins with a header. */
enum record_type {
	RECORD_ZOMBIE = 1,
	RECORD_GONE = 2,
	RECORD_YOUNG = 3,
};

struct record_header {
	__u32 type; /* enum record_type */
	__u32 pad;
};

/*
 * A process has been dead for the minimum age (RECORD_ZOMBIE), or for settle_ns
 * (RECORD_YOUNG): the latter is only saved, in case the agent ends before the minimum age.
 */
struct zombie_record {
	struct record_header header;
	struct zombie zombie;
};

/* A zombie that was reported is reaped. */
struct gone_record {
	struct record_header header;
	__u64 start_ns;
	__u64 gone_ns;
	__u32 pid;
	__u32 pad;
};

/* An entry of the queues in which deaths age. */
struct death {
	struct process_key key;
	__u64 exit_ns;
	__u64 due_ns; /* when to check it */
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

enum wait_kind {
	WAITS_FOR_ANY = 0,
	WAITS_FOR_PROCESS = 1,
	WAITS_FOR_GROUP = 2,
};

/* A thread that sleeps in a wait call. */
struct blocked_wait {
	__u32 kind;   /* enum wait_kind */
	__u32 flags;  /* WEXITED, __WNOTHREAD ...; wait4() adds WEXITED */
	__u32 wanted; /* the pid or group as the waiting thread numbers it; 0: any, its own group */
	__u32 thread; /* the one that waits */
};

#define MAX_WAITS 32 /* a power of two */

struct blocked_waits {
	struct blocked_wait waits[MAX_WAITS];
};

/* Per CPU; they only grow. */
struct counters {
	__u64 exits;      /* deaths of processes */
	__u64 forks_lost; /* no room at fork: the forker stays unknown */
	__u64 waits_lost; /* a process without an entry: its waits are not counted */
	__u64 map_full;   /* no entry for a dead process: only a snapshot finds its death or reaping */
	__u64 queue_full; /* no room in a queue: the same */
	__u64 ring_full;  /* no room in the ring buffer for a reaping: the same */
	__u64 releases_missed; /* on_free did not come; expire did its work, with a delay */
	__u64 names_lost; /* no room for the names of a cgroup: its path stays unknown */
};

#endif
