/* bcc asks for a version to work around kernels before 4.8, and stores one in the object, where
 * only kprobes of kernels before 5.0 were checked for it. The program decides nothing by it. */
#ifndef ZOMBIE_TRACER_VERSION_H
#define ZOMBIE_TRACER_VERSION_H

#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 8, 0)

#endif
