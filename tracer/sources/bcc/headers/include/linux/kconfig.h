/* Stands for the kernel's configuration. bcc takes a folder for a kernel source tree when it
 * holds this file, and includes it ahead of everything else.
 *
 * This tree exists so that bcc compiles on nodes without kernel headers. Our program reads
 * tracepoint arguments and calls helpers only, so that nothing of it depends on a header of
 * the running kernel: these are the few names that bcc's own text needs.
 */
#ifndef ZOMBIE_TRACER_KCONFIG_H
#define ZOMBIE_TRACER_KCONFIG_H

#define CONFIG_BPF_SYSCALL 1

#endif
