// Parents that leave zombies, one function each: `causes NAME`.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void nap(double seconds)
{
	struct timespec time = { (long)seconds, (long)((seconds - (long)seconds) * 1e9) };

	while (nanosleep(&time, &time))
		;
}

/* A child that exits after this many seconds; 0 is at once, negative is never. */
static pid_t child(double seconds)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (seconds < 0)
		for (;;)
			pause();
	nap(seconds);
	_exit(3);
}

static void rest(void)
{
	for (;;)
		pause();
}

static void never(void)
{
	child(0);
	child(0.2);
	rest();
}

static void *fork_in_thread(void *unused)
{
	child(0.1);
	rest();
	return unused;
}

static void threads(void)
{
	pthread_t thread;

	for (int i = 0; i < 4; i++)
		pthread_create(&thread, NULL, fork_in_thread, NULL);
	rest();
}

static void blocked(void)
{
	pid_t living = child(-1);

	child(0.1);
	waitpid(living, NULL, 0);
	rest();
}

static void blocked_pidfd(void)
{
	pid_t living = child(-1);
	siginfo_t info;

	child(0.1);
	waitid(P_PIDFD, syscall(SYS_pidfd_open, living, 0), &info, WEXITED);
	rest();
}

static void polls(void)
{
	pid_t living = child(-1);

	child(0.1);
	for (;;) {
		waitpid(living, NULL, WNOHANG);
		nap(0.2);
	}
}

static void quick_others(void)
{
	child(0.1);
	for (;;)
		waitpid(child(0.3), NULL, 0);
}

static void slow(void)
{
	for (;;) {
		child(0.1);
		child(1.0);
		nap(3);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

static void slow_group(void)
{
	for (;;) {
		child(0.1);
		nap(3);
		while (waitpid(0, NULL, WNOHANG) > 0)
			;
	}
}

static void once(int signal)
{
	(void)signal;
	waitpid(-1, NULL, WNOHANG);
}

/* Signals merge: of children that die together one is reaped. */
static void handler_once(void)
{
	sigset_t chld;

	signal(SIGCHLD, once);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	for (int i = 0; i < 6; i++)
		child(0.2);
	nap(1);
	sigprocmask(SIG_UNBLOCK, &chld, NULL);
	rest();
}

static int leave(void *unused)
{
	(void)unused;
	return 0;
}

static void non_sigchld_clone(void)
{
	static char stack[65536];

	child(-1);
	clone(leave, stack + sizeof(stack), 0, NULL);
	for (;;)
		wait(NULL);
}

static void stopped(void)
{
	child(0.3);
	raise(SIGSTOP);
	rest();
}

/* It reaped before, and would have reaped this one. */
static void stopped_reaper(void)
{
	for (int i = 0; i < 3; i++) {
		child(0);
		wait(NULL);
	}
	child(0.6);
	nap(0.2);
	raise(SIGSTOP);
	for (;;)
		wait(NULL);
}

static void ignores_late(void)
{
	child(0);
	nap(0.5);
	signal(SIGCHLD, SIG_IGN);
	rest();
}

static void in_vfork(void)
{
	child(0.3);
	if (!vfork())
		for (;;)
			pause();
	rest();
}

/* The parent waits as it should; a third process traces its child. */
static void traced(void)
{
	pid_t tracee = child(0.8);

	if (!fork()) {
		ptrace(PTRACE_SEIZE, tracee, 0, 0);
		rest();
	}
	nap(0.5);
	while (wait(NULL) > 0)
		;
	rest();
}

/* As a debugger at a breakpoint. */
static void held_parent(void)
{
	pid_t parent = fork();

	if (!parent) {
		child(0.3);
		for (;;)
			nap(0.1);
	}
	nap(0.6);
	ptrace(PTRACE_ATTACH, parent, 0, 0);
	rest();
}

static void subreaper(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!fork()) {
		child(0.3);
		_exit(0);
	}
	rest();
}

static void *live_on(void *unused)
{
	rest();
	return unused;
}

static void dead_leader(void)
{
	pthread_t thread;

	if (!fork()) {
		pthread_create(&thread, NULL, live_on, NULL);
		syscall(SYS_exit, 0);
	}
	rest();
}

/* As a daemon does: the grandchild outlives its forker, in a session of its own. */
static void daemonize(void)
{
	setsid();
	if (fork())
		_exit(0);
	nap(0.5);
	_exit(0);
}

/* The same without a session of its own. */
static void orphan(void)
{
	if (fork())
		_exit(0);
	nap(0.5);
	_exit(0);
}

/* As pid 1: supervises one child by its pid, and adopts the orphan of another. */
static void supervises(void)
{
	pid_t living = child(-1), passing = fork();

	if (!passing)
		orphan();
	waitpid(passing, NULL, 0);
	waitpid(living, NULL, 0);
	rest();
}

/* As pid 1: adopts, and reaps, but late. */
static void late_init(void)
{
	for (;;) {
		if (!fork())
			orphan();
		nap(3);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

/* Reaps at once. */
static void healthy(void)
{
	for (;;) {
		child(0.05);
		wait(NULL);
		nap(0.2);
	}
}

static const struct {
	const char *name;
	void (*live)(void);
} causes[] = {
#define PROGRAM(name) { #name, name }
	PROGRAM(never), PROGRAM(threads), PROGRAM(blocked), PROGRAM(blocked_pidfd), PROGRAM(polls),
	PROGRAM(quick_others), PROGRAM(slow), PROGRAM(slow_group), PROGRAM(handler_once),
	PROGRAM(non_sigchld_clone), PROGRAM(stopped), PROGRAM(stopped_reaper), PROGRAM(ignores_late),
	PROGRAM(in_vfork), PROGRAM(traced), PROGRAM(held_parent), PROGRAM(subreaper),
	PROGRAM(dead_leader), PROGRAM(daemonize), PROGRAM(orphan), PROGRAM(supervises),
	PROGRAM(late_init), PROGRAM(healthy),
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(causes) / sizeof(*causes); i++)
		if (!strcmp(argv[1], causes[i].name))
			causes[i].live();
	fprintf(stderr, "no such program\n");
	return 2;
}
