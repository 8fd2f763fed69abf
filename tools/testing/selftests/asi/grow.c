// SPDX-License-Identifier: GPL-2.0-only
/*
 * How the cost of an operation grows with what there is.
 *
 *	grow AXIS VALUE TRANSITIONS FLUSHES NANOSECONDS IDLE INTERRUPTS KIB
 *
 * The axes, and the operation of each:
 *	processes	a byte goes from a process to the next in a ring of so many
 *	threads		the same with threads of one process
 *	file_kib	a page is read from a file on tmpfs of that size
 *	cpus_read	4 KiB are read from a file, by a thread on each of so many CPUs
 *	cpus_unmap	a page is mapped, touched and unmapped, by such threads
 *	boot		how long it took to get here, and memory in use; the value
 *			is the size of memory in MiB
 *
 * Usage: grow [AXIS...]
 *
 * An axis of CPUs ends where the machine does, and a file where memory does.
 * Interrupts are those that CPUs send each other to have TLBs flushed or
 * functions called. KIB is what setting up took from free memory, but for what lists of
 * CPUs had or have: of meaning where it is much.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <x86intrin.h>

#include "asi.h"
#include "kselftest.h"
#include "workloads.h"

#define READ_AT_ONCE	65536
#define MOST_VALUES	7

/* The point that is being measured. */
static long value;
static bool threads;

/* --- a ring ------------------------------------------------------------ */

static void pass_on(int from, int to)
{
	char byte;

	while (read(from, &byte, 1) == 1 && write(to, &byte, 1) == 1)
		;
}

static void *pass_on_in_thread(void *fds)
{
	pass_on(((int *)fds)[0], ((int *)fds)[1]);
	return NULL;
}

/* A member of the ring that reads from one pipe and writes to another. */
static int start_member(int from, int to, int mine)
{
	pthread_attr_t attr;
	pthread_t thread;
	int *fds, ret;
	pid_t pid;

	if (threads) {
		fds = malloc(2 * sizeof(*fds));
		if (!fds)
			return -ENOMEM;
		fds[0] = from;
		fds[1] = to;
		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, 65536);
		ret = -pthread_create(&thread, &attr, pass_on_in_thread, fds);
		pthread_attr_destroy(&attr);
		return ret;
	}
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(mine);
		pass_on(from, to);
		_exit(0);
	}
	close(from);
	close(to);
	return 0;
}

/* We are a member ourselves. Ends with the process that measures. */
static int setup_ring(struct workload_ctx *ctx)
{
	int fds[2], from, ret;
	long i;

	if (pipe(fds))
		return -errno;
	from = fds[0];
	ctx->fd[1] = fds[1];
	for (i = 1; i < value; i++) {
		if (pipe(fds))
			return -errno;
		ret = start_member(from, fds[1], ctx->fd[1]);
		if (ret)
			return ret;
		from = fds[0];
	}
	ctx->fd[0] = from;
	return 0;
}

static int run_ring(struct workload_ctx *ctx, long n)
{
	char byte = 0;

	for (; n > 0; n -= value) {
		if (write(ctx->fd[1], &byte, 1) != 1 || read(ctx->fd[0], &byte, 1) != 1)
			return -EIO;
	}
	return 0;
}

/* --- a file ------------------------------------------------------------ */

static int setup_file(struct workload_ctx *ctx)
{
	size_t len = value << 10, done, part;

	if (!asi_tmpfs() || asi_available() / 8 * 7 < len)
		return -ENOENT;
	ctx->fd[0] = asi_tmpfile(asi_tmpfs());
	ctx->mem = calloc(1, READ_AT_ONCE);
	if (ctx->fd[0] < 0 || !ctx->mem)
		return -EIO;
	for (done = 0; done < len; done += part) {
		part = len - done < READ_AT_ONCE ? len - done : READ_AT_ONCE;
		if (write(ctx->fd[0], ctx->mem, part) != (ssize_t)part)
			return -ENOENT;
	}
	return 0;
}

static int run_file(struct workload_ctx *ctx, long n)
{
	off_t len = value << 10, at = 0;

	while (n > 0) {
		ssize_t part = len - at < READ_AT_ONCE ? len - at : READ_AT_ONCE;

		if (pread(ctx->fd[0], ctx->mem, part, at) != part)
			return -EIO;
		at = (at + part) % len;
		n -= part / 4096;
	}
	return 0;
}

/* --- CPUs -------------------------------------------------------------- */

struct worker {
	int (*body)(struct workload_ctx *ctx, char *mem);
	struct workload_ctx *ctx;
	pthread_t thread;
	long n;
	int cpu, ret;
};

static int read_page(struct workload_ctx *ctx, char *mem)
{
	return pread(ctx->fd[0], mem, 4096, 0) == 4096 ? 0 : -EIO;
}

static int unmap_page(struct workload_ctx *ctx, char *mem)
{
	mem = asi_fresh(4096);
	if (!mem)
		return -ENOMEM;
	mem[0] = 1;
	return munmap(mem, 4096) ? -errno : 0;
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	char mem[4096];
	long n;

	worker->ret = asi_pin(worker->cpu);
	for (n = worker->n; n > 0 && !worker->ret; n--)
		worker->ret = worker->body(worker->ctx, mem);
	return NULL;
}

static int setup_cpus(struct workload_ctx *ctx)
{
	char page[4096] = { };

	if (value > sysconf(_SC_NPROCESSORS_ONLN) || !asi_tmpfs())
		return -ENOENT;
	ctx->fd[0] = asi_tmpfile(asi_tmpfs());
	return pwrite(ctx->fd[0], page, sizeof(page), 0) == sizeof(page) ? 0 : -EIO;
}

static int run_workers(struct workload_ctx *ctx, long n,
		       int (*body)(struct workload_ctx *ctx, char *mem))
{
	struct worker workers[MOST_VALUES];
	int i, started, ret = 0;

	for (started = 0; started < value && !ret; started++) {
		struct worker *worker = &workers[started];

		*worker = (struct worker) {
			.body = body, .ctx = ctx, .n = n / value, .cpu = started
		};
		ret = -pthread_create(&worker->thread, NULL, work, worker);
		if (ret)
			break;
	}
	for (i = 0; i < started; i++) {
		pthread_join(workers[i].thread, NULL);
		ret = ret ?: workers[i].ret;
	}
	return ret;
}

static int run_readers(struct workload_ctx *ctx, long n)
{
	return run_workers(ctx, n, read_page);
}

static int run_unmappers(struct workload_ctx *ctx, long n)
{
	return run_workers(ctx, n, unmap_page);
}

/* --- boot -------------------------------------------------------------- */

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

/* All memory that firmware left for the kernel, in KiB. */
static double ram_kib(void)
{
	FILE *file = fopen("/proc/iomem", "r");
	unsigned long start, end;
	char line[128];
	double sum = 0;

	while (file && fgets(line, sizeof(line), file)) {
		if (line[0] != ' ' && strstr(line, "System RAM") &&
		    sscanf(line, "%lx-%lx", &start, &end) == 2)
			sum += (end + 1 - start) >> 10;
	}
	if (file)
		fclose(file);
	return sum;
}

/* The TSC counts from reset on, at the rate that is looked at here. */
static void show_boot(void)
{
	unsigned long long tsc = __rdtsc();
	double ns = now_ns(), kib = ram_kib();
	struct sysinfo info;

	sysinfo(&info);
	kib -= info.freeram / 1024.0 * info.mem_unit;
	usleep(10000);
	ns = (now_ns() - ns) / (__rdtsc() - tsc);
	printf("grow boot %.0f 0 0 %.0f 0 0 %.0f\n", ram_kib() / 1024, tsc * ns, kib);
}

/* --- all of them ------------------------------------------------------- */

static const struct axis {
	struct workload workload;
	bool threads;
	long values[MOST_VALUES];
} axes[] = {
	{ { "processes", 6000, .setup = setup_ring, .run = run_ring },
	  false, { 1, 3, 10, 30, 100, 300, 1000 } },
	{ { "threads", 6400, .setup = setup_ring, .run = run_ring },
	  true, { 1, 2, 4, 8, 16, 32, 64 } },
	{ { "file_kib", 4096, .setup = setup_file, .run = run_file },
	  false, { 4, 64, 1024, 16384, 131072, 524288, 1048576 } },
	{ { "cpus_read", 12000, .setup = setup_cpus, .run = run_readers },
	  false, { 1, 2, 3, 4 } },
	{ { "cpus_unmap", 6000, .setup = setup_cpus, .run = run_unmappers },
	  false, { 1, 2, 3, 4 } },
};

static int show(const struct axis *axis)
{
	struct workload_cost cost;
	int i, ret;

	threads = axis->threads;
	for (i = 0; i < MOST_VALUES && axis->values[i]; i++) {
		long ops = axis->workload.ops;

		value = axis->values[i];
		/* All of a file, and all of a ring several times. */
		if (axis->workload.run == run_file && ops < value / 4)
			ops = value / 4;
		ret = workload_measure(&axis->workload, ops, 1, &cost);
		/* Those who are about to end. */
		while (waitpid(-1, NULL, 0) > 0)
			;
		if (ret == -ENOENT)
			continue;
		if (ret) {
			printf("# grow %s %ld: %s\n", axis->workload.name, value, strerror(-ret));
			return 1;
		}
		printf("grow %s %ld %.3f %.3f %.0f %.6f %.3f %.0f\n", axis->workload.name,
		       value, cost.exits, cost.flushes, cost.ns, cost.idle,
		       cost.interrupts, cost.kib);
		fflush(stdout);
	}
	return 0;
}

static int show_named(const char *name)
{
	int a;

	if (!strcmp(name, "boot")) {
		show_boot();
		return 0;
	}
	for (a = 0; a < (int)ARRAY_SIZE(axes); a++)
		if (!strcmp(name, axes[a].workload.name))
			return show(&axes[a]);
	fprintf(stderr, "%s: unknown axis\n", name);
	return 2;
}

int main(int argc, char **argv)
{
	int failed = 0, i;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (i = 1; i < argc; i++)
		failed |= show_named(argv[i]);
	for (i = 0; argc == 1 && i < (int)ARRAY_SIZE(axes); i++)
		failed |= show(&axes[i]);
	return failed;
}
