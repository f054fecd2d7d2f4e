/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The cgroup of a dead process and its path. /proc/PID/cgroup says "/" for a zombie on
 * v1, but only proc_cgroup_show() hides it: the task keeps its css_set, and that its
 * cgroups, until cgroup_free(). It also says what depends on the reader's cgroup
 * namespace; this does not.
 */
#ifndef TRACER_CGROUP_H
#define TRACER_CGROUP_H

#define MAX_DEPTH 32 /* cgroups walked on the way up to the root */

/* A v1 controller's cgroup of that task, if it is below the root. */
static __always_inline struct cgroup *controller_cgroup(struct css_set *set, int index)
{
	struct cgroup_subsys_state *css = 0;
	struct cgroup *cgroup;

	bpf_core_read(&css, sizeof(css), &set->subsys[index]);
	if (!css)
		return 0;
	cgroup = BPF_CORE_READ(css, cgroup);
	return cgroup && BPF_CORE_READ(cgroup, level) > 0 ? cgroup : 0;
}

#define TRY_CONTROLLER(cgroup, set, id)                                                   \
	do {                                                                              \
		if (!(cgroup) && bpf_core_enum_value_exists(enum cgroup_subsys_id, id))   \
			(cgroup) = controller_cgroup(                                     \
				set, bpf_core_enum_value(enum cgroup_subsys_id, id));     \
	} while (0)

/*
 * The cgroup that says most: the v2 one, or where the runtime does not use that
 * hierarchy, a v1 controller's.
 */
static __always_inline struct cgroup *pick_cgroup(struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup *cgroup;

	if (!set)
		return 0;
	cgroup = BPF_CORE_READ(set, dfl_cgrp);
	if (cgroup && BPF_CORE_READ(cgroup, level) > 0)
		return cgroup;
	cgroup = 0;
	TRY_CONTROLLER(cgroup, set, pids_cgrp_id);
	TRY_CONTROLLER(cgroup, set, memory_cgrp_id);
	TRY_CONTROLLER(cgroup, set, cpu_cgrp_id);
	return cgroup;
}

/*
 * Stores the names from the root down. The root's end is kept when the path is
 * deeper than CGROUP_LEVELS: what identifies a container is there, and what a
 * tenant may create is below.
 */
static __always_inline void remember_names(struct cgroup *cgroup, struct cgroup_key *key,
					   __u32 user)
{
	struct cgroup_names *names = bpf_map_lookup_elem(&scratch, &user);
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
	if (level > 0) /* deeper than MAX_DEPTH: user space reads /proc instead */
		return;
	if (bpf_map_update_elem(&cgroups, key, names, BPF_ANY))
		COUNT(names_lost);
}

static __always_inline void read_cgroup(struct task_struct *task, __u64 *id, __u32 *hierarchy,
					__u32 user)
{
	struct cgroup *cgroup = pick_cgroup(task);
	struct cgroup_key key = {};

	if (!cgroup)
		return;
	key.id = BPF_CORE_READ(cgroup, kn, id);
	key.hierarchy = BPF_CORE_READ(cgroup, root, hierarchy_id);
	*id = key.id;
	*hierarchy = key.hierarchy;
	if (!bpf_map_lookup_elem(&cgroups, &key))
		remember_names(cgroup, &key, user);
}

#endif
