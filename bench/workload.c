/*
 * Make thousands of processes, faster than Python could.
 *
 *   workload cycles SECONDS          fork, exit, wait as fast as it goes; prints how many a second
 *   workload count N                 the same, N times
 *   workload execs N                 the same, N times, the child executing /bin/true
 *   workload rate R SECONDS          the same, R times a second
 *   workload zombies N PARENTS       N zombies of so many parents, until stdin is closed
 *   workload storm N KEEP            N children, each KEEPth left a zombie; prints those pids,
 *                                    and `PID late` for one that was really dead for a
 *                                    second because we got no processor to reap it
 *   workload trickle N R             a zombie R times a second, N of them; prints pid and
 *                                    CLOCK_REALTIME ns just before its birth
 *
 * vfork, because the child only exits: the cheapest process there is, so that the measured
 * overhead is the largest share of it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LATE_SECONDS 0.9

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static pid_t child(void)
{
	pid_t pid = vfork();

	if (!pid)
		_exit(0);
	if (pid < 0) {
		perror("workload: vfork");
		exit(1);
	}
	return pid;
}

static void exec_cycle(void)
{
	pid_t pid = vfork();

	if (!pid) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, NULL, 0) != pid) {
		perror("workload: true");
		exit(1);
	}
}

static pid_t cycle(void)
{
	pid_t pid = child();

	if (waitpid(pid, NULL, 0) != pid) {
		perror("workload: waitpid");
		exit(1);
	}
	return pid;
}

static void sleep_until(double when)
{
	double left = when - now();
	struct timespec t;

	if (left <= 0)
		return;
	t.tv_sec = left;
	t.tv_nsec = (left - t.tv_sec) * 1e9;
	nanosleep(&t, NULL);
}

static void hold(void)
{
	char byte;

	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
}

static void cycles(double seconds)
{
	double began = now();
	long made = 0;

	while (now() < began + seconds)
		for (int i = 0; i < 64; i++, made++)
			cycle();
	printf("%.1f\n", made / (now() - began));
}

static void rate(double each_second, double seconds)
{
	double began = now();

	for (long made = 0; made < each_second * seconds; made++) {
		/* By the millisecond: a timer for each would be a load of its own. */
		if (made % 8 == 0)
			sleep_until(began + made / each_second);
		cycle();
	}
}

/* The parents die with us, and init reaps what they leave. */
static void zombies(long count, long parents)
{
	int ready[2];
	char byte = 0;

	if (pipe(ready))
		exit(1);
	for (long p = 0; p < parents; p++) {
		long share = count / parents + (p < count % parents);
		pid_t pid = fork();

		if (pid < 0) {
			perror("workload: fork");
			exit(1);
		}
		if (pid)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (long i = 0; i < share; i++)
			child();
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	for (long p = 0; p < parents; p++)
		if (read(ready[0], &byte, 1) != 1) {
			fprintf(stderr, "workload: a parent failed; are there pids enough?\n");
			exit(1);
		}
	printf("ready\n");
	hold();
}

static void storm(long count, long keep)
{
	for (long i = 1; i <= count; i++) {
		double began = now();
		pid_t pid = i % keep ? cycle() : child();

		if (i % keep == 0)
			printf("%d\n", pid);
		else if (now() > began + LATE_SECONDS)
			printf("%d late\n", pid);
	}
	printf("ready\n");
	hold();
}

static void trickle(long count, double each_second)
{
	double began = now();

	for (long i = 0; i < count; i++) {
		struct timespec t;
		pid_t pid;

		sleep_until(began + i / each_second);
		/* Before it is made: a latency counted from here is never too small. */
		clock_gettime(CLOCK_REALTIME, &t);
		pid = child();
		printf("%d %lld\n", pid, t.tv_sec * 1000000000LL + t.tv_nsec);
	}
	printf("ready\n");
	hold();
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";
	double first = argc > 2 ? atof(argv[2]) : 0, second = argc > 3 ? atof(argv[3]) : 0;

	/* Nobody to hold anything for is left when the bench is killed. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!strcmp(what, "cycles"))
		cycles(first);
	else if (!strcmp(what, "count"))
		for (long i = 0; i < first; i++)
			cycle();
	else if (!strcmp(what, "execs"))
		for (long i = 0; i < first; i++)
			exec_cycle();
	else if (!strcmp(what, "rate") && second)
		rate(first, second);
	else if (!strcmp(what, "zombies") && second)
		zombies(first, second);
	else if (!strcmp(what, "storm") && second)
		storm(first, second);
	else if (!strcmp(what, "trickle") && second)
		trickle(first, second);
	else
		return fprintf(stderr, "workload: see the head of workload.c\n"), 2;
	return 0;
}
