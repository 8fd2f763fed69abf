// SPDX-License-Identifier: GPL-2.0-only
/*
 * What needs no sensitive memory makes no transition, however often it is done.
 */
#include "asi.h"
#include "kselftest_harness.h"
#include "workloads.h"

/* Less than this an operation is what the rest of the machine does meanwhile. */
#define NOTHING		0.001
#define TRIES		3

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

FIXTURE_SETUP(steady)
{
	if (!asi_is_on())
		SKIP(return, "ASI is off");
	self->workload = workload_find(variant->name);
	ASSERT_NE(NULL, self->workload);
}

FIXTURE_TEARDOWN(steady)
{
}

TEST_F_TIMEOUT(steady, makes_no_transition, 120)
{
	struct workload_cost cost;

	ASSERT_EQ(0, workload_measure(self->workload, 0, TRIES, &cost));
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
