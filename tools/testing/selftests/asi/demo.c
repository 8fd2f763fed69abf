// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shows in a few lines what ASI keeps from this process, and what it costs.
 *
 *	reach KIND 0|1 EXPLANATION
 *	cost OPERATION TRANSITIONS
 *
 * Lines that begin with # are for what cannot be shown here.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "asi.h"
#include "frames.h"
#include "kinds.h"
#include "workloads.h"

#define MAX_FRAMES	1024

struct neighbour {
	int error;
	size_t nr;
	unsigned long pfn[MAX_FRAMES];
};

static const char * const shown[] = {
	"anon", "huge", "tmpfs", "ext4", "memfd", "sysvshm", "posixshm", "hugetlb",
	NULL
};

/* A process with memory of one kind. It sleeps until it is killed. */
static pid_t start_neighbour(const struct kind *kind,
			     const struct pattern *pattern,
			     struct neighbour *neighbour)
{
	struct area area = { };
	int fds[2];
	pid_t pid;
	char byte;

	if (pipe(fds))
		return -1;
	fflush(stdout);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		neighbour->error = kind->plant(kind, pattern, &area);
		if (!neighbour->error)
			neighbour->nr = frames_of(area.addr, area.len,
						  neighbour->pfn);
		if (write(fds[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(fds[1]);
	if (read(fds[0], &byte, 1) != 1)
		neighbour->error = -ECHILD;
	close(fds[0]);
	return pid;
}

/* Frames that this process reaches; of those only that still hold the secret. */
static size_t reachable(const struct neighbour *neighbour,
			const struct pattern *secret)
{
	static unsigned long page[FRAME_SIZE / sizeof(long)];
	const unsigned char *marks;
	size_t i, all, nr = 0;

	marks = frames_marks(&all);
	for (i = 0; i < neighbour->nr; i++) {
		unsigned long pfn = neighbour->pfn[i];

		if (pfn >= all || !(marks[pfn] & (FRAME_USER | FRAME_KERNEL)))
			continue;
		if (secret && (frame_read(pfn, page, sizeof(page)) ||
			       !pattern_found(page, sizeof(page), secret)))
			continue;
		nr++;
	}
	return nr;
}

static void show(const char *name, const char *what, size_t nr, size_t of)
{
	printf("reach %s %d %s: %zu of %zu frames are mapped\n", name, nr > 0,
	       what, nr, of);
}

static void show_reach(void)
{
	struct pattern pattern = pattern_random();
	struct neighbour *neighbour;
	const struct kind *kind;
	unsigned int i;
	pid_t pid;

	neighbour = mmap(NULL, sizeof(*neighbour), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (neighbour == MAP_FAILED)
		return;
	for (i = 0; shown[i]; i++) {
		kind = kind_find(shown[i]);
		neighbour->nr = 0;
		pid = start_neighbour(kind, &pattern, neighbour);
		if (pid < 0)
			continue;
		if (neighbour->error)
			printf("# reach %s: %s\n", kind->name,
			       strerror(-neighbour->error));
		else
			show(kind->name, kind->what, reachable(neighbour, NULL),
			     neighbour->nr);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		/* The first kind again, now that its process is gone. */
		if (!i && !neighbour->error)
			show("freed", "the same after the process has exited, not cleared",
			     reachable(neighbour, &pattern), neighbour->nr);
	}
}

static void show_costs(void)
{
	const struct workload *workload;
	struct workload_cost cost;

	for (workload = workloads; workload->name; workload++) {
		int ret = workload_measure(workload, workload->ops / 10, 2, &cost);

		if (ret)
			printf("# cost %s: %s\n", workload->name, strerror(-ret));
		else
			printf("cost %s %.2f\n", workload->name, cost.exits);
		fflush(stdout);
	}
}

int main(void)
{
	if (asi_has_debugfs())
		show_reach();
	else
		printf("# reach: no CONFIG_ASI_DEBUG, or debugfs is not mounted\n");
	if (asi_is_built())
		show_costs();
	else
		printf("# cost: this kernel does not count transitions\n");
	return 0;
}
