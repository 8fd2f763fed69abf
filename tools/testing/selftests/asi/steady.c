// SPDX-License-Identifier: GPL-2.0-only
/*
 * What needs no sensitive memory, or gets at it through windows, makes no transition,
 * however often it is done, and whatever threads of the same process do meanwhile.
 */
#include "asi.h"
#include "kselftest_harness.h"
#include "workloads.h"

/* Less than this an operation is what the rest of the machine does meanwhile. */
#define NOTHING		0.001
/* One of so many without a transition of somebody else's; more of them if they are short. */
#define TRIES		5
#define MANY		1000

FIXTURE(steady)
{
	const struct workload *workload;
};

FIXTURE_VARIANT(steady)
{
	const char *name;
};

FIXTURE_VARIANT_ADD(steady, getpid) { .name = "getpid" };
FIXTURE_VARIANT_ADD(steady, signal) { .name = "signal" };
FIXTURE_VARIANT_ADD(steady, sched_yield) { .name = "sched_yield" };
FIXTURE_VARIANT_ADD(steady, futex_threads) { .name = "futex_threads" };
FIXTURE_VARIANT_ADD(steady, futex_processes) { .name = "futex_processes" };
FIXTURE_VARIANT_ADD(steady, epoll_eventfd) { .name = "epoll_eventfd" };
FIXTURE_VARIANT_ADD(steady, io_uring_nop) { .name = "io_uring_nop" };
FIXTURE_VARIANT_ADD(steady, perf_sample) { .name = "perf_sample" };
FIXTURE_VARIANT_ADD(steady, stat) { .name = "stat" };
FIXTURE_VARIANT_ADD(steady, open_fstat_close) { .name = "open_fstat_close" };
FIXTURE_VARIANT_ADD(steady, getdents) { .name = "getdents" };
FIXTURE_VARIANT_ADD(steady, create_unlink) { .name = "create_unlink" };
FIXTURE_VARIANT_ADD(steady, pipe) { .name = "pipe" };
FIXTURE_VARIANT_ADD(steady, socketpair) { .name = "socketpair" };
FIXTURE_VARIANT_ADD(steady, udp) { .name = "udp" };
FIXTURE_VARIANT_ADD(steady, tcp) { .name = "tcp" };
FIXTURE_VARIANT_ADD(steady, pread_4k_tmpfs) { .name = "pread_4k_tmpfs" };
FIXTURE_VARIANT_ADD(steady, pread_64k_tmpfs) { .name = "pread_64k_tmpfs" };
FIXTURE_VARIANT_ADD(steady, pwrite_4k_tmpfs) { .name = "pwrite_4k_tmpfs" };
FIXTURE_VARIANT_ADD(steady, pwrite_64k_tmpfs) { .name = "pwrite_64k_tmpfs" };
FIXTURE_VARIANT_ADD(steady, pread_4k_ext4) { .name = "pread_4k_ext4" };
FIXTURE_VARIANT_ADD(steady, pread_64k_ext4) { .name = "pread_64k_ext4" };
FIXTURE_VARIANT_ADD(steady, stat_ext4) { .name = "stat_ext4" };
FIXTURE_VARIANT_ADD(steady, open_fstat_close_ext4) { .name = "open_fstat_close_ext4" };
FIXTURE_VARIANT_ADD(steady, lookup_ext4) { .name = "lookup_ext4" };
FIXTURE_VARIANT_ADD(steady, getdents_ext4) { .name = "getdents_ext4" };
FIXTURE_VARIANT_ADD(steady, create_unlink_ext4) { .name = "create_unlink_ext4" };
FIXTURE_VARIANT_ADD(steady, direct_read_ext4) { .name = "direct_read_ext4" };
FIXTURE_VARIANT_ADD(steady, io_uring_read) { .name = "io_uring_read" };
FIXTURE_VARIANT_ADD(steady, sendfile) { .name = "sendfile" };
FIXTURE_VARIANT_ADD(steady, splice) { .name = "splice" };
FIXTURE_VARIANT_ADD(steady, anon_fault) { .name = "anon_fault" };
FIXTURE_VARIANT_ADD(steady, huge_fault) { .name = "huge_fault" };
FIXTURE_VARIANT_ADD(steady, file_fault) { .name = "file_fault" };
FIXTURE_VARIANT_ADD(steady, cow_fault) { .name = "cow_fault" };
FIXTURE_VARIANT_ADD(steady, guest_memfd_fault) { .name = "guest_memfd_fault" };
FIXTURE_VARIANT_ADD(steady, userfault_copy) { .name = "userfault_copy" };
FIXTURE_VARIANT_ADD(steady, mprotect) { .name = "mprotect" };
FIXTURE_VARIANT_ADD(steady, brk_64k) { .name = "brk_64k" };
FIXTURE_VARIANT_ADD(steady, process_vm_readv) { .name = "process_vm_readv" };
FIXTURE_VARIANT_ADD(steady, ptrace_peek_poke) { .name = "ptrace_peek_poke" };
FIXTURE_VARIANT_ADD(steady, proc_mem) { .name = "proc_mem" };
FIXTURE_VARIANT_ADD(steady, proc_environ) { .name = "proc_environ" };
FIXTURE_VARIANT_ADD(steady, fork_exit) { .name = "fork_exit" };

FIXTURE_SETUP(steady)
{
	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (asi_has_debugfs())
		asi_break("");
	self->workload = workload_find(variant->name);
	ASSERT_NE(NULL, self->workload);
}

FIXTURE_TEARDOWN(steady)
{
}

/* At once, and not some time later. */
static bool frees_pages(const char *name)
{
	return strstr(name, "fault") || strstr(name, "fork") || strstr(name, "brk") ||
	       strstr(name, "direct_read");
}

TEST_F_TIMEOUT(steady, makes_no_transition, 120)
{
	struct workload_cost cost;
	int ret;

	workload_beside = true;
	ret = workload_measure(self->workload, self->workload->ops / 5,
			       self->workload->ops < MANY ? 4 * TRIES : TRIES, &cost);
	workload_beside = false;
	if (ret == -ENOENT || ret == -ENODEV)
		SKIP(return, "not here");
	ASSERT_EQ(0, ret);
	if (cost.exits >= NOTHING && frees_pages(variant->name) &&
	    asi_is_booted_with("page_poison=1"))
		SKIP(return, "free pages are overwritten");
	if (!strncmp(variant->name, "proc_", 5) && asi_is_booted_with("slab_debug="))
		SKIP(return, "free objects are overwritten");
	if (!strcmp(variant->name, "direct_read_ext4") && asi_is_booted_with("swiotlb=force"))
		SKIP(return, "what is read is copied from bounce buffers");
	EXPECT_GT(NOTHING, cost.exits)
		TH_LOG("%s makes %.4f transitions an operation",
		       variant->name, cost.exits);
}

/* Every workload that says of itself that it is steady has a test above. */
TEST(each_steady_workload_is_tested)
{
	struct __fixture_variant_metadata *variant;
	const struct workload *workload;

	for (workload = workloads; workload->name; workload++) {
		bool found = !workload->steady;

		for (variant = _steady_fixture_object.variant; variant;
		     variant = variant->next)
			found |= !strcmp(variant->name, workload->name);
		EXPECT_TRUE(found)
			TH_LOG("%s", workload->name);
	}
}

/* Negative control: transitions are counted when there are some. */
TEST(a_transition_is_counted)
{
	const struct workload *workload = workload_find("fork_exec");
	struct workload_cost cost;

	if (!asi_is_on())
		SKIP(return, "ASI is off");
	ASSERT_EQ(0, workload_measure(workload, 20, 1, &cost));
	EXPECT_LT(NOTHING, cost.exits);
}

FIXTURE(table)
{
	int unused;
};

FIXTURE_SETUP(table)
{
	if (!asi_is_on())
		SKIP(return, "ASI is off");
}

FIXTURE_TEARDOWN(table)
{
}

/* Asserts nothing but that it can be measured: the table of all costs. */
TEST_F_TIMEOUT(table, of_costs, 300)
{
	const struct workload *workload;
	struct workload_cost cost;

	for (workload = workloads; workload->name; workload++) {
		long ops = workload->ops / 20 ?: 1;
		int ret = workload_measure(workload, ops, 1, &cost);

		if (ret == -ENOENT)
			continue;
		EXPECT_EQ(0, ret)
			TH_LOG("%s: %s", workload->name, strerror(-ret));
		if (!ret)
			ksft_print_msg("cost %s %.2f\n", workload->name,
				       cost.exits);
	}
}

TEST_HARNESS_MAIN
