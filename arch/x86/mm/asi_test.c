// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of Address Space Isolation. They run at boot, in a kernel thread,
 * before user space. Where a property can be broken on purpose (asi_break_mask)
 * the test that guards it does so and expects to see the difference.
 */
#include <kunit/test.h>
#include <linux/asi.h>
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/hrtimer.h>
#include <linux/initrd.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/memory_hotplug.h>
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/mmu_context.h>
#include <linux/percpu.h>
#include <linux/pgtable.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>
#include <net/tcp.h>

#include <asm/apic.h>
#include <asm/asi.h>
#include <asm/cpu_entry_area.h>
#include <asm/nmi.h>
#include <asm/sections.h>
#include <asm/set_memory.h>
#include <asm/tlbflush.h>
#include <asm/trap_pf.h>

#include "../../../mm/page_alloc.h"
#include "asi_internal.h"
#include "asi_taint.h"

static void skip_unless_on(struct kunit *test)
{
	if (!asi_enabled())
		kunit_skip(test, "ASI is off");
}

static unsigned long count_event(enum vm_event_item item)
{
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += per_cpu(vm_event_states.event[item], cpu);
	return sum;
}

/* How large the page is by which @pgd maps @address, if it does. */
static int level_of(pgd_t *pgd, const void *address)
{
	unsigned long addr = (unsigned long)address;
	unsigned int level;
	pte_t *pte;
	bool nx, rw;

	pte = lookup_address_in_pgd_attr(pgd_offset_pgd(pgd, addr), addr, &level,
					 &nx, &rw);
	return pte && (pte_flags(*pte) & _PAGE_PRESENT) ? level : PG_LEVEL_NONE;
}

/* As on the way to user mode, where nothing untrusted runs. */
static void enter(void)
{
	asi_enter();
	asi_withdraw();
}

static bool maps(pgd_t *pgd, const void *address)
{
	return level_of(pgd, address) != PG_LEVEL_NONE;
}

/* Everything is mapped in the unrestricted direct map. */
static void expect_reach(struct kunit *test, const void *address, bool restricted)
{
	KUNIT_EXPECT_TRUE_MSG(test, maps(swapper_pg_dir, address), "%pS", address);
	KUNIT_EXPECT_EQ_MSG(test, restricted,
			    maps(kernel_to_restricted_pgdp(swapper_pg_dir), address),
			    "%pS", address);
}

static const struct {
	const char	*arg;
	int		ret;
	struct asi_options is;
} parse_cases[] = {
	{ "on",			0,	 { .on = true, .set = true } },
	{ "off",		0,	 { .set = true } },
	{ "on,flush=none",	0,	 { .on = true, .set = true, .flush = ASI_FLUSH_NONE } },
	{ "flush=none,on",	0,	 { .on = true, .set = true, .flush = ASI_FLUSH_NONE } },
	{ "flush=none",		0,	 { .flush = ASI_FLUSH_NONE } },
	{ "flush=all,flush=always", 0,	 { .flush = ASI_FLUSH_ALWAYS } },
	{ "flush=all,both",	0,	 { .flush = ASI_FLUSH_ALL, .both = true } },
	{ "stun=off",		0,	 { .stun = ASI_STUN_OFF } },
	{ "on,stun=on",		0,	 { .on = true, .set = true, .stun = ASI_STUN_ON } },
	{ "stun=on,stun=auto",	0,	 { } },
	{ "on,guests=on",	0,	 { .on = true, .set = true, .guests = true } },
	{ "guests=on,guests=off", 0,	 { } },
	{ "guests",		-EINVAL, { } },
	{ "off,on",		0,	 { .on = true, .set = true } },
	{ "flush=none,flush=auto", 0,	 { } },
	{ "",			-EINVAL, { } },
	{ NULL,			-EINVAL, { } },
	{ "of",			-EINVAL, { } },
	{ "offf",		-EINVAL, { } },
	{ "on,",		-EINVAL, { } },
	{ ",on",		-EINVAL, { } },
	{ "on,bogus",		-EINVAL, { } },
	{ "both,on,flush=",	-EINVAL, { } },
	{ "stun=on,stun",	-EINVAL, { } },
	{ "ON",			-EINVAL, { } },
};

static void test_parse(struct kunit *test)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(parse_cases); i++) {
		const struct asi_options *is = &parse_cases[i].is;
		struct asi_options options = { };
		const char *arg = parse_cases[i].arg;

		KUNIT_EXPECT_EQ_MSG(test, parse_cases[i].ret,
				    asi_parse_options(arg, &options), "'%s'", arg);
		KUNIT_EXPECT_EQ_MSG(test, is->on, options.on, "'%s'", arg);
		KUNIT_EXPECT_EQ_MSG(test, is->set, options.set, "'%s'", arg);
		KUNIT_EXPECT_EQ_MSG(test, is->both, options.both, "'%s'", arg);
		KUNIT_EXPECT_EQ_MSG(test, is->guests, options.guests, "'%s'", arg);
		KUNIT_EXPECT_EQ_MSG(test, is->flush, options.flush, "'%s'", arg);
		KUNIT_EXPECT_EQ_MSG(test, is->stun, options.stun, "'%s'", arg);
	}
}

/* What a machine has to be, and the one thing that is wrong with it. */
static void test_unsupported(struct kunit *test)
{
	static const struct {
		struct asi_platform is;
		char *reason;		/* the beginning of it */
	} table[] = {
		{ { .large_pages = true, .nx = true }, NULL },
		{ { .large_pages = true, .nx = true, .xen_pv = true }, "Xen PV" },
		{ { .large_pages = true, .nx = true, .hyperv = true },
		  "not supported as a Hyper-V" },
		{ { .large_pages = true, .nx = true, .encrypted_guest = true },
		  "not supported with SEV or TDX" },
		{ { .large_pages = true, .nx = true, .snp_host = true },
		  "not supported with SEV or TDX" },
		{ { .nx = true }, "CPU without large pages" },
		{ { .large_pages = true }, "CPU without large pages or NX" },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(table); i++) {
		const char *reason = asi_unsupported(&table[i].is);

		KUNIT_EXPECT_EQ(test, !reason, !table[i].reason);
		if (reason && table[i].reason)
			KUNIT_EXPECT_TRUE_MSG(test, strstarts(reason, table[i].reason),
					      "%s", reason);
	}
}

/* All roots of all dynamic ASIDs, in all states of the pending bits. */
static void test_cr3(struct kunit *test)
{
	static const unsigned long bits[ASI_NR_ROOTS] = {
		[ASI_ROOT_RESTRICTED]	= BIT(13) | BIT(10),
		[ASI_ROOT_GUEST]	= BIT(12) | BIT(11),
	};
	unsigned long pgd = 0x1234568000UL, lam = X86_CR3_LAM_U57;
	unsigned int asid, pending, from, to;

	for (asid = 1; asid <= TLB_NR_DYN_ASIDS; asid++) {
		unsigned long u = pgd | lam | asid;

		for (from = 0; from < ASI_NR_ROOTS; from++) {
			for (to = 0; to < ASI_NR_ROOTS; to++) {
				/* They differ in page and PCID, and in nothing else. */
				KUNIT_EXPECT_EQ(test, u | bits[to],
						asi_cr3(u | bits[from], to, true));
			}
			KUNIT_EXPECT_EQ(test, asi_root_of(u | bits[from]), from);
		}

		for (pending = 0; pending < BIT(TLB_NR_DYN_ASIDS + 1); pending++) {
			unsigned long noflush = pending & BIT(asid) ? 0 : CR3_NOFLUSH;

			/*
			 * The TLB is kept exactly when nothing is pending. Neither where
			 * it comes from nor NOFLUSH in it matter.
			 */
			for (from = 0; from < 2 * ASI_NR_ROOTS; from++) {
				unsigned long cr3 = u | bits[from / 2] |
						    (from % 2 ? CR3_NOFLUSH : 0);

				for (to = 0; to < ASI_NR_ROOTS; to++)
					KUNIT_ASSERT_EQ(test, u | bits[to] | noflush,
							asi_cr3_load(cr3, to, true, pending));
			}
		}
	}

	/* No PCID: bit 63 would fault, and bits 11:0 are not ours. */
	for (from = 0; from < ASI_NR_ROOTS; from++) {
		for (to = 0; to < ASI_NR_ROOTS; to++)
			KUNIT_EXPECT_EQ(test, pgd | (bits[to] & ~0xfff),
					asi_cr3_load(pgd | (bits[from] & ~0xfff), to, false, 0));
	}
}

/*
 * The PCIDs of one ASID, and those of different ASIDs, never coincide, and the
 * index into KPTI's mask of pending flushes is the same for each.
 */
static void test_pcids_distinct(struct kunit *test)
{
	DECLARE_BITMAP(seen, 4096) = {};
	unsigned int asid, root;

	for (asid = 1; asid <= TLB_NR_DYN_ASIDS; asid++) {
		for (root = 0; root <= ASI_NR_ROOTS; root++) {
			unsigned long pcid;

			if (root < ASI_NR_ROOTS)
				pcid = asi_cr3(asid, root, true);
			else	/* KPTI */
				pcid = asi_cr3(asid, ASI_ROOT_RESTRICTED, true) |
				       BIT(X86_CR3_PTI_PCID_USER_BIT);
			pcid &= CR3_PCID_MASK;
			KUNIT_EXPECT_FALSE(test, __test_and_set_bit(pcid, seen));
			KUNIT_EXPECT_EQ(test, asid, pcid & ASI_CR3_ASID_MASK);
		}
	}
}

/* What is left for later is left for the roots that are not loaded, and no more. */
static void test_flush_later(struct kunit *test)
{
	u16 saved[ASI_NR_ROOTS], pending[ASI_NR_ROOTS], id;
	enum asi_root loaded, root;
	unsigned long flags;

	skip_unless_on(test);

	local_irq_save(flags);
	memcpy(saved, this_cpu_ptr(&asi_cpu)->flush_pending, sizeof(saved));
	memset(this_cpu_ptr(&asi_cpu)->flush_pending, 0, sizeof(saved));
	asi_flush_other_roots_later();
	id = __native_read_cr3() & ASI_CR3_ASID_MASK;
	loaded = asi_loaded_root();
	memcpy(pending, this_cpu_ptr(&asi_cpu)->flush_pending, sizeof(saved));
	memcpy(this_cpu_ptr(&asi_cpu)->flush_pending, saved, sizeof(saved));
	local_irq_restore(flags);

	for (root = 0; root < ASI_NR_ROOTS; root++)
		KUNIT_EXPECT_EQ(test, pending[root],
				root != loaded && boot_cpu_has(X86_FEATURE_PCID) ? BIT(id) : 0);
}

/*
 * The guest root of a process has what all restricted roots have in common: nothing of
 * its user half, and nothing of what is mapped for it alone or exposed to it.
 */
static void test_guest_root(struct kunit *test)
{
	pgd_t *common = kernel_to_guest_pgdp(swapper_pg_dir), *guest, *restricted;
	struct mm_struct *mm;
	void *area, *shared;
	int i;

	skip_unless_on(test);
	area = __vmalloc(PAGE_SIZE, GFP_KERNEL | __GFP_SENSITIVE);
	shared = __vmalloc(PAGE_SIZE, GFP_KERNEL | __GFP_SENSITIVE);
	mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, area);
	KUNIT_ASSERT_NOT_NULL(test, shared);
	KUNIT_ASSERT_NOT_NULL(test, mm);
	kthread_use_mm(mm);
	asi_expose(area, PAGE_SIZE);
	guest = kernel_to_guest_pgdp(mm->pgd);

	for (i = 0; i < PTRS_PER_PGD; i++)
		KUNIT_EXPECT_EQ_MSG(test, pgd_val(guest[i]),
				    i < KERNEL_PGD_BOUNDARY ? 0 : pgd_val(common[i]),
				    "entry %d", i);
	KUNIT_EXPECT_EQ(test, pgd_val(guest[pgd_index(ASI_LOCAL_START)]), 0);
	KUNIT_EXPECT_EQ(test, pgd_val(guest[pgd_index((unsigned long)area)]), 0);
	/* What a VM exit loads, where it has to be said. */
	KUNIT_EXPECT_EQ(test, asi_root_of(asi_host_cr3(__pa(mm->pgd))), asi_guest_root);
	/* A control: the restricted root has both. */
	restricted = kernel_to_restricted_pgdp(mm->pgd);
	KUNIT_EXPECT_NE(test, pgd_val(restricted[pgd_index(ASI_LOCAL_START)]), 0);
	KUNIT_EXPECT_NE(test, pgd_val(restricted[pgd_index((unsigned long)area)]), 0);

	/* What is meant for guests too, by tables that have nothing else */
	asi_expose_guest(shared, PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, maps(restricted, shared));
	KUNIT_EXPECT_EQ(test, maps(guest, shared), asi_has_guest_root());
	KUNIT_EXPECT_FALSE(test, maps(guest, area));
	KUNIT_EXPECT_FALSE(test, maps(common, shared));
	asi_hide(shared, PAGE_SIZE);
	KUNIT_EXPECT_FALSE(test, maps(restricted, shared));
	KUNIT_EXPECT_FALSE(test, maps(guest, shared));
	KUNIT_EXPECT_TRUE(test, maps(restricted, area));

	asi_hide(area, PAGE_SIZE);
	kthread_unuse_mm(mm);
	vfree(shared);
	vfree(area);
	mmput(mm);
}

static DEFINE_PER_CPU(int, test_percpu);

static void test_nonsensitive_kinds(struct kunit *test)
{
	void *big, *small, *user_flags, *user_big, *area, *user_area;
	struct kmem_cache *cache;
	int __percpu *percpu;
	int on_stack, cpu;
	unsigned long pfn;

	skip_unless_on(test);
	percpu = alloc_percpu(int);
	big = kunit_kmalloc(test, SZ_64K, GFP_KERNEL);
	small = kunit_kmalloc(test, 64, GFP_KERNEL);
	user_big = kunit_kmalloc(test, SZ_64K, GFP_USER);
	area = vmalloc(SZ_64K);
	user_area = __vmalloc(SZ_64K, GFP_USER | __GFP_ZERO);
	/* A cache without a slab yet: this allocates one. */
	cache = kmem_cache_create("asi_test", 64, 0, SLAB_NO_MERGE, NULL);
	user_flags = cache ? kmem_cache_alloc(cache, GFP_USER) : NULL;
	KUNIT_ASSERT_TRUE(test, percpu);
	KUNIT_ASSERT_NOT_NULL(test, big);
	KUNIT_ASSERT_NOT_NULL(test, small);
	KUNIT_ASSERT_NOT_NULL(test, user_flags);
	KUNIT_ASSERT_NOT_NULL(test, user_big);
	KUNIT_ASSERT_NOT_NULL(test, area);
	KUNIT_ASSERT_NOT_NULL(test, user_area);

	expect_reach(test, small, true);
	expect_reach(test, big, true);
	expect_reach(test, user_flags, true);
	expect_reach(test, user_big, true);
	expect_reach(test, area, true);
	expect_reach(test, page_address(vmalloc_to_page(area)), true);
	expect_reach(test, page_address(vmalloc_to_page(user_area)), true);
	expect_reach(test, &on_stack, true);
	expect_reach(test, current, true);
	expect_reach(test, test_nonsensitive_kinds, true);
	expect_reach(test, &parse_cases, true);
	expect_reach(test, virt_to_page(small), true);
	for (pfn = 0; pfn < max_pfn; pfn += PAGES_PER_SECTION)
		if (pfn_valid(pfn))
			expect_reach(test, pfn_to_page(pfn), true);
#ifdef CONFIG_INET
	/* As large hashes are that were allocated at boot */
	expect_reach(test, tcp_hashinfo.ehash, true);
	expect_reach(test, tcp_hashinfo.ehash + tcp_hashinfo.ehash_mask, true);
#endif
	expect_reach(test, NODE_DATA(numa_node_id()), true);
	expect_reach(test, swapper_pg_dir, true);
	for_each_online_cpu(cpu) {
		expect_reach(test, per_cpu_ptr(percpu, cpu), true);
		expect_reach(test, per_cpu_ptr(&test_percpu, cpu), true);
		expect_reach(test, get_cpu_entry_area(cpu), true);
	}

	kmem_cache_free(cache, user_flags);
	kmem_cache_destroy(cache);
	free_percpu(percpu);
	vfree(area);
	vfree(user_area);
}

/* How many leaves of the unrestricted tables are from @start to @last, and are global. */
static int count_global(struct kunit *test, unsigned long start, unsigned long last)
{
	unsigned int level, there = 0, global = 0;
	unsigned long addr, size;
	pte_t *pte;

	for (addr = start; addr - 1 < last; addr = ALIGN_DOWN(addr, size) + size) {
		pte = lookup_address(addr, &level);
		size = page_level_size(level);
		if (!pte || !(pte_flags(*pte) & _PAGE_PRESENT))
			continue;
		there++;
		global += !!(pte_flags(*pte) & _PAGE_GLOBAL);
	}
	KUNIT_EXPECT_GT(test, there, 0);
	return global;
}

/*
 * Translations that are global stay in the TLB when a root is loaded, whatever that
 * maps. Only those of the image may be, as with KPTI. Nothing else runs at this time that
 * would free tables.
 */
static void test_nothing_is_global(struct kunit *test)
{
	void *area;

	skip_unless_on(test);
	area = vmalloc(PAGE_SIZE);
	KUNIT_ASSERT_NOT_NULL(test, area);
	KUNIT_EXPECT_EQ(test, count_global(test, PAGE_OFFSET,
					   (unsigned long)__va(PFN_PHYS(max_pfn)) - 1), 0);
	KUNIT_EXPECT_EQ(test, count_global(test, VMALLOC_START, VMALLOC_END), 0);
	vfree(area);
}

static void test_sensitive_kinds(struct kunit *test)
{
	static const gfp_t kinds[] = {
		GFP_USER, GFP_HIGHUSER, GFP_HIGHUSER_MOVABLE,
		GFP_USER | __GFP_RECLAIMABLE, GFP_TRANSHUGE_LIGHT,
		GFP_ATOMIC | __GFP_HARDWALL, GFP_KERNEL | __GFP_SENSITIVE,
		GFP_NOFS | __GFP_RECLAIMABLE | __GFP_SENSITIVE,
	};
	unsigned int flags;
	struct page *page;
	int i, order;

	skip_unless_on(test);
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		for (order = 0; order <= HPAGE_PMD_ORDER; order += 3) {
			page = alloc_pages(kinds[i] & ~__GFP_COMP, order);
			KUNIT_ASSERT_NOT_NULL(test, page);
			expect_reach(test, page_address(page), false);
			expect_reach(test, page_address(page) +
				     (PAGE_SIZE << order) - 1, false);
			__free_pages(page, order);
		}
	}

	/* As reclaim asks for it, in a context that makes it unmovable. */
	flags = memalloc_pin_save();
	page = alloc_pages(GFP_NOIO | __GFP_MOVABLE, 0);
	memalloc_pin_restore(flags);
	KUNIT_ASSERT_NOT_NULL(test, page);
	expect_reach(test, page_address(page), false);
	__free_pages(page, 0);
}

/* The negative control of the one before: without the mark it must be seen. */
static void test_sensitive_kinds_unmarked(struct kunit *test)
{
	struct page *page;

	skip_unless_on(test);
	asi_break_mask = ASI_BREAK_NOMARK;
	page = alloc_page(GFP_HIGHUSER_MOVABLE);
	asi_break_mask = 0;
	KUNIT_ASSERT_NOT_NULL(test, page);
	expect_reach(test, page_address(page), true);
	__free_page(page);
}

/* What an allocation may be asked for in, and how. */
struct context {
	const char	*name;
	gfp_t		gfp;
	unsigned int	task_flags;
	unsigned int	order;		/* the largest that must not fail */
	bool		irqs_off;
	bool		nolock;		/* and may find one held, a few times */
	bool		opens;		/* is tried with nothing that is open already */
};

static const struct context contexts[] = {
	{ "ordinary", GFP_KERNEL, .order = 9 },
	{ "no file system", GFP_NOFS, .order = 9 },
	{ "no I/O", GFP_NOIO, .order = 9, .opens = true },
	{ "no effort", GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN, .order = 3 },
	{ "some effort", GFP_KERNEL | __GFP_RETRY_MAYFAIL, .order = 9 },
	{ "no failure", GFP_KERNEL | __GFP_NOFAIL, .order = 1, .opens = true },
	{ "reclaim", GFP_KERNEL, .task_flags = PF_MEMALLOC, .order = 3, .opens = true },
	{ "no I/O in this task", GFP_KERNEL, .task_flags = PF_MEMALLOC_NOIO, .order = 3 },
	{ "reserves", GFP_KERNEL | __GFP_MEMALLOC, .order = 3 },
	{ "no reserves", GFP_KERNEL | __GFP_NOMEMALLOC, .order = 3 },
	{ "this node", GFP_KERNEL | __GFP_THISNODE, .order = 3 },
	{ "accounted", GFP_KERNEL_ACCOUNT, .order = 3 },
	{ "no wait", GFP_NOWAIT },
	{ "atomic", GFP_ATOMIC, .opens = true },
	{ "interrupts off", GFP_ATOMIC, .irqs_off = true },
	{ "no locks", .irqs_off = true, .nolock = true },
};

static struct page *alloc_in(const struct context *context, gfp_t gfp, unsigned int order)
{
	unsigned int flags = current->flags & context->task_flags;
	int tries = context->nolock ? 100 : 1;
	struct page *page = NULL;

	while (!page && tries--) {
		if (context->irqs_off)
			local_irq_disable();
		current->flags |= context->task_flags;
		if (context->nolock)
			page = alloc_pages_nolock(0, NUMA_NO_NODE, order);
		else
			page = alloc_pages(context->gfp | gfp, order);
		current_restore_flags(flags, context->task_flags);
		if (context->irqs_off)
			local_irq_enable();
	}
	return page;
}

/*
 * Of each kind, in each context: how many pages in reach were asked for as sensitive, of
 * @nr that were.
 */
static int sensitive_in_reach(struct kunit *test, int *nr)
{
	static const gfp_t kinds[] = {
		0, __GFP_SENSITIVE, __GFP_SENSITIVE | __GFP_RECLAIMABLE,
		__GFP_DMA32, __GFP_DMA32 | __GFP_SENSITIVE,
	};
	pgd_t *root = kernel_to_restricted_pgdp(swapper_pg_dir);
	const struct context *context;
	unsigned int order;
	int i, reached = 0;

	*nr = 0;
	for (i = 0; i < ARRAY_SIZE(contexts) * ARRAY_SIZE(kinds); i++) {
		gfp_t gfp = kinds[i % ARRAY_SIZE(kinds)];

		context = &contexts[i / ARRAY_SIZE(kinds)];
		if (context->nolock && gfp)
			continue;
		for (order = 0; order <= context->order; order++) {
			struct page *page = alloc_in(context, gfp | __GFP_ZERO, order);
			const u8 *last;

			KUNIT_EXPECT_NOT_NULL_MSG(test, page, "%s, %pGg, order %u",
						  context->name, &gfp, order);
			if (!page)
				continue;
			last = page_address(page) + (PAGE_SIZE << order) - 1;
			KUNIT_EXPECT_NULL(test, memchr_inv(page_address(page), 0,
							   PAGE_SIZE << order));
			if (!(gfp & __GFP_SENSITIVE)) {
				expect_reach(test, page_address(page), true);
				expect_reach(test, last, true);
			} else {
				reached += maps(root, page_address(page)) || maps(root, last);
				++*nr;
			}
			__free_pages(page, order);
		}
	}
	return reached;
}

static void test_contexts(struct kunit *test)
{
	int nr;

	skip_unless_on(test);
	KUNIT_EXPECT_EQ(test, sensitive_in_reach(test, &nr), 0);
	KUNIT_EXPECT_GE(test, nr, 3 * (ARRAY_SIZE(contexts) - 1));
}

static void test_contexts_unmarked(struct kunit *test)
{
	int reached, nr;

	skip_unless_on(test);
	asi_break_mask = ASI_BREAK_NOMARK;
	reached = sensitive_in_reach(test, &nr);
	asi_break_mask = 0;
	KUNIT_EXPECT_EQ(test, reached, nr);
}

#define FLIP_BLOCKS	16	/* to flip */
#define SECRET_BLOCKS	512	/* at most, in which to leave a pattern */
#define SECRET_PAGES	4096	/* the same, of what is left of blocks */

/*
 * What a test takes at once leaves some memory, of a kind that serves everything,
 * for the rest of the system, which has no process to kill yet.
 */
static bool some_are_left(void)
{
	return global_zone_page_state(NR_FREE_PAGES) -
	       global_zone_page_state(NR_FREE_CMA_PAGES) > 24 * pageblock_nr_pages;
}

/*
 * Free blocks, and pages, whose last user has left a pattern in them: so many that most
 * of those which are flipped, or lent, next are among them.
 */
static void leave_secrets(struct kunit *test)
{
	gfp_t gfp = (GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM) | __GFP_NOWARN;
	struct page *page, *next;
	LIST_HEAD(blocks);
	LIST_HEAD(pages);
	int nr;

	for (nr = 0; nr < SECRET_BLOCKS; nr++) {
		page = some_are_left() ? alloc_pages(gfp, pageblock_order) : NULL;
		if (!page)
			break;
		memset(page_address(page), 0x5e, PAGE_SIZE << pageblock_order);
		list_add(&page->lru, &blocks);
	}
	KUNIT_EXPECT_GE(test, nr, FLIP_BLOCKS);
	for (nr = 0; nr < SECRET_PAGES; nr++) {
		page = some_are_left() ? alloc_page(gfp) : NULL;
		if (!page)
			break;
		memset(page_address(page), 0x5e, PAGE_SIZE);
		list_add(&page->lru, &pages);
	}
	list_for_each_entry_safe(page, next, &pages, lru)
		__free_page(page);
	list_for_each_entry_safe(page, next, &blocks, lru)
		__free_pages(page, pageblock_order);
	drain_all_pages(NULL);
}

/* Some bytes of it may be in anything. */
static bool holds_secret(const struct page *page)
{
	int i;

	for (i = 0; i < pageblock_nr_pages; i++)
		if (!memchr_inv(page_address(page + i), 0x5e, 64))
			return true;
	return false;
}

/* Flip blocks by asking for them; say whether any secret came along. */
static bool secrets_after_flip(struct kunit *test)
{
	unsigned long before = count_event(ASI_BLOCK_TO_NONSENSITIVE);
	struct page *pages[FLIP_BLOCKS];
	bool found = false;
	int i, nr;

	for (nr = 0; nr < ARRAY_SIZE(pages); nr++) {
		pages[nr] = alloc_pages(GFP_KERNEL, pageblock_order);
		KUNIT_ASSERT_NOT_NULL(test, pages[nr]);
		expect_reach(test, page_address(pages[nr]), true);
		found |= holds_secret(pages[nr]);
	}
	for (i = 0; i < nr; i++)
		__free_pages(pages[i], pageblock_order);
	drain_all_pages(NULL);

	KUNIT_EXPECT_GE(test, count_event(ASI_BLOCK_TO_NONSENSITIVE),
			before + FLIP_BLOCKS / 2);
	return found;
}

/* Back to sensitive, every block that is free. */
static int flip_back(struct kunit *test)
{
	unsigned long before = count_event(ASI_BLOCK_TO_SENSITIVE);
	struct zone *zone;

	/* The initramfs, when it has been freed, may be on a list of a CPU. */
	drain_all_pages(NULL);
	for_each_populated_zone(zone)
		while (asi_flip_block(zone, pageblock_order, GFP_KERNEL, 0,
				      MIGRATE_MOVABLE))
			;
	return count_event(ASI_BLOCK_TO_SENSITIVE) - before;
}

static void test_flip_clears(struct kunit *test)
{
	skip_unless_on(test);

	flip_back(test);
	leave_secrets(test);
	KUNIT_EXPECT_FALSE(test, secrets_after_flip(test));
}

static void test_flip_clears_broken(struct kunit *test)
{
	skip_unless_on(test);
	if (page_poisoning_enabled_static() || want_init_on_free() ||
	    want_init_on_alloc(GFP_KERNEL) || debug_pagealloc_enabled_static())
		kunit_skip(test, "free pages are overwritten in any case");
	/* Where the secrets are is not where memory is short. */
	if (nr_online_nodes > 1)
		kunit_skip(test, "blocks of another node may be flipped");

	flip_back(test);
	leave_secrets(test);
	asi_break_mask = ASI_BREAK_NOCLEAR;
	KUNIT_EXPECT_TRUE(test, secrets_after_flip(test));
	asi_break_mask = 0;
	/* Do not leave it so. */
	flip_back(test);
}

/*
 * Read a byte in the restricted address space, and say how many exits that
 * took: 0 when it is mapped there, 1 when it is not. The page may be free.
 */
static __no_sanitize_address int exits_of_access(const u8 *address)
{
	unsigned long before, flags;
	int exits;

	local_irq_save(flags);
	enter();
	before = this_cpu_read(vm_event_states.event[ASI_EXIT]);
	(void)READ_ONCE(*address);
	exits = this_cpu_read(vm_event_states.event[ASI_EXIT]) - before;
	local_irq_restore(flags);
	return exits;
}

/* Objects of all sizes, and none of them on a page with a nonsensitive one. */
static void test_sensitive_slab(struct kunit *test)
{
	static const gfp_t flags[] = {
		GFP_KERNEL, GFP_KERNEL_ACCOUNT, GFP_ATOMIC, GFP_USER,
		GFP_KERNEL | __GFP_RECLAIMABLE,
	};
	struct kmem_cache *plain, *cache, *twin;
	void *objects[16];
	size_t size;
	void *p;
	int i;

	skip_unless_on(test);
	for (size = 1; size <= 4 * KMALLOC_MAX_CACHE_SIZE; size += size / 2 + 1) {
		for (i = 0; i < ARRAY_SIZE(flags); i++) {
			p = kmalloc(size, flags[i] | __GFP_SENSITIVE);
			KUNIT_ASSERT_NOT_NULL(test, p);
			expect_reach(test, p, false);
			expect_reach(test, p + size - 1, false);
			kfree(p);

			p = kmalloc(size, flags[i]);
			KUNIT_ASSERT_NOT_NULL(test, p);
			expect_reach(test, p, true);
			kfree(p);
		}
	}

	/* What it is does not depend on who makes it grow. */
	p = kmalloc(64, GFP_KERNEL | __GFP_SENSITIVE);
	for (size = 128; size <= 4 * KMALLOC_MAX_CACHE_SIZE; size *= 4) {
		void *larger = krealloc(p, size, GFP_KERNEL);

		KUNIT_ASSERT_NOT_NULL(test, larger);
		p = larger;
		expect_reach(test, p, false);
	}
	kfree(p);

	plain = kmem_cache_create("asi_plain", 328, 0, 0, NULL);
	cache = kmem_cache_create("asi_sensitive", 328, 0, SLAB_SENSITIVE, NULL);
	twin = kmem_cache_create("asi_twin", 328, 0, 0, NULL);
	KUNIT_ASSERT_NOT_NULL(test, plain);
	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_ASSERT_NOT_NULL(test, twin);
	KUNIT_EXPECT_PTR_NE(test, plain, cache);
	KUNIT_EXPECT_PTR_NE(test, twin, cache);

	KUNIT_ASSERT_TRUE(test, kmem_cache_alloc_bulk(cache, GFP_KERNEL,
						      ARRAY_SIZE(objects), objects));
	for (i = 0; i < ARRAY_SIZE(objects); i++)
		expect_reach(test, objects[i], false);
	kmem_cache_free_bulk(cache, ARRAY_SIZE(objects), objects);

	p = kmem_cache_alloc(twin, GFP_KERNEL | __GFP_SENSITIVE);
	KUNIT_ASSERT_NOT_NULL(test, p);
	/* It is the cache that decides, for all of its objects. */
	expect_reach(test, p, true);
	kmem_cache_free(twin, p);

	kmem_cache_destroy(plain);
	kmem_cache_destroy(cache);
	kmem_cache_destroy(twin);
}

static void expect_area(struct kunit *test, const void *area, bool restricted)
{
	KUNIT_ASSERT_NOT_NULL(test, area);
	expect_reach(test, area, restricted);
	KUNIT_EXPECT_EQ(test, restricted, (unsigned long)area < ASI_VMALLOC_START);
	KUNIT_EXPECT_EQ(test, exits_of_access(area), restricted ? 0 : 1);
}

/* A mapping in the vmalloc area is no way around the direct map. */
static void test_sensitive_vmalloc(struct kunit *test)
{
	struct page *pages[2 * BITS_PER_LONG];	/* more than vm_map_ram() pools */
	int sizes[] = { 1, 2, ARRAY_SIZE(pages) };
	int i, n;
	void *p;

	skip_unless_on(test);
	p = __vmalloc(SZ_64K, GFP_KERNEL | __GFP_SENSITIVE | __GFP_ZERO);
	expect_area(test, p, false);
	expect_reach(test, page_address(vmalloc_to_page(p)), false);
	p = vrealloc(p, SZ_128K, GFP_KERNEL);
	expect_area(test, p, false);
	p = kvrealloc(p, SZ_256K, GFP_KERNEL);
	expect_area(test, p, false);
	expect_reach(test, page_address(vmalloc_to_page(p)), false);
	vfree(p);

	p = kvmalloc(SZ_8M, GFP_KERNEL | __GFP_SENSITIVE);
	expect_area(test, p, false);
	kvfree(p);
	p = vmalloc(SZ_64K);
	expect_area(test, p, true);
	vfree(p);

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		pages[i] = alloc_page(GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, pages[i]);
	}
	for (n = 0; n < ARRAY_SIZE(sizes); n++) {
		p = vmap(pages, sizes[n], VM_MAP, PAGE_KERNEL);
		expect_area(test, p, true);
		vunmap(p);
		p = vm_map_ram(pages, sizes[n], NUMA_NO_NODE);
		expect_area(test, p, true);
		vm_unmap_ram(p, sizes[n]);
	}
	/* One that must not be seen hides the others. */
	for (n = 0; n < ARRAY_SIZE(sizes); n++) {
		i = sizes[n] - 1;
		__free_page(pages[i]);
		pages[i] = alloc_page(GFP_HIGHUSER_MOVABLE);
		KUNIT_ASSERT_NOT_NULL(test, pages[i]);
		p = vmap(pages, sizes[n], VM_MAP, PAGE_KERNEL);
		expect_area(test, p, false);
		vunmap(p);
		p = vm_map_ram(pages, sizes[n], NUMA_NO_NODE);
		expect_area(test, p, false);
		vm_unmap_ram(p, sizes[n]);
	}
	for (i = 0; i < ARRAY_SIZE(pages); i++)
		__free_page(pages[i]);
}

/* The first page of a block that the page allocator may ever have. */
static struct page *first_page(unsigned long pfn)
{
	unsigned long end = pageblock_end_pfn(pfn);
	struct page *page;

	for (; pfn < end; pfn++) {
		page = pfn_to_online_page(pfn);
		if (page && !PageReserved(page))
			return page;
	}
	return NULL;
}

static bool block_agrees(struct page *page)
{
	unsigned long pfn = page_to_pfn(page);
	int mt, tries;

	/* It may be about to be flipped. */
	for (tries = 0; tries < 100; tries++) {
		mt = get_pageblock_migratetype(page);
		if (mt == MIGRATE_ISOLATE ||
		    (mt == MIGRATE_MIXED && asi_block_split(pfn)) ||
		    migratetype_is_sensitive(mt) != asi_block_mapped(pfn))
			return true;
		fsleep(USEC_PER_MSEC);
	}
	return false;
}

static void test_flip_to_sensitive(struct kunit *test, int expected)
{
	struct page *page;
	unsigned long pfn;
	u8 *address;

	page = alloc_pages(GFP_KERNEL, pageblock_order);
	KUNIT_ASSERT_NOT_NULL(test, page);
	address = page_address(page);
	pfn = page_to_pfn(page);

	KUNIT_EXPECT_TRUE(test, asi_block_mapped(pfn));
	KUNIT_EXPECT_EQ(test, 0, exits_of_access(address));

	__free_pages(page, pageblock_order);
	drain_all_pages(NULL);
	KUNIT_EXPECT_GE(test, flip_back(test), 1);

	KUNIT_EXPECT_EQ(test, !expected, asi_block_mapped(pfn));
	if (!debug_pagealloc_enabled_static())
		KUNIT_EXPECT_EQ(test, expected, exits_of_access(address));
}

static void test_flip_unmaps(struct kunit *test)
{
	skip_unless_on(test);
	test_flip_to_sensitive(test, 1);
}

static void test_flip_unmaps_broken(struct kunit *test)
{
	unsigned long pfn, mended = 0;
	struct page *page;

	skip_unless_on(test);
	asi_break_mask = ASI_BREAK_NOUNMAP;
	test_flip_to_sensitive(test, 0);
	asi_break_mask = 0;

	/* Do not leave it so. */
	for (pfn = 0; pfn < max_pfn; pfn += pageblock_nr_pages) {
		page = first_page(pfn);
		if (page && !block_agrees(page))
			mended += asi_unmap_block(pfn);
	}
	flush_tlb_all();
	KUNIT_EXPECT_GT(test, mended, 0);
}

/* The ways in which pages that are mapped cease to be. */
enum way {
	WAY_FLIP,	/* of the block that they are */
	WAY_OPEN,	/* of a block of which other pages are in use */
	WAY_CLOSE,	/* of a block that had lent them */
	WAY_HIDE,	/* of an area that one mm was to map */
	WAY_HIDE_LAZY,	/* the same, while a CPU only happens to have that mm */
};

/* A CPU that stays restricted while another one takes pages away. */
struct bystander {
	const u8 *address;
	struct mm_struct *mm;	/* to have loaded, or NULL */
	bool lazy;		/* not to use it, either */
	bool window;		/* of another CPU: nothing brings it here */
	bool ready, go, valid, lost;
};

/* A lazy CPU is made to load another mm instead of flushing this one. */
static unsigned long transitions(const struct bystander *bystander)
{
	unsigned long exits = this_cpu_read(vm_event_states.event[ASI_EXIT]);

	if (bystander->lazy)
		return exits;
	return exits + this_cpu_read(vm_event_states.event[ASI_SWITCH]);
}

static bool readable(const void *address)
{
	u8 byte;

	return !copy_from_kernel_nofault(&byte, address, 1);
}

/*
 * A window of the loaded mm, or NULL, onto a page that is @own or not. Interrupts may
 * make this CPU exit first.
 */
static void *open_window_of(struct page *page, bool own)
{
	int tries = 400;
	void *window;

	do {
		local_irq_disable();
		enter();
		local_irq_enable();
		window = kmap_window_only(page, own);
		if (!window)
			udelay(5);
	} while (!window && --tries);
	return window;
}

static void *open_window(struct page *page)
{
	return open_window_of(page, false);
}

/*
 * Use a translation, over and over lest the interrupts in between evict it from
 * the TLB, until it is gone there or has ceased to be in the page table.
 *
 * Whoever wants this CPU gets it, and the attempt is spoilt: stop_machine() has
 * displaced who would tell to go on.
 */
static __no_sanitize_address int stand_by(void *data)
{
	struct bystander *bystander = data;
	unsigned long before;
	bool go;

	if (bystander->mm)
		kthread_use_mm(bystander->mm);
	preempt_disable();
	if (bystander->lazy)
		kthread_unuse_mm(bystander->mm);
	local_irq_disable();
	enter();
	before = transitions(bystander);
	do {
		/* Pairs with is_stale(): the page is not mapped any more. */
		go = smp_load_acquire(&bystander->go);
		/* Otherwise, an interrupt has left the restricted address space. */
		bystander->valid = asi_in_restricted() &&
				   transitions(bystander) == before;
		if (bystander->window) {
			bystander->lost = !readable(bystander->address);
		} else {
			(void)READ_ONCE(*bystander->address);
			bystander->lost = transitions(bystander) != before;
		}
		/* Pairs with is_stale(): the translation is in the TLB. */
		smp_store_release(&bystander->ready, true);
		local_irq_enable();
		/* STI takes effect with a delay, and longer before a PAUSE in TCG. */
		udelay(1);
		local_irq_disable();
	} while (!go && !bystander->lost && !need_resched());
	bystander->valid &= go || bystander->lost;
	local_irq_enable();
	/* Pairs with is_stale(), which looks no earlier. */
	while (!smp_load_acquire(&bystander->go) && !need_resched())
		cpu_relax();
	preempt_enable();
	if (bystander->mm && !bystander->lazy)
		kthread_unuse_mm(bystander->mm);
	return 0;
}

/*
 * Free all but one page of a block, and have the block become mixed, but few
 * others: whose pages stay in use will stay mixed.
 */
static void open_rest(struct page *block, unsigned int kept)
{
	struct zone *zone = page_zone(block);
	int i, tries = 100;

	for (i = 0; i < pageblock_nr_pages; i++) {
		if (i != kept)
			__free_page(block + i);
	}
	drain_local_pages(NULL);
	while (!asi_block_split(page_to_pfn(block)) && tries--)
		asi_open_blocks(zone, pageblock_order - 1, GFP_KERNEL, ALLOC_MIX,
				MIGRATE_MOVABLE);
}

#define HIDDEN_PAGES	64	/* more than are flushed one by one */
#define HIDDEN_SIZE	(HIDDEN_PAGES * PAGE_SIZE)

static void take_away(struct kunit *test, enum way way, struct page *block,
		      unsigned int kept, const void *area)
{
	switch (way) {
	case WAY_FLIP:
		__free_pages(block, pageblock_order);
		drain_local_pages(NULL);
		flip_back(test);
		break;
	case WAY_OPEN:
		open_rest(block, kept);
		break;
	case WAY_CLOSE:
		__free_page(block + kept);
		asi_drain_held();
		break;
	case WAY_HIDE:
	case WAY_HIDE_LAZY:
		asi_hide(area, HIDDEN_SIZE);
		break;
	}
}

/* A sensitive area that an mm, which is made for that, maps. */
static void *exposed_area(struct kunit *test, unsigned long size,
			  struct mm_struct **mm)
{
	void *area = __vmalloc(size, GFP_KERNEL | __GFP_SENSITIVE);

	*mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, area);
	KUNIT_ASSERT_NOT_NULL(test, *mm);
	kthread_use_mm(*mm);
	asi_expose(area, size);
	kthread_unuse_mm(*mm);
	return area;
}

/*
 * Take a page away while another CPU has its translation. Whether that CPU
 * could still use it: 1 or 0, or -1 if an interrupt there has spoilt the attempt.
 * Attempts take different pages, as a TLB may have no room for some.
 */
static int is_stale(struct kunit *test, enum way way, unsigned int nr)
{
	unsigned int kept = nr % pageblock_nr_pages;
	struct page *block = alloc_pages(GFP_KERNEL, pageblock_order);
	struct bystander bystander = {};
	struct task_struct *task;
	void *area = NULL;
	unsigned int cpu;
	bool gone;

	KUNIT_ASSERT_NOT_NULL(test, block);
	bystander.address = page_address(block + kept);
	if (way == WAY_OPEN || way == WAY_CLOSE)
		split_page(block, pageblock_order);
	if (way == WAY_HIDE || way == WAY_HIDE_LAZY)
		area = exposed_area(test, HIDDEN_SIZE, &bystander.mm);
	if (area)
		bystander.address = area + PAGE_SIZE * (nr % HIDDEN_PAGES);
	bystander.lazy = way == WAY_HIDE_LAZY;
	if (way == WAY_OPEN)
		bystander.address = page_address(block + pageblock_nr_pages - 1 - kept);

	/* The bystander does not let anybody else run. */
	migrate_disable();
	if (way == WAY_CLOSE)
		open_rest(block, kept);
	cpu = cpumask_any_but(cpu_online_mask, smp_processor_id());
	task = kthread_create_on_cpu(stand_by, &bystander, cpu, "asi_test/%u");
	if (!IS_ERR(task)) {
		get_task_struct(task);
		wake_up_process(task);
		/* Pairs with stand_by(). */
		while (!smp_load_acquire(&bystander.ready))
			cond_resched();
	}

	take_away(test, way, block, kept, area);
	if (bystander.mm)
		gone = !maps(kernel_to_restricted_pgdp(bystander.mm->pgd),
			     bystander.address);
	else
		gone = !asi_page_mapped(PHYS_PFN(__pa(bystander.address)));

	if (!IS_ERR(task)) {
		/* Pairs with stand_by(). */
		smp_store_release(&bystander.go, true);
		kthread_stop_put(task);
	}
	migrate_enable();
	if (way == WAY_OPEN)
		take_away(test, WAY_CLOSE, block, kept, NULL);
	vfree(area);
	if (bystander.mm) {
		mmput(bystander.mm);
		__free_pages(block, pageblock_order);
	}

	return gone && bystander.valid ? !bystander.lost : -1;
}

/*
 * In how many of some attempts that nothing spoilt a translation survived. The
 * CPU may have lost it without a flush; so where it is to survive, once will do.
 */
static void test_stale(struct kunit *test, enum way way, unsigned long broken)
{
	int tries, count[2] = {}, stale;

	if (num_online_cpus() < 2 || debug_pagealloc_enabled_static())
		kunit_skip(test, "needs two CPUs, and memory that stays mapped");
	asi_break_mask = broken;
	for (tries = 0; tries < 200; tries++) {
		stale = is_stale(test, way, tries);
		if (stale >= 0)
			count[stale]++;
		if (broken ? count[1] : count[0] + count[1] == 10)
			break;
	}
	asi_break_mask = 0;
	flush_tlb_all();
	kunit_info(test, "%d of %d times a stale translation was left", count[1],
		   count[0] + count[1]);
	if (!count[0] && !count[1])
		kunit_skip(test, "the other CPU was never left alone");
	if (broken)
		KUNIT_EXPECT_GT(test, count[1], 0);
	else
		KUNIT_EXPECT_EQ(test, count[1], 0);
}

static void test_flip_flushes(struct kunit *test)
{
	skip_unless_on(test);
	test_stale(test, WAY_FLIP, 0);
}

static void test_flip_flushes_broken(struct kunit *test)
{
	skip_unless_on(test);
	test_stale(test, WAY_FLIP, ASI_BREAK_NOFLUSH);
}

static void test_open_flushes(struct kunit *test)
{
	skip_unless_on(test);
	test_stale(test, WAY_OPEN, 0);
}

static void test_open_flushes_broken(struct kunit *test)
{
	skip_unless_on(test);
	test_stale(test, WAY_OPEN, ASI_BREAK_NOFLUSH);
}

static void test_close_flushes(struct kunit *test)
{
	skip_unless_on(test);
	test_stale(test, WAY_CLOSE, 0);
}

static void test_close_flushes_broken(struct kunit *test)
{
	skip_unless_on(test);
	test_stale(test, WAY_CLOSE, ASI_BREAK_NOFLUSH);
}

static void test_hide_flushes(struct kunit *test)
{
	skip_unless_on(test);
	test_stale(test, WAY_HIDE, 0);
}

static void test_hide_flushes_broken(struct kunit *test)
{
	skip_unless_on(test);
	test_stale(test, WAY_HIDE, ASI_BREAK_NOFLUSH);
}

static void test_hide_flushes_lazy(struct kunit *test)
{
	skip_unless_on(test);
	test_stale(test, WAY_HIDE_LAZY, 0);
}

static void test_hide_flushes_lazy_broken(struct kunit *test)
{
	skip_unless_on(test);
	test_stale(test, WAY_HIDE_LAZY, ASI_BREAK_NOFLUSH);
}

/* A request that is larger than a block flips all of what it gets. */
static void test_flip_large(struct kunit *test)
{
	struct page *page;
	unsigned long i;

	skip_unless_on(test);
	flip_back(test);
	page = alloc_pages(GFP_KERNEL | __GFP_NOWARN, MAX_PAGE_ORDER);
	if (!page)
		kunit_skip(test, "no memory of that order");
	for (i = 0; i < MAX_ORDER_NR_PAGES; i += pageblock_nr_pages)
		expect_reach(test, page_address(page + i), true);
	__free_pages(page, MAX_PAGE_ORDER);
	drain_all_pages(NULL);
	while (asi_flip_block(page_zone(page), MAX_PAGE_ORDER, GFP_KERNEL, 0,
			      MIGRATE_MOVABLE))
		;
	for (i = 0; i < MAX_ORDER_NR_PAGES; i += pageblock_nr_pages)
		KUNIT_EXPECT_FALSE(test, asi_block_mapped(page_to_pfn(page) + i));
}

/* A change of attributes reaches both direct maps, at either granularity. */
static void test_attributes(struct kunit *test)
{
	struct page *page = alloc_pages(GFP_KERNEL, pageblock_order);
	unsigned long addr;

	skip_unless_on(test);
	KUNIT_ASSERT_NOT_NULL(test, page);
	addr = (unsigned long)page_address(page);

	/* Splits the 2 MiB page */
	KUNIT_EXPECT_EQ(test, 0, set_direct_map_invalid_noflush(page + 7));
	KUNIT_EXPECT_FALSE(test, maps(swapper_pg_dir, (void *)addr + 7 * PAGE_SIZE));
	KUNIT_EXPECT_FALSE(test, maps(kernel_to_restricted_pgdp(swapper_pg_dir),
				      (void *)addr + 7 * PAGE_SIZE));
	expect_reach(test, (void *)addr, true);
	KUNIT_EXPECT_EQ(test, 0, set_direct_map_default_noflush(page + 7));
	expect_reach(test, (void *)addr + 7 * PAGE_SIZE, true);

	/* All of it */
	KUNIT_EXPECT_EQ(test, 0, set_memory_ro(addr, pageblock_nr_pages));
	KUNIT_EXPECT_EQ(test, 0, set_memory_rw(addr, pageblock_nr_pages));
	expect_reach(test, (void *)addr, true);

	/* Into a 2 MiB page again, and the table that it has had is freed. */
	KUNIT_EXPECT_EQ(test, 0, set_memory_rox(addr, pageblock_nr_pages));
	KUNIT_EXPECT_EQ(test, PG_LEVEL_2M, level_of(swapper_pg_dir, (void *)addr));
	KUNIT_EXPECT_EQ(test, PG_LEVEL_2M,
			level_of(kernel_to_restricted_pgdp(swapper_pg_dir), (void *)addr));
	KUNIT_EXPECT_EQ(test, 0, set_memory_nx(addr, pageblock_nr_pages));
	KUNIT_EXPECT_EQ(test, 0, set_memory_rw(addr, pageblock_nr_pages));
	expect_reach(test, (void *)addr, true);
	flush_tlb_all();
	__free_pages(page, pageblock_order);
}

/* The kernel image has a second mapping: no part of it may become sensitive. */
static void test_image_is_pinned(struct kunit *test)
{
	unsigned long addr, pfn;

	skip_unless_on(test);
	flip_back(test);
	for (addr = (unsigned long)_text; addr < (unsigned long)_end; addr += PAGE_SIZE) {
		pfn = PHYS_PFN(__pa_symbol(addr));
		KUNIT_ASSERT_TRUE(test, asi_block_pinned(pfn));
		/* A last block of nothing but brk that is not used is not mapped. */
		if (maps(swapper_pg_dir, (void *)addr))
			KUNIT_ASSERT_TRUE(test, asi_block_mapped(pfn));
	}
	/* That mapping does not go beyond the last block of the image. */
	KUNIT_EXPECT_FALSE(test, maps(swapper_pg_dir,
				      (void *)ALIGN((unsigned long)_end, PMD_SIZE)));
}

#define OPEN_PAGES	(96 * pageblock_nr_pages)

/* Ask for pages until a block has become mixed, and then for some more. */
static void mix_kinds(gfp_t gfp, struct list_head *pages)
{
	unsigned long before = count_event(ASI_BLOCK_MIXED);
	int more = 8 * pageblock_nr_pages;
	struct page *page;

	while (more && some_are_left()) {
		page = alloc_page(gfp | __GFP_NORETRY | __GFP_NOWARN);
		if (!page)
			break;
		list_add(&page->lru, pages);
		if (count_event(ASI_BLOCK_MIXED) != before)
			more--;
	}
}

static void free_list_of_pages(struct list_head *pages)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, pages, lru)
		__free_page(page);
	INIT_LIST_HEAD(pages);
	drain_all_pages(NULL);
}

/*
 * Blocks of a kind each of which is in use, but most of it is free. Returns how many exits
 * it took to have their translations in the TLB.
 */
static int fragment(struct kunit *test, gfp_t gfp, struct list_head *kept)
{
	struct page *page, *next;
	LIST_HEAD(pages);
	int i, exits = 0;

	for (i = 0; i < OPEN_PAGES; i++) {
		page = alloc_page(gfp);
		KUNIT_EXPECT_NOT_NULL(test, page);
		if (!page)
			break;
		exits += exits_of_access(page_address(page));
		list_add(&page->lru, &pages);
	}
	list_for_each_entry_safe(page, next, &pages, lru)
		if (page_to_pfn(page) % 64 == 0)
			list_move(&page->lru, kept);
	free_list_of_pages(&pages);
	return exits;
}

/* A block is mixed only while a page of it is lent; the last may be about to come back. */
static bool mixed_for_a_reason(unsigned long pfn)
{
	struct zone *zone = page_zone(pfn_to_page(pfn));
	unsigned long page, free, start = pageblock_start_pfn(pfn);
	bool lent, lent_free;
	int tries;

	for (tries = 0; tries < 100; tries++) {
		scoped_guard(spinlock_irqsave, &zone->lock) {
			if (!asi_block_split(pfn))
				return true;
			free = start;
			lent = false;
			lent_free = false;
			for (page = start; page < start + pageblock_nr_pages; page++) {
				if (PageBuddy(pfn_to_page(page)))
					free = page + (1UL << page_private(pfn_to_page(page)));
				if (asi_page_lent(page)) {
					lent = true;
					lent_free |= page < free;
				}
			}
		}
		/* None that is on a list may be */
		if (lent_free)
			return false;
		if (lent)
			return true;
		fsleep(USEC_PER_MSEC);
	}
	return false;
}

/* Nonsensitive pages out of sensitive blocks: say how many hold a secret. */
static int lend(struct kunit *test, unsigned long broken)
{
	int i, lent = 0, secrets = 0, closed = 0;
	static unsigned long pfns[4096];
	struct page *page;
	LIST_HEAD(pages);

	flip_back(test);
	leave_secrets(test);
	asi_break_mask = ASI_BREAK_NOFLIP | broken;
	mix_kinds(GFP_KERNEL, &pages);
	asi_break_mask = 0;

	list_for_each_entry(page, &pages, lru) {
		const u8 *address = page_address(page);

		if (!asi_block_split(page_to_pfn(page)) || lent == ARRAY_SIZE(pfns))
			continue;
		pfns[lent++] = page_to_pfn(page);
		expect_reach(test, address, true);
		KUNIT_EXPECT_EQ(test, exits_of_access(address), 0);
		if (!memchr_inv(address, 0x5e, 64))
			secrets++;
	}
	KUNIT_EXPECT_GE(test, lent, pageblock_nr_pages / 2);

	/* Freed, they must not be in reach when they are handed out again. */
	free_list_of_pages(&pages);
	mix_kinds(GFP_HIGHUSER, &pages);
	list_for_each_entry(page, &pages, lru)
		if (maps(kernel_to_restricted_pgdp(swapper_pg_dir), page_address(page)) ||
		    exits_of_access(page_address(page)) != 1)
			break;
	KUNIT_EXPECT_TRUE(test, list_entry_is_head(page, &pages, lru));
	free_list_of_pages(&pages);

	for (i = 0; i < lent; i++) {
		if (!mixed_for_a_reason(pfns[i])) {
			KUNIT_FAIL(test, "the block of %lx has not closed", pfns[i]);
			break;
		}
		closed += !asi_block_split(pfns[i]);
	}
	kunit_info(test, "%d of %d pages are in blocks that closed", closed, lent);
	return secrets;
}

static void test_lend(struct kunit *test)
{
	skip_unless_on(test);
	KUNIT_EXPECT_EQ(test, lend(test, 0), 0);
}

static void test_lend_broken(struct kunit *test)
{
	skip_unless_on(test);
	if (page_poisoning_enabled_static() || want_init_on_free() ||
	    want_init_on_alloc(GFP_KERNEL) || debug_pagealloc_enabled_static())
		kunit_skip(test, "free pages are overwritten in any case");
	if (nr_online_nodes > 1)
		kunit_skip(test, "another node may lend");
	KUNIT_EXPECT_GT(test, lend(test, ASI_BREAK_NOCLEAR), 0);
}

/*
 * Takes what is open, as far down as atomic requests go: who neither waits nor wakes anybody
 * opens no more.
 */
static void take_open(struct kunit *test, struct list_head *pages)
{
	struct page *page;

	do {
		KUNIT_EXPECT_TRUE(test, some_are_left());
		page = some_are_left() ? alloc_page(__GFP_SENSITIVE | __GFP_HIGH |
						    __GFP_NOWARN) : NULL;
		if (page)
			list_add(&page->lru, pages);
	} while (page);
}

/* Who must not wait fails, which is counted, and then there is some. */
static void expect_later(struct kunit *test, const struct context *context,
			 struct list_head *pages)
{
	unsigned long failed = count_event(ASI_ATOMIC_FAILED);
	struct page *page;
	int tries;

	page = alloc_in(context, __GFP_SENSITIVE | __GFP_NOWARN, 0);
	KUNIT_EXPECT_TRUE_MSG(test, page || count_event(ASI_ATOMIC_FAILED) > failed, "%s",
			      context->name);
	KUNIT_EXPECT_NULL_MSG(test, page, "%s", context->name);
	for (tries = 0; !page && tries < 1000; tries++) {
		fsleep(USEC_PER_MSEC);
		page = alloc_in(context, __GFP_SENSITIVE | __GFP_NOWARN, 0);
	}
	KUNIT_EXPECT_NOT_NULL_MSG(test, page, "%s", context->name);
	if (page)
		list_add(&page->lru, pages);
}

/*
 * Pages that are lent or opened, for each context that has a right to them, when there is
 * no other free memory of that kind. The first try is one that may fail: the others do not
 * give up before there is nobody left to be killed.
 */
static void expect_mixed(struct kunit *test, gfp_t kind, struct list_head *pages)
{
	const struct context *context;
	struct page *page;
	int i, tries;

	for (i = 0; i < ARRAY_SIZE(contexts); i++) {
		context = &contexts[i];
		if (context->nolock || (kind && !context->opens))
			continue;
		/* A few of the ordinary ones may be on a list of a CPU. */
		for (tries = 0; tries < 4096; tries++) {
			page = some_are_left() ? alloc_page(GFP_KERNEL | __GFP_NORETRY |
							    __GFP_NOWARN | kind) : NULL;
			if (!page)
				break;
			list_add(&page->lru, pages);
			if (asi_block_split(page_to_pfn(page)))
				break;
		}
		KUNIT_EXPECT_TRUE_MSG(test, page && tries < 4096, "before %s", context->name);
		if (!page)
			return;
		if (kind)
			take_open(test, pages);
		if (kind && !gfpflags_allow_blocking(context->gfp)) {
			expect_later(test, context, pages);
			continue;
		}
		page = alloc_in(context, kind | __GFP_NOWARN, 0);
		KUNIT_EXPECT_NOT_NULL_MSG(test, page, "%s", context->name);
		if (!page)
			return;
		list_add(&page->lru, pages);
		expect_reach(test, page_address(page), !kind);
		KUNIT_EXPECT_TRUE_MSG(test, asi_block_split(page_to_pfn(page)), "%s",
				      context->name);
	}
}

static void test_lend_contexts(struct kunit *test)
{
	LIST_HEAD(pages);
	LIST_HEAD(kept);

	skip_unless_on(test);
	flip_back(test);
	fragment(test, GFP_HIGHUSER, &kept);
	asi_break_mask = ASI_BREAK_NOFLIP;
	mix_kinds(GFP_KERNEL, &pages);
	expect_mixed(test, 0, &pages);
	asi_break_mask = 0;
	free_list_of_pages(&pages);
	free_list_of_pages(&kept);
}

/*
 * A page that was lent and is held serves the next nonsensitive request as it is. If it had
 * been drained first, to be lent again, it would have been cleared.
 */
static void test_held_page(struct kunit *test)
{
	struct page *page, *lent = NULL;
	bool taken = false;
	LIST_HEAD(pages);
	LIST_HEAD(kept);
	int tries;

	skip_unless_on(test);
	if (page_poisoning_enabled_static() || want_init_on_free() ||
	    want_init_on_alloc(GFP_KERNEL) || debug_pagealloc_enabled_static())
		kunit_skip(test, "pages are overwritten in any case");

	flip_back(test);
	fragment(test, GFP_HIGHUSER, &kept);
	asi_break_mask = ASI_BREAK_NOFLIP;
	mix_kinds(GFP_KERNEL, &pages);
	for (tries = 0; tries < 100 && !taken; tries++) {
		list_for_each_entry(page, &pages, lru)
			if (asi_page_lent(page_to_pfn(page)))
				break;
		if (list_entry_is_head(page, &pages, lru))
			break;
		lent = page;
		list_del(&lent->lru);
		memset(page_address(lent), 0xa5, PAGE_SIZE);
		__free_page(lent);
		page = alloc_page(GFP_ATOMIC);
		if (!page)
			break;
		expect_reach(test, page_address(page), true);
		taken = page == lent && !memchr_inv(page_address(page), 0xa5, PAGE_SIZE);
		list_add(&page->lru, &pages);
	}
	asi_break_mask = 0;
	KUNIT_EXPECT_NOT_NULL(test, lent);
	KUNIT_EXPECT_TRUE(test, taken);
	free_list_of_pages(&pages);
	free_list_of_pages(&kept);
}

/* Sensitive pages out of nonsensitive blocks, each of which is in use. */
static void test_open(struct kunit *test)
{
	struct page *page;
	LIST_HEAD(pages);
	LIST_HEAD(kept);
	int opened = 0;

	skip_unless_on(test);
	KUNIT_EXPECT_EQ(test, fragment(test, GFP_KERNEL, &kept), 0);

	asi_break_mask = ASI_BREAK_NOFLIP;
	mix_kinds(GFP_HIGHUSER, &pages);
	asi_break_mask = 0;

	list_for_each_entry(page, &pages, lru) {
		if (!asi_block_split(page_to_pfn(page)))
			continue;
		opened++;
		expect_reach(test, page_address(page), false);
		KUNIT_EXPECT_EQ(test, exits_of_access(page_address(page)), 1);
	}
	KUNIT_EXPECT_GE(test, opened, pageblock_nr_pages);
	list_for_each_entry(page, &kept, lru)
		expect_reach(test, page_address(page), true);

	asi_break_mask = ASI_BREAK_NOFLIP;
	expect_mixed(test, __GFP_SENSITIVE, &pages);
	asi_break_mask = 0;

	free_list_of_pages(&pages);
	free_list_of_pages(&kept);
}

/*
 * Take all nonsensitive pages that are free without a lock, and see whether more come up,
 * and how many blocks were flipped for that.
 */
static unsigned long nolock_flips(struct kunit *test, unsigned long broken)
{
	unsigned long flips, before;
	/* The worker comes within a millisecond, if the CPU that it is to run on wakes up. */
	int tries, most = broken ? 200 : 10000, more = 0;
	struct page *page;
	LIST_HEAD(pages);

	flip_back(test);
	asi_break_mask = ASI_BREAK_NOFLIP;
	/* Somebody may have asked before that. An interrupt has the worker come. */
	synchronize_rcu();
	flush_workqueue(asi_wq);
	before = READ_ONCE(asi_nolock_flips);
	for (tries = 0; tries < 20; tries++) {
		while ((page = alloc_pages_nolock(0, NUMA_NO_NODE, 0)))
			list_add(&page->lru, &pages);
		fsleep(1000);
	}
	flips = READ_ONCE(asi_nolock_flips);
	KUNIT_EXPECT_EQ(test, flips, before);
	asi_break_mask = broken;
	/*
	 * Others may free some, have a block flipped, or have the lock for a moment. What
	 * counts are pages that come up after a flip, and that it comes.
	 */
	for (tries = 0; tries < most && !more; tries++) {
		bool flipped = READ_ONCE(asi_nolock_flips) != before;

		while ((page = alloc_pages_nolock(0, NUMA_NO_NODE, 0))) {
			list_add(&page->lru, &pages);
			more += flipped;
		}
		fsleep(1000);
	}
	flips = READ_ONCE(asi_nolock_flips) - before;
	asi_break_mask = 0;
	KUNIT_EXPECT_EQ(test, !more, !!broken);
	list_for_each_entry(page, &pages, lru)
		KUNIT_EXPECT_TRUE(test, asi_page_mapped(page_to_pfn(page)));
	free_list_of_pages(&pages);
	return flips;
}

static void test_nolock(struct kunit *test)
{
	skip_unless_on(test);
	KUNIT_EXPECT_GE(test, nolock_flips(test, 0), 1);
}

static void test_nolock_broken(struct kunit *test)
{
	skip_unless_on(test);
	KUNIT_EXPECT_EQ(test, nolock_flips(test, ASI_BREAK_NOFLIP), 0);
}

/* The types of all blocks agree with the page tables. */
static void test_types(struct kunit *test)
{
	unsigned long pfn, blocks = 0;
	struct page *page;

	skip_unless_on(test);
	for (pfn = 0; pfn < max_pfn; pfn += pageblock_nr_pages) {
		page = first_page(pfn);
		if (!page)
			continue;
		KUNIT_EXPECT_TRUE_MSG(test, block_agrees(page), "block at %#llx",
				      PFN_PHYS(pfn));
		blocks++;
	}
	KUNIT_EXPECT_LE(test, totalram_pages() / pageblock_nr_pages, blocks);
}

#define ADDED_SIZE	SZ_128M

/*
 * Memory that is added later: its restricted tables are there before it is, and
 * are all empty, and again when it goes. Here it never comes.
 */
static void test_hot_add(struct kunit *test)
{
	u64 start = ALIGN(PFN_PHYS(max_pfn), PUD_SIZE) + 4 * PUD_SIZE;
	unsigned long address = (unsigned long)__va(start);
	unsigned long pfn = PHYS_PFN(start);
	pgd_t *root = kernel_to_restricted_pgdp(swapper_pg_dir);
	struct mm_struct *mm;
	pmd_t *pmd;
	int i;

	skip_unless_on(test);
	if (start + ADDED_SIZE > DIRECT_MAP_PHYSMEM_END)
		kunit_skip(test, "no room for more memory");
	mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, mm);

	KUNIT_EXPECT_NULL(test, asi_restricted_pmd(address));
	KUNIT_EXPECT_FALSE(test, asi_block_mapped(pfn));
	KUNIT_EXPECT_EQ(test, asi_directmap_extend(start, ADDED_SIZE), 0);
	pmd = asi_restricted_pmd(address);
	KUNIT_ASSERT_NOT_NULL(test, pmd);
	for (i = 0; i < ADDED_SIZE / PMD_SIZE; i++)
		KUNIT_EXPECT_FALSE(test, asi_block_mapped(pfn + i * pageblock_nr_pages));
	/* Twice is as good as once. */
	KUNIT_EXPECT_EQ(test, asi_directmap_extend(start, ADDED_SIZE), 0);
	KUNIT_EXPECT_PTR_EQ(test, asi_restricted_pmd(address), pmd);
	/* Those who were there before see it as well. */
	KUNIT_EXPECT_EQ(test, pgd_val(*pgd_offset_pgd(root, address)),
			pgd_val(*pgd_offset_pgd(kernel_to_restricted_pgdp(mm->pgd),
						address)));

	set_pmd(pmd + 1, __pmd(start | _KERNPG_TABLE | _PAGE_PSE));
	KUNIT_EXPECT_TRUE(test, asi_block_mapped(pfn + pageblock_nr_pages));
	asi_directmap_remove(start, ADDED_SIZE);
	KUNIT_EXPECT_FALSE(test, asi_block_mapped(pfn + pageblock_nr_pages));
	KUNIT_EXPECT_PTR_EQ(test, asi_restricted_pmd(address), pmd);
	mmput(mm);
}

/*
 * The whole kernel half, but for the direct map and the upper half of the
 * vmalloc area, is shared by reference.
 */
static void test_kernel_half_shared(struct kunit *test)
{
	pgd_t *restricted = kernel_to_restricted_pgdp(swapper_pg_dir);
	int first = pgd_index(PAGE_OFFSET);
	int last = pgd_index((unsigned long)__va(DIRECT_MAP_PHYSMEM_END));
	int hidden = pgd_index(ASI_VMALLOC_START);
	int i;

	skip_unless_on(test);
	for (i = KERNEL_PGD_BOUNDARY; i < PTRS_PER_PGD; i++) {
		if (i >= first && i <= last) {
			KUNIT_EXPECT_NE(test, pgd_val(restricted[i]), 0);
			KUNIT_EXPECT_NE(test, pgd_val(restricted[i]),
					pgd_val(swapper_pg_dir[i]));
		} else if (i >= hidden && i <= pgd_index(VMALLOC_END)) {
			KUNIT_EXPECT_EQ(test, pgd_val(restricted[i]), 0);
			KUNIT_EXPECT_NE(test, pgd_val(swapper_pg_dir[i]), 0);
		} else {
			KUNIT_EXPECT_EQ(test, pgd_val(restricted[i]),
					pgd_val(swapper_pg_dir[i]));
		}
	}
	KUNIT_EXPECT_EQ(test, pgd_val(swapper_pg_dir[pgd_index(ASI_LOCAL_START)]), 0);
	KUNIT_EXPECT_GT(test, pgd_index(VMALLOC_START), last);
	KUNIT_EXPECT_EQ(test, ASI_VMALLOC_START & ~PGDIR_MASK, 0);
	KUNIT_EXPECT_GT(test, hidden, pgd_index(VMALLOC_START));
	KUNIT_EXPECT_GT(test, pgd_index((unsigned long)vmemmap),
			pgd_index(VMALLOC_END));
}

/* Where a root maps @p, as the frame number, or 0. */
static unsigned long mapped_frame(pgd_t *root, const void *p)
{
	unsigned int level;
	pte_t *pte = lookup_address_in_pgd(pgd_offset_pgd(root, (unsigned long)p),
					   (unsigned long)p, &level);

	return pte && pte_present(*pte) ? pte_pfn(*pte) : 0;
}

#define LOCAL_PAGES	(PTRS_PER_PTE + 3)	/* more than one page table */

/* What one mm maps no other does, and its direct map is like any other. */
static void test_local(struct kunit *test)
{
	unsigned long last = asi_local_base + (LOCAL_PAGES - 1) * PAGE_SIZE;
	struct mm_struct *mm, *other;
	long tables, i, right = 0;
	void **p;

	skip_unless_on(test);
	p = kunit_kcalloc(test, LOCAL_PAGES, sizeof(*p), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, mm);
	other = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, other);
	tables = mm_pgtables_bytes(mm);
	KUNIT_EXPECT_GT(test, tables, 0);

	/* The first was there before it was asked for. */
	p[0] = asi_local_alloc(mm);
	KUNIT_ASSERT_NOT_NULL(test, p[0]);
	KUNIT_EXPECT_EQ(test, mm->context.asi.nr, 1);
	for (i = 1; i < LOCAL_PAGES; i++) {
		p[i] = asi_local_alloc(mm);
		KUNIT_ASSERT_NOT_NULL(test, p[i]);
	}
	tables += ((last >> PMD_SHIFT) - (asi_local_base >> PMD_SHIFT)) * PAGE_SIZE;
	tables += ((last >> PUD_SHIFT) - (asi_local_base >> PUD_SHIFT)) * PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, mm_pgtables_bytes(mm), tables);

	for (i = 0; i < LOCAL_PAGES; i++) {
		void *alias = asi_local_alias(p[i]);
		unsigned long frame = PHYS_PFN(__pa(p[i]));

		right += !maps(kernel_to_restricted_pgdp(mm->pgd), p[i]) &&
			 mapped_frame(mm->pgd, alias) == frame &&
			 mapped_frame(kernel_to_restricted_pgdp(mm->pgd), alias) == frame &&
			 mapped_frame(other->pgd, alias) != frame &&
			 !maps(kernel_to_user_pgdp(mm->pgd), alias) &&
			 !maps(swapper_pg_dir, alias) &&
			 !maps(kernel_to_restricted_pgdp(swapper_pg_dir), alias);
	}
	KUNIT_EXPECT_EQ(test, right, LOCAL_PAGES);

	/* Its own, and empty, when it is had again. */
	memset(p[5], 0x5e, PAGE_SIZE);
	asi_local_free(mm, p[5]);
	KUNIT_EXPECT_PTR_EQ(test, asi_local_alloc(mm), p[5]);
	KUNIT_EXPECT_NULL(test, memchr_inv(p[5], 0, PAGE_SIZE));

	/* With the mm all of it is freed. check_mm() looks after the tables. */
	for (i = 0; i < LOCAL_PAGES; i++)
		get_page(virt_to_page(p[i]));
	mmput(other);
	mmput(mm);
	for (i = 0, right = 0; i < LOCAL_PAGES; i++) {
		right += page_ref_count(virt_to_page(p[i])) == 1;
		put_page(virt_to_page(p[i]));
	}
	KUNIT_EXPECT_EQ(test, right, LOCAL_PAGES);
}

/* The frame that a root of this CPU's blocks, and no other root, maps as a window. */
static unsigned long window_frame(struct kunit *test, const void *window)
{
	unsigned long frame = mapped_frame(asi_root_block(smp_processor_id(), 0), window);
	unsigned int cpu, nr, root, others = 0;
	pgd_t *block;

	for_each_online_cpu(cpu) {
		for (nr = 0; nr < ASI_ROOT_BLOCKS; nr++) {
			block = asi_root_block(cpu, nr);
			for (root = 0; root < 4; root++, block += PTRS_PER_PGD) {
				bool mine = cpu == smp_processor_id() && root % 2 == 0;

				others += mapped_frame(block, window) != (mine ? frame : 0);
			}
		}
	}
	KUNIT_EXPECT_EQ(test, others, 0);
	KUNIT_EXPECT_EQ(test, pgd_val(*pgd_offset(current->mm, (unsigned long)window)), 0);
	return frame;
}

/* Have an mm, for windows onto the page that is returned. */
static struct page *begin_windows(struct kunit *test)
{
	struct page *page = alloc_page(GFP_USER);
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_ASSERT_NOT_NULL(test, mm);
	/* Without a process there are none. */
	KUNIT_EXPECT_NULL(test, open_window(page));
	kthread_use_mm(mm);
	return page;
}

static void end_windows(struct page *page)
{
	struct mm_struct *mm = current->mm;

	kthread_unuse_mm(mm);
	mmput(mm);
	__free_page(page);
}

struct interrupt {
	struct irq_work work;
	struct page *page;
	bool opened;
};

static void open_in_interrupt(struct irq_work *work)
{
	struct interrupt *interrupt = container_of(work, struct interrupt, work);
	void *window;

	enter();
	window = kmap_window_only(interrupt->page, false);
	interrupt->opened = window;
	if (window)
		kunmap_window(window);
}

/* What is not cached has no second mapping that is. */
static void test_window_type(struct kunit *test)
{
	struct page *page;
	void *window;

	skip_unless_on(test);
	page = begin_windows(test);
	KUNIT_ASSERT_EQ(test, set_pages_array_wc(&page, 1), 0);
	KUNIT_EXPECT_NULL(test, open_window(page));
	KUNIT_ASSERT_EQ(test, set_pages_array_wb(&page, 1), 0);
	window = open_window(page);
	KUNIT_EXPECT_NOT_NULL(test, window);
	kunmap_window(window ?: page_address(page));
	end_windows(page);
}

/* This CPU maps the page, at an address where no other has anything. */
static void test_window(struct kunit *test)
{
	struct interrupt interrupt = { .work = IRQ_WORK_INIT_HARD(open_in_interrupt) };
	struct page *page, *other;
	u8 *window, *second;
	int nr;

	skip_unless_on(test);
	page = begin_windows(test);
	other = alloc_page(GFP_USER);
	KUNIT_ASSERT_NOT_NULL(test, other);
	memset(page_address(page), 0x5a, PAGE_SIZE);
	memset(page_address(other), 0xa5, PAGE_SIZE);
	window = open_window(page);
	second = open_window(other);
	KUNIT_ASSERT_NOT_NULL(test, window);
	KUNIT_ASSERT_NOT_NULL(test, second);

	KUNIT_EXPECT_EQ(test, window_frame(test, window), page_to_pfn(page));
	KUNIT_EXPECT_EQ(test, window_frame(test, second), page_to_pfn(other));
	KUNIT_EXPECT_EQ(test, exits_of_access(page_address(page)), 1);
	KUNIT_EXPECT_EQ(test, exits_of_access(window), 0);
	KUNIT_EXPECT_EQ(test, window[PAGE_SIZE - 1], 0x5a);
	KUNIT_EXPECT_EQ(test, second[0], 0xa5);

	/* Not for an interrupt, whoever it interrupts, and where there is no need. */
	interrupt.page = page;
	irq_work_queue(&interrupt.work);
	while (irq_work_is_busy(&interrupt.work))
		cpu_relax();
	KUNIT_EXPECT_FALSE(test, interrupt.opened);
	asi_exit();
	KUNIT_EXPECT_PTR_EQ(test, kmap_window(page), page_address(page));

	for (nr = 2; open_window(other); nr++)
		;
	KUNIT_EXPECT_EQ(test, nr, ASI_WINDOWS);
	while (nr-- > 2)
		kunmap_window(second + (nr - 1) * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, second[PAGE_SIZE / 2], 0xa5);
	kunmap_window(second + PAGE_SIZE - 1);
	KUNIT_EXPECT_FALSE(test, readable(second));
	KUNIT_EXPECT_EQ(test, window[0], 0x5a);
	kunmap_window(window);
	KUNIT_EXPECT_FALSE(test, readable(window));

	/* What has not been a window. */
	kunmap_window(page_address(page));
	KUNIT_EXPECT_EQ(test, preempt_count(), 0);

	end_windows(page);
	__free_page(other);
}

/* In how many of some attempts this CPU could still read what was a window. */
static int stale_windows(struct kunit *test)
{
	struct page *page = begin_windows(test);
	int tries, stale = 0;
	u8 *window;

	for (tries = 0; tries < 20; tries++) {
		window = open_window(page);
		KUNIT_ASSERT_NOT_NULL(test, window);
		local_irq_disable();
		enter();
		(void)READ_ONCE(*window);
		/* In one address space or in both, and closed in either */
		if (tries % 3) {
			asi_exit();
			(void)READ_ONCE(*window);
		}
		if (tries % 3 == 2)
			enter();
		kunmap_window(window);
		stale += readable(window);
		if (asi_in_restricted())
			asi_exit();
		else
			enter();
		stale += readable(window);
		local_irq_enable();
	}
	end_windows(page);
	return stale;
}

static void test_window_is_flushed(struct kunit *test)
{
	skip_unless_on(test);
	KUNIT_EXPECT_EQ(test, stale_windows(test), 0);
}

static void test_window_is_flushed_broken(struct kunit *test)
{
	int stale;

	skip_unless_on(test);
	asi_break_mask = ASI_BREAK_NOFLUSH;
	stale = stale_windows(test);
	asi_break_mask = 0;
	flush_tlb_all();
	KUNIT_EXPECT_GT(test, stale, 0);
}

static bool flushes_l1d(bool guest)
{
	return static_key_enabled(&asi_flush_l1d) ||
	       (guest && static_key_enabled(&asi_flush_l1d_guest));
}

static bool flushes_data(bool guest)
{
	return flushes_l1d(guest) || static_key_enabled(&asi_flush_verw);
}

/* When siblings are stunned, which may run guests */
static bool flushes_for_siblings(void)
{
	return flushes_data(true) || static_key_enabled(&asi_verw_siblings);
}

/*
 * Whether there is something to flush before user mode runs, after a window onto a page
 * that is @own, and is @read in the meantime; it has been flushed then.
 */
static bool window_leaves(struct kunit *test, struct page *page, bool own, bool read)
{
	u8 leaves = asi_policies[ASI_RUNS_KERNEL].leaves;
	void *window = open_window_of(page, own);
	u8 todo, taints, later;

	KUNIT_ASSERT_NOT_NULL(test, window);
	if (read)
		folio_mark_uptodate(page_folio(page));
	local_irq_disable();
	enter();
	kunmap_window(window);
	todo = this_cpu_read(asi_cpu.todo);
	taints = this_cpu_read(asi_cpu.taints);
	enter();
	later = this_cpu_read(asi_cpu.todo);
	local_irq_enable();
	if (todo) {
		KUNIT_EXPECT_EQ(test, todo, ASI_TODO_TAINT);
		KUNIT_EXPECT_EQ(test, taints & leaves, leaves);
	}
	KUNIT_EXPECT_EQ(test, later, 0);
	return todo;
}

/*
 * What was within reach is flushed before user mode runs, where that makes a difference:
 * but for a page that is up to date, and all of which is its own.
 */
static void test_window_taints(struct kunit *test)
{
	struct address_space mapping = {};
	struct folio *folio;
	struct page *page;

	skip_unless_on(test);
	if (!flushes_data(true))
		kunit_skip(test, "there is no flush of data");
	page = begin_windows(test);
	folio = page_folio(page);
	KUNIT_EXPECT_TRUE(test, window_leaves(test, page, false, false));
	KUNIT_EXPECT_TRUE(test, window_leaves(test, page, true, false));

	folio->mapping = &mapping;
	KUNIT_EXPECT_TRUE(test, window_leaves(test, page, true, false));
	KUNIT_EXPECT_TRUE(test, window_leaves(test, page, true, true));
	KUNIT_EXPECT_FALSE(test, window_leaves(test, page, true, false));
	KUNIT_EXPECT_TRUE(test, window_leaves(test, page, false, false));
	folio_clear_uptodate(folio);
	folio->mapping = NULL;
	end_windows(page);
}

/*
 * Does another CPU that has the same mm loaded find a window? -1 if this CPU was wanted
 * meanwhile: by stop_machine(), say, for which the other one waits already.
 */
static int is_shared(struct kunit *test, struct page *page)
{
	struct bystander bystander = { .window = true, .mm = current->mm };
	unsigned int cpu = cpumask_any_but(cpu_online_mask, smp_processor_id());
	struct task_struct *task;
	void *window;
	int shared = -1;

	task = kthread_create_on_cpu(stand_by, &bystander, cpu, "asi_test/%u");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	get_task_struct(task);

	/* With which preemption is off */
	window = open_window(page);
	bystander.address = window;
	wake_up_process(task);
	while (window && shared < 0 && !need_resched()) {
		/* Pairs with stand_by(). */
		if (smp_load_acquire(&bystander.ready))
			shared = !bystander.lost;
		cpu_relax();
	}
	KUNIT_EXPECT_TRUE(test, window && readable(window));
	if (window)
		kunmap_window(window);

	/* Pairs with stand_by(). */
	smp_store_release(&bystander.go, true);
	kthread_stop_put(task);
	return shared;
}

static void test_window_is_alone(struct kunit *test)
{
	int tries, shared = -1;
	struct page *page;

	skip_unless_on(test);
	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	page = begin_windows(test);
	migrate_disable();
	for (tries = 0; shared < 0 && tries < 20; tries++)
		shared = is_shared(test, page);
	migrate_enable();
	KUNIT_EXPECT_EQ(test, shared, 0);
	end_windows(page);
}

/* A task that dies takes its windows with it, as far as others are concerned. */
static void test_window_is_dropped(struct kunit *test)
{
	void *window, *again;
	struct page *page;

	skip_unless_on(test);
	page = begin_windows(test);
	window = open_window(page);
	KUNIT_ASSERT_NOT_NULL(test, window);

	local_irq_disable();
	asi_window_switch(NULL);
	asi_window_switch(current);
	local_irq_enable();
	KUNIT_EXPECT_TRUE(test, readable(window));
	local_irq_disable();
	asi_window_switch(&init_task);
	local_irq_enable();
	KUNIT_EXPECT_FALSE(test, readable(window));
	preempt_enable();
	again = open_window(page);
	KUNIT_EXPECT_PTR_EQ(test, again, window);
	if (again)
		kunmap_window(again);
	end_windows(page);
}

/* Of the roots that this CPU runs on: entries that are not as those of the mm. */
static int wrong_entries(const struct mm_struct *mm, int *missing)
{
	pgd_t *block = asi_root_pgd(mm);
	pgdval_t mine, its;
	int i, wrong = 0;

	for (i = *missing = 0; i < 4 * PTRS_PER_PGD; i++) {
		mine = pgd_val(block[i]) & ~_PAGE_ACCESSED;
		its = pgd_val(mm->pgd[i]) & ~_PAGE_ACCESSED;
		if (i % PTRS_PER_PGD == pgd_index(ASI_WINDOW_START))
			continue;
		*missing += !mine && its;
		wrong += mine && mine != its;
	}
	return wrong;
}

/* Load an mm, and look at what this CPU runs on. */
static pgd_t *load(struct kunit *test, struct mm_struct *mm)
{
	int missing;

	switch_mm_irqs_off(NULL, mm, current);
	KUNIT_EXPECT_EQ(test, wrong_entries(mm, &missing), 0);
	KUNIT_EXPECT_EQ(test, missing, 0);
	return asi_root_pgd(mm);
}

/*
 * A block is as it was for an mm that has had no flush since, and else the mm is looked at.
 * The mm is loaded, and stays in the block in which it is.
 */
static void expect_generations(struct kunit *test, struct mm_struct *mm,
			       struct mm_struct *other, unsigned long address)
{
	pgd_t *master = pgd_offset_pgd(mm->pgd, address);
	pgd_t *entry = pgd_offset_pgd(asi_root_pgd(mm), address);
	pgd_t value = *master;

	local_irq_disable();
	switch_mm_irqs_off(NULL, other, current);
	WRITE_ONCE(master->pgd, 0);
	switch_mm_irqs_off(NULL, mm, current);
	KUNIT_EXPECT_EQ(test, pgd_val(*entry), pgd_val(value));

	switch_mm_irqs_off(NULL, other, current);
	inc_mm_tlb_gen(mm);
	switch_mm_irqs_off(NULL, mm, current);
	KUNIT_EXPECT_EQ(test, pgd_val(*entry), 0);
	/* The mm's restricted root has it still. */
	KUNIT_EXPECT_EQ(test, pgd_val(*kernel_to_restricted_pgdp(entry)), 0);

	WRITE_ONCE(master->pgd, value.pgd);
	switch_mm_irqs_off(NULL, other, current);
	inc_mm_tlb_gen(mm);
	load(test, mm);
	local_irq_enable();
}

/* All roots have that of the LDT, which is in the kernel half and below PAGE_OFFSET. */
static void expect_ldt(struct kunit *test, struct mm_struct *mm)
{
	pgd_t *master = pgd_offset_pgd(mm->pgd, LDT_BASE_ADDR);
	unsigned long table = get_zeroed_page(GFP_KERNEL);
	pgd_t value = __pgd(__pa(table) | _KERNPG_TABLE);
	unsigned int root;	/* in the order of asm/asi.h, without KPTI's */
	pgd_t *entry;

	KUNIT_ASSERT_NE(test, table, 0);
	local_irq_disable();
	entry = pgd_offset_pgd(asi_root_pgd(mm), LDT_BASE_ADDR);
	for (root = 0; root < ASI_NR_ROOTS; root++)
		WRITE_ONCE(master[root * PTRS_PER_PGD].pgd, value.pgd);
	asi_root_copy(LDT_BASE_ADDR);
	for (root = 0; root < ASI_NR_ROOTS; root++) {
		KUNIT_EXPECT_EQ_MSG(test, pgd_val(entry[root * PTRS_PER_PGD]), pgd_val(value),
				    "root %u", root);
		WRITE_ONCE(master[root * PTRS_PER_PGD].pgd, 0);
	}
	KUNIT_EXPECT_TRUE(test, asi_root_refresh());
	for (root = 0; root < ASI_NR_ROOTS; root++)
		KUNIT_EXPECT_EQ(test, pgd_val(entry[root * PTRS_PER_PGD]), 0);
	__flush_tlb_all();
	local_irq_enable();
	free_page(table);
}

/* A CPU has the entries of the mm that is loaded, and of no other. */
static void test_roots(struct kunit *test)
{
	unsigned long address = 5UL << PGDIR_SHIFT;
	struct mm_struct *mm, *other;
	pgd_t *first, *second, *entry;
	int missing, cpu;
	void *area;

	skip_unless_on(test);
	area = __vmalloc(PAGE_SIZE, GFP_KERNEL | __GFP_SENSITIVE);
	other = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, area);
	KUNIT_ASSERT_NOT_NULL(test, other);
	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);
	mm = current->mm;
	KUNIT_ASSERT_EQ(test, vm_mmap(NULL, address, PAGE_SIZE, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0), address);
	asi_expose(area, PAGE_SIZE);
	migrate_disable();
	cpu = smp_processor_id();

	/* Those that it gets while it is loaded */
	KUNIT_EXPECT_EQ(test, wrong_entries(mm, &missing), 0);
	KUNIT_EXPECT_EQ(test, exits_of_access(area), 0);
	entry = pgd_offset_pgd(asi_root_pgd(mm), address);
	KUNIT_EXPECT_EQ(test, pgd_val(*entry), 0);
	KUNIT_EXPECT_EQ(test, put_user(1, (int __user *)address), 0);
	KUNIT_EXPECT_NE(test, pgd_val(*entry), 0);
	KUNIT_EXPECT_EQ(test, wrong_entries(mm, &missing), 0);
	KUNIT_EXPECT_EQ(test, missing, 0);

	/*
	 * By turns in both blocks, and nothing is left of the one before; but who was
	 * there last comes back to where it was.
	 */
	local_irq_disable();
	first = asi_root_pgd(mm);
	KUNIT_EXPECT_PTR_EQ(test, load(test, &init_mm), init_mm.pgd);
	KUNIT_EXPECT_PTR_EQ(test, load(test, mm), first);
	second = load(test, other);
	KUNIT_EXPECT_PTR_EQ(test, load(test, &init_mm), init_mm.pgd);
	KUNIT_EXPECT_PTR_EQ(test, load(test, other), second);
	KUNIT_EXPECT_PTR_EQ(test, load(test, mm), first);
	KUNIT_EXPECT_PTR_EQ(test, load(test, &init_mm), init_mm.pgd);
	KUNIT_EXPECT_PTR_EQ(test, load(test, other), second);
	KUNIT_EXPECT_PTR_EQ(test, load(test, mm), first);
	local_irq_enable();
	KUNIT_EXPECT_PTR_EQ(test, second, asi_root_block(cpu, first == asi_root_block(cpu, 0)));
	KUNIT_EXPECT_PTR_EQ(test, first, asi_root_block(cpu, second == asi_root_block(cpu, 0)));
	if (test->status == KUNIT_SUCCESS) {
		expect_generations(test, mm, other, address);
		expect_ldt(test, mm);
	}

	/* And one that it loses again */
	KUNIT_EXPECT_EQ(test, vm_munmap(address, PAGE_SIZE), 0);
	entry = pgd_offset_pgd(asi_root_pgd(mm), address);
	KUNIT_EXPECT_EQ(test, pgd_val(*entry), 0);
	KUNIT_EXPECT_EQ(test, wrong_entries(mm, &missing), 0);
	migrate_enable();
	asi_hide(area, PAGE_SIZE);
	vfree(area);
	mmput(other);
}

#define EXPOSED_SIZE	(PMD_SIZE + 3 * PAGE_SIZE)	/* more than one page table */

/* One mm maps it at the address where everyone finds it when unrestricted. */
static void test_expose(struct kunit *test)
{
	struct mm_struct *mm, *other;
	unsigned long offset;
	int right = 0;
	void *area;

	skip_unless_on(test);
	other = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, other);
	area = exposed_area(test, EXPOSED_SIZE, &mm);
	KUNIT_EXPECT_FALSE(test, maps(kernel_to_restricted_pgdp(mm->pgd),
				      area + EXPOSED_SIZE));

	for (offset = 0; offset < EXPOSED_SIZE; offset += PAGE_SIZE) {
		void *p = area + offset;

		right += mapped_frame(kernel_to_restricted_pgdp(mm->pgd), p) ==
				 vmalloc_to_pfn(p) &&
			 !maps(kernel_to_restricted_pgdp(other->pgd), p) &&
			 !maps(kernel_to_restricted_pgdp(swapper_pg_dir), p) &&
			 !maps(kernel_to_user_pgdp(mm->pgd), p);
	}
	KUNIT_EXPECT_EQ(test, right, EXPOSED_SIZE / PAGE_SIZE);

	kthread_use_mm(mm);
	KUNIT_EXPECT_EQ(test, exits_of_access(area), 0);
	KUNIT_EXPECT_EQ(test, exits_of_access(area + EXPOSED_SIZE - 1), 0);
	kthread_unuse_mm(mm);
	kthread_use_mm(other);
	KUNIT_EXPECT_EQ(test, exits_of_access(area), 1);
	kthread_unuse_mm(other);

	/* The process may have gone; its page tables stay until then. */
	mmgrab(mm);
	mmput(mm);
	asi_hide(area, EXPOSED_SIZE);
	for (offset = 0; offset < EXPOSED_SIZE; offset += PAGE_SIZE)
		right -= !maps(kernel_to_restricted_pgdp(mm->pgd), area + offset);
	KUNIT_EXPECT_EQ(test, right, 0);
	mmdrop(mm);
	vfree(area);
	mmput(other);
}

/* What is not sensitive is mapped as it is, and no owner is kept. */
static void test_expose_nothing(struct kunit *test)
{
	void *area = vmalloc(PAGE_SIZE);
	struct mm_struct *mm;
	int count;

	skip_unless_on(test);
	mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_NOT_NULL(test, area);
	kthread_use_mm(mm);
	count = atomic_read(&mm->mm_count);
	asi_expose(area, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, atomic_read(&mm->mm_count), count);
	KUNIT_EXPECT_EQ(test, exits_of_access(area), 0);
	asi_hide(area, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, exits_of_access(area), 0);
	kthread_unuse_mm(mm);
	vfree(area);
	mmput(mm);

	/* What was not exposed can be hidden. */
	area = __vmalloc(PAGE_SIZE, GFP_KERNEL | __GFP_SENSITIVE);
	KUNIT_ASSERT_NOT_NULL(test, area);
	asi_hide(area, PAGE_SIZE);
	vfree(area);
}

/*
 * Taints by letters, by bit: of the user, its guests, others, and the kernel; in
 * capitals those of control flow; and of any, in L1D only.
 */
static const char letters[] = "UGOkugoc";
#define NR_TAINTS	(sizeof(letters) - 1)

static u8 taints_of(const char *word)
{
	u8 taints = 0;

	for (; *word; word++)
		taints |= BIT(strchr(letters, *word) - letters);
	return taints;
}

/* What becomes of each taint, alone and with any others, by plain tables. */
static void test_taints(struct kunit *test)
{
	static const struct {
		char *switched;		/* another process is loaded */
		char *flushed;		/* the flush that it demands is done */
	} table[NR_TAINTS] = {
		{ "O",	"UGO"	},	/* U */
		{ "G",	"UGO"	},	/* G */
		{ "O",	"UGO"	},	/* O */
		{ "k",	"kugoc"	},	/* k */
		{ "o",	"kugoc"	},	/* u */
		{ "o",	"kugoc"	},	/* g */
		{ "o",	"kugoc"	},	/* o */
		{ "c",	"kugoc"	},	/* c */
	};
	unsigned int taints, i;

	for (taints = 0; taints < BIT(NR_TAINTS); taints++) {
		struct asi_policy any = { .steers = 0x21, .leaks = 0x48 };
		u8 switched = taints_of("u"), flushed = 0;

		for (i = 0; i < NR_TAINTS; i++) {
			if (!(taints & BIT(i)))
				continue;
			switched |= taints_of(table[i].switched);
			flushed |= taints_of(table[i].flushed);
		}
		KUNIT_EXPECT_EQ(test, asi_taints_switched(taints), switched);
		KUNIT_EXPECT_EQ(test, asi_taints_flushed(taints), flushed);
		KUNIT_EXPECT_EQ(test, asi_taints_to_flush(taints, &any), taints & 0x69);
	}
}

/* What policies follow from, beside the attack vectors */
#define VMSCAPE		NR_CPU_ATTACK_VECTORS		/* guests must not steer user mode */
#define RETURNS		(NR_CPU_ATTACK_VECTORS + 1)	/* processes must not steer returns */
#define NR_CONDITIONS	(NR_CPU_ATTACK_VECTORS + 2)

static struct asi_policy policy_for(enum asi_runs runs, unsigned long conditions)
{
	return asi_policy(runs, conditions & (BIT(NR_CPU_ATTACK_VECTORS) - 1),
			  conditions & BIT(VMSCAPE), conditions & BIT(RETURNS));
}

/* What each attack vector calls for, alone and with any others. */
static void test_policies(struct kunit *test)
{
	static const char * const leaves[ASI_NR_RUNS] = {
		[ASI_RUNS_KERNEL]  = "k",
		[ASI_RUNS_PROCESS] = "u",
		[ASI_RUNS_OTHER]   = "",
		[ASI_RUNS_USER]	   = "Uu",
		[ASI_RUNS_GUEST]   = "Gg",
	};
	static const char * const demands[ASI_NR_RUNS][NR_CONDITIONS] = {
		[ASI_RUNS_KERNEL] = {
			[CPU_MITIGATE_USER_KERNEL]	= "UO",
			[CPU_MITIGATE_USER_USER]	= "",
			[CPU_MITIGATE_GUEST_HOST]	= "G",
			[CPU_MITIGATE_GUEST_GUEST]	= "",
			[VMSCAPE]			= "",
			[RETURNS]			= "",
		},
		[ASI_RUNS_USER] = {
			[CPU_MITIGATE_USER_KERNEL]	= "ko",
			[CPU_MITIGATE_USER_USER]	= "ko",
			[CPU_MITIGATE_GUEST_HOST]	= "",
			[CPU_MITIGATE_GUEST_GUEST]	= "",
			[VMSCAPE]			= "G",
			[RETURNS]			= "",
		},
		[ASI_RUNS_PROCESS] = {
			[CPU_MITIGATE_USER_KERNEL]	= "",
			[CPU_MITIGATE_USER_USER]	= "",
			[CPU_MITIGATE_GUEST_HOST]	= "G",
			[CPU_MITIGATE_GUEST_GUEST]	= "",
			[VMSCAPE]			= "",
			[RETURNS]			= "",
		},
		[ASI_RUNS_OTHER] = {
			[CPU_MITIGATE_USER_KERNEL]	= "",
			[CPU_MITIGATE_USER_USER]	= "",
			[CPU_MITIGATE_GUEST_HOST]	= "",
			[CPU_MITIGATE_GUEST_GUEST]	= "",
			[VMSCAPE]			= "",
			[RETURNS]			= "UG",
		},
		[ASI_RUNS_GUEST] = {
			[CPU_MITIGATE_USER_KERNEL]	= "",
			[CPU_MITIGATE_USER_USER]	= "",
			[CPU_MITIGATE_GUEST_HOST]	= "kuoc",
			[CPU_MITIGATE_GUEST_GUEST]	= "koc",
			[VMSCAPE]			= "",
			[RETURNS]			= "",
		},
	};
	struct asi_policy user, guest;
	unsigned long vectors;
	int run, i;

	/* Those in use */
	if (asi_enabled()) {
		user = asi_policies[ASI_RUNS_USER];
		guest = asi_policies[ASI_RUNS_GUEST];
		KUNIT_EXPECT_EQ(test, asi_sibling_leaks, asi_leaks_to_siblings(&user, &guest));
		KUNIT_EXPECT_EQ(test, static_key_enabled(&asi_verw_siblings),
				asi_stuns() && (boot_cpu_has(X86_FEATURE_CLEAR_CPU_BUF) ||
						boot_cpu_has(X86_FEATURE_CLEAR_CPU_BUF_VM) ||
						boot_cpu_has(X86_FEATURE_CLEAR_CPU_BUF_VM_MMIO)) &&
				!strstr(saved_command_line, "flush=none"));
		if (!asi_has_guest_root())
			KUNIT_EXPECT_EQ(test, guest.leaks & ASI_DATA_USER, 0);
	}

	for (run = 0; run < ASI_NR_RUNS; run++) {
		for (vectors = 0; vectors < BIT(NR_CONDITIONS); vectors++) {
			struct asi_policy policy = policy_for(run, vectors);
			u8 all = 0, released;

			for (i = 0; i < NR_CONDITIONS; i++) {
				if (vectors & BIT(i))
					all |= taints_of(demands[run][i]);
			}
			KUNIT_EXPECT_EQ(test, policy.steers, all & ASI_CONTROL_TAINTS);
			KUNIT_EXPECT_EQ(test, policy.leaks, all & ASI_DATA_TAINTS);
			KUNIT_EXPECT_EQ(test, policy.leaves, taints_of(leaves[run]));

			/* Whoever of them must not see what the kernel has had */
			user = policy_for(ASI_RUNS_USER, vectors);
			guest = policy_for(ASI_RUNS_GUEST, vectors);
			released = vectors & (BIT(NR_CPU_ATTACK_VECTORS) - 1) ?
				   taints_of("ko") : 0;
			if (vectors & (BIT(CPU_MITIGATE_GUEST_HOST) |
				       BIT(CPU_MITIGATE_GUEST_GUEST)))
				released |= taints_of("c");
			KUNIT_EXPECT_EQ(test, asi_leaks_to_siblings(&user, &guest), released);

			/* Siblings taint if the kernel must not be steered, and once. */
			if (run != ASI_RUNS_KERNEL)
				continue;
			released = asi_taints_released(&policy);
			KUNIT_EXPECT_EQ(test, !!released, !!policy.steers);
			KUNIT_EXPECT_EQ(test, released & policy.steers, released);
			KUNIT_EXPECT_LE(test, hweight8(released), 1);
		}
	}
}

static bool flushes_control(void)
{
	return static_key_enabled(&asi_flush_ibpb) || static_key_enabled(&asi_flush_rsb) ||
	       static_key_enabled(&asi_flush_bhb);
}

enum step { ENTER, TOUCH, TOUCH_USER, EXIT, GUEST, RELAX, UNDO, LOAD, LOAD_NONE,
	    LOAD_OTHER, LOAD_AGAIN, NMI, NMI_EXIT, WINDOW, VCPU };

/* Whether there is something or not */
static void touch_user(void)
{
	u8 byte;

	pagefault_disable();
	(void)!__copy_from_user_inatomic(&byte, (u8 __user *)PAGE_SIZE, 1);
	pagefault_enable();
}

static void take_step(enum step step, const u8 *sensitive, struct mm_struct *mm,
		      struct mm_struct *other)
{
	unsigned long cr3;
	u16 nmi;

	switch (step) {
	case ENTER:
		enter();
		break;
	case TOUCH:
		(void)READ_ONCE(*sensitive);
		break;
	case TOUCH_USER:
		touch_user();
		break;
	case EXIT:
		asi_exit();
		break;
	case GUEST:
		asi_enter_guest();
		asi_leave_guest();
		break;
	case RELAX:
		if (asi_has_exited())
			__asi_relax();
		break;
	case UNDO:
		/* As who has read CR3 before may. */
		cr3 = __native_read_cr3();
		asi_exit();
		native_write_cr3(cr3);
		break;
	case LOAD:
		switch_mm_irqs_off(NULL, mm, current);
		break;
	case LOAD_NONE:
		switch_mm_irqs_off(NULL, &init_mm, current);
		break;
	case LOAD_OTHER:
		switch_mm_irqs_off(NULL, other, current);
		break;
	case LOAD_AGAIN:
		switch_mm_irqs_off(NULL, &init_mm, current);
		switch_mm_irqs_off(NULL, mm, current);
		break;
	case NMI:
		asi_nmi_exit(asi_nmi_enter());
		break;
	case NMI_EXIT:
		nmi = asi_nmi_enter();
		asi_exit();
		asi_nmi_exit(nmi);
		break;
	case WINDOW:
		asi_taint_window();
		break;
	case VCPU:
		asi_taint_l1d();
		break;
	}
}

/* What is left to do then, if @todo was before. */
static u8 todo_after(enum step step, u8 todo)
{
	switch (step) {
	case ENTER:
		return 0;
	case GUEST:
	case RELAX:
		return ASI_TODO_TAINT;
	case EXIT:
		return todo | ASI_TODO_ENTER;
	case LOAD_OTHER:
	case WINDOW:
		return todo | ASI_TODO_TAINT;
	default:
		return todo;
	}
}

/*
 * Whatever the taints are, and whatever is to be mitigated: what each event makes of
 * them on this CPU, and what it flushes. The tables are complete.
 */
static const struct {
	char *name;
	enum step from, event;
	u8 todo;			/* if not what @from leaves */
	/* Flushes control if one of these is there, for the sake of these vectors */
	char *control_user, *control_guest, *control_vmscape;
	/* And data, for the sake of these */
	char *data_user, *data_host, *data_guest;
	char *leaves;
	bool switches;			/* and before that flushes control, where user mode or a
					 * guest may steer returns
					 */
	bool releases;
	bool restores;			/* data is flushed, and all taints are as before */
} events[] = {
	{ "exit", ENTER, EXIT, 0, "UO", "G", "", "", "", "", "k" },
	{ "enter", EXIT, ENTER, ASI_TODO_ENTER, "", "", "G", "ko", "", "", "Uu",
	  .releases = true },
	{ "return to user mode", ENTER, ENTER, ASI_TODO_TAINT, "", "", "G", "ko", "", "", "Uu",
	  .releases = true },
	{ "nothing to do", ENTER, ENTER, 0, "", "", "", "", "", "", "" },
	{ "guest", ENTER, GUEST, 0, "", "", "", "", "kuoc", "koc", "Gg" },
	{ "guest, after an exit", EXIT, GUEST, ASI_TODO_ENTER, "", "", "", "", "kuoc", "koc", "Gg",
	  .releases = true },
	{ "guest again", GUEST, GUEST, ASI_TODO_TAINT, "", "", "", "", "kuoc", "koc", "Gg" },
	{ "exit after a guest", GUEST, EXIT, ASI_TODO_TAINT, "UO", "G", "", "", "", "", "k" },
	{ "user memory after a guest", GUEST, TOUCH_USER, ASI_TODO_TAINT,
	  "", "G", "", "", "", "", "u" },
	{ "user mode after a guest", GUEST, ENTER, ASI_TODO_TAINT, "", "G", "G", "ko", "", "",
	  "Uu", .releases = true },
	{ "user memory", ENTER, TOUCH_USER, 0, "", "", "", "", "", "", "" },
	{ "another process", ENTER, LOAD_OTHER, 0, "", "", "", "", "", "", "u",
	  .switches = true },
	{ "another process, unrestricted", EXIT, LOAD_OTHER, ASI_TODO_ENTER, "", "", "",
	  "", "", "", "u", .switches = true },
	{ "another process after a guest", GUEST, LOAD_OTHER, ASI_TODO_TAINT, "", "G", "",
	  "", "", "", "u", .switches = true },
	{ "no process after a guest", GUEST, LOAD_NONE, ASI_TODO_TAINT, "", "G", "",
	  "", "", "", "u" },
	{ "no process", ENTER, LOAD_NONE, 0, "", "", "", "", "", "", "" },
	{ "no process, unrestricted", EXIT, LOAD_NONE, ASI_TODO_ENTER, "", "", "", "", "", "",
	  "" },
	{ "the process again", ENTER, LOAD_AGAIN, 0, "", "", "", "", "", "", "" },
	{ "relax", EXIT, RELAX, ASI_TODO_ENTER, "", "", "", "", "", "", "", .releases = true },
	{ "NMI", ENTER, NMI, 0, "", "", "", "", "", "", "" },
	{ "NMI, unrestricted", EXIT, NMI_EXIT, ASI_TODO_ENTER, "", "", "", "", "", "", "" },
	{ "NMI after a guest", GUEST, NMI, ASI_TODO_TAINT, "", "", "", "", "", "", "" },
	{ "NMI exits", ENTER, NMI_EXIT, 0, "UO", "G", "", "", "", "", "",
	  .releases = true, .restores = true },
	{ "NMI exits, in an exit", ENTER, NMI_EXIT, ASI_TODO_ENTER, "UO", "G", "", "", "", "", "",
	  .releases = true, .restores = true },
	{ "NMI exits after a guest", GUEST, NMI_EXIT, ASI_TODO_TAINT, "UO", "G", "", "", "", "",
	  "", .releases = true, .restores = true },
	{ "window", ENTER, WINDOW, 0, "", "", "", "", "", "", "k" },
	{ "window after a guest", GUEST, WINDOW, ASI_TODO_TAINT, "", "", "", "", "", "", "k" },
	{ "window, unrestricted", EXIT, WINDOW, ASI_TODO_ENTER, "", "", "", "", "", "", "k" },
	{ "another vCPU", GUEST, VCPU, ASI_TODO_TAINT, "", "", "", "", "", "", "" },
	{ "another vCPU, unrestricted", EXIT, VCPU, ASI_TODO_ENTER, "", "", "", "", "", "", "" },
};

/* What has become of each combination of taints. */
struct outcome {
	u8 taints, todo, control, data, cache;
	u8 user;			/* the taints when user mode runs after that */
};

static void try_event(int event, struct outcome *outcomes, struct mm_struct *mm,
		      struct mm_struct *other)
{
	unsigned long control, data, cache;
	unsigned int taints;

	for (taints = 0; taints < BIT(NR_TAINTS); taints++) {
		local_irq_disable();
		take_step(LOAD, NULL, mm, other);
		take_step(events[event].from, NULL, mm, other);
		this_cpu_write(asi_cpu.taints, taints);
		this_cpu_write(asi_cpu.todo, events[event].todo);
		control = this_cpu_read(vm_event_states.event[ASI_FLUSH_CONTROL]);
		data = this_cpu_read(vm_event_states.event[ASI_FLUSH_DATA]);
		cache = this_cpu_read(vm_event_states.event[ASI_FLUSH_CACHE]);
		take_step(events[event].event, NULL, mm, other);
		outcomes[taints].taints = this_cpu_read(asi_cpu.taints);
		outcomes[taints].todo = this_cpu_read(asi_cpu.todo);
		outcomes[taints].control =
			this_cpu_read(vm_event_states.event[ASI_FLUSH_CONTROL]) - control;
		outcomes[taints].data =
			this_cpu_read(vm_event_states.event[ASI_FLUSH_DATA]) - data;
		outcomes[taints].cache =
			this_cpu_read(vm_event_states.event[ASI_FLUSH_CACHE]) - cache;
		take_step(ENTER, NULL, mm, other);
		outcomes[taints].user = this_cpu_read(asi_cpu.taints);
		take_step(LOAD, NULL, mm, other);
		local_irq_enable();
	}
}

static void check_event(struct kunit *test, int event, unsigned long vectors,
			u8 released, u8 siblings, const struct outcome *outcomes)
{
	/* What siblings train stays, but where they are stunned. */
	enum step step = events[event].event, from = events[event].from;
	u8 kept = asi_stuns() && step != EXIT ? released : 0;
	u8 control = 0, data = 0, twice = 0, steered, leaked;
	bool guest, cached, stunned, flushes;
	unsigned int taints;

	if (vectors & BIT(CPU_MITIGATE_USER_KERNEL))
		control |= taints_of(events[event].control_user);
	if (vectors & BIT(CPU_MITIGATE_GUEST_HOST))
		control |= taints_of(events[event].control_guest);
	if (vectors & BIT(VMSCAPE))
		control |= taints_of(events[event].control_vmscape);
	if (vectors & (BIT(CPU_MITIGATE_USER_KERNEL) | BIT(CPU_MITIGATE_USER_USER)))
		data |= taints_of(events[event].data_user);
	if (vectors & BIT(CPU_MITIGATE_GUEST_HOST))
		data |= taints_of(events[event].data_host);
	if (vectors & BIT(CPU_MITIGATE_GUEST_GUEST))
		data |= taints_of(events[event].data_guest);
	guest = step == GUEST || step == RELAX || events[event].restores;
	stunned = events[event].releases && (from == EXIT || events[event].restores) &&
		  asi_stuns();
	if (step == RELAX || (stunned && !events[event].restores)) {
		data |= siblings;
		guest = true;
	}
	cached = static_key_enabled(&asi_flush_l1d_guest) && !guest;
	/* Leaving the guest root, and again as what stays may be of a guest */
	if (from == GUEST && step == ENTER && vectors & BIT(VMSCAPE))
		twice = kept & taints_of("G");

	for (taints = 0; taints < BIT(NR_TAINTS); taints++) {
		bool first = events[event].switches && vectors & BIT(RETURNS) &&
			     taints & taints_of("UG");
		u8 expected = taints;

		if (first)
			expected &= ~taints_of("UGO") | kept;
		if (events[event].switches)
			expected = asi_taints_switched(expected);
		steered = expected & control ? taints_of("UGO") : 0;
		leaked = taints & data || events[event].restores ? taints_of("kugoc") : 0;
		/* What only a guest of its own must not see is flushed when they are gone. */
		flushes = stunned && (step != GUEST || taints & siblings) ?
			  flushes_for_siblings() : flushes_data(guest);
		if (!events[event].restores)
			expected &= ~((steered & ~kept) | leaked);
		if ((leaked && cached) || (step == VCPU && asi_stands_in(ASI_FLUSH_L1D_GUEST |
									 ASI_FLUSH_VERW)))
			expected |= taints_of("c");
		/* The process stays within reach. */
		if (leaked && step == RELAX)
			expected |= taints_of("u");
		expected |= taints_of(events[event].leaves);
		if (events[event].releases && asi_stuns())
			expected |= released;

		KUNIT_EXPECT_EQ_MSG(test, outcomes[taints].taints, expected,
				    "%s, %x, %lx", events[event].name, taints, vectors);
		KUNIT_EXPECT_EQ_MSG(test, outcomes[taints].todo,
				    todo_after(step, events[event].todo),
				    "%s, %x, %lx", events[event].name, taints, vectors);
		/* Unless it was not tainted before, with nothing to do */
		KUNIT_EXPECT_TRUE_MSG(test, outcomes[taints].user & taints_of("U") ||
				      !(events[event].todo || taints & taints_of("U")),
				      "%s, %x, %lx", events[event].name, taints, vectors);
		KUNIT_EXPECT_EQ_MSG(test, outcomes[taints].control,
				    flushes_control() ?
				    first + !!steered + !!(steered && taints & twice) : 0,
				    "%s, %x, %lx", events[event].name, taints, vectors);
		KUNIT_EXPECT_EQ_MSG(test, outcomes[taints].data, leaked && flushes,
				    "%s, %x, %lx", events[event].name, taints, vectors);
		KUNIT_EXPECT_EQ_MSG(test, outcomes[taints].cache, leaked && flushes_l1d(guest),
				    "%s, %x, %lx", events[event].name, taints, vectors);
	}
}

static void test_all_taints(struct kunit *test)
{
	struct asi_policy policies[ASI_NR_RUNS];
	u8 released, as_is = asi_released, siblings, leaks_as_is = asi_sibling_leaks;
	struct mm_struct *mm, *other;
	struct outcome *outcomes;
	unsigned long vectors;
	int event, run;

	skip_unless_on(test);
	if (static_key_enabled(&asi_flushes_always))
		kunit_skip(test, "flushes always");
	if (!asi_has_guest_root())
		kunit_skip(test, "guests have no address space of their own");
	/* And while there is no user mode that they are for. */
	if (system_state >= SYSTEM_FREEING_INITMEM)
		kunit_skip(test, "policies cannot be changed any more");
	outcomes = kunit_kcalloc(test, BIT(NR_TAINTS), sizeof(*outcomes), GFP_KERNEL);
	mm = mm_alloc();
	other = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, outcomes);
	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_NOT_NULL(test, other);
	memcpy(policies, asi_policies, sizeof(policies));
	kthread_use_mm(mm);

	for (event = 0; event < ARRAY_SIZE(events); event++) {
		for (vectors = 0; vectors < BIT(NR_CONDITIONS); vectors++) {
			preempt_disable();
			for (run = 0; run < ASI_NR_RUNS; run++)
				asi_policies[run] = policy_for(run, vectors);
			released = asi_taints_released(&asi_policies[ASI_RUNS_KERNEL]);
			asi_released = released;
			siblings = asi_leaks_to_siblings(&asi_policies[ASI_RUNS_USER],
							 &asi_policies[ASI_RUNS_GUEST]);
			asi_sibling_leaks = siblings;
			try_event(event, outcomes, mm, other);
			memcpy(asi_policies, policies, sizeof(policies));
			asi_released = as_is;
			asi_sibling_leaks = leaks_as_is;
			preempt_enable();
			check_event(test, event, vectors, released, siblings, outcomes);
		}
	}
	kthread_unuse_mm(mm);
	mmput(other);
	mmput(mm);
}

/*
 * A handler that loads another mm, as kgdb's, and the one that it has found again, while a
 * third is about to be loaded: what comes after knows whose the taints are.
 */
static void test_nmi_loads_mm(struct kunit *test)
{
	struct mm_struct *mm, *next, *poking;
	u64 owner;
	u16 nmi;

	skip_unless_on(test);
	mm = mm_alloc();
	next = mm_alloc();
	poking = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_NOT_NULL(test, next);
	KUNIT_ASSERT_NOT_NULL(test, poking);
	kthread_use_mm(mm);

	local_irq_disable();
	enter();
	asi_switch_taints(next);
	nmi = asi_nmi_enter();
	__preempt_count_add(NMI_OFFSET);
	switch_mm_irqs_off(NULL, poking, current);
	switch_mm_irqs_off(NULL, mm, current);
	__preempt_count_sub(NMI_OFFSET);
	asi_nmi_exit(nmi);
	owner = this_cpu_read(asi_cpu.tainted_by);
	switch_mm_irqs_off(NULL, next, current);
	switch_mm_irqs_off(NULL, mm, current);
	local_irq_enable();

	KUNIT_EXPECT_EQ(test, owner, next->context.ctx_id);
	kthread_unuse_mm(mm);
	mmput(poking);
	mmput(next);
	mmput(mm);
}

/* The taints of this CPU, step by step, and the flushes that they call for. */
static void test_taints_of_transitions(struct kunit *test)
{
	static const struct {
		enum step step;
		char *taints;		/* after it */
		u8 todo;
		bool control, data;	/* flushed meanwhile */
	} steps[] = {
		{ ENTER,	"Uu",	0,			false,	true  },
		{ TOUCH,	"ku",	ASI_TODO_ENTER,		true,	false },
		{ EXIT,		"ku",	ASI_TODO_ENTER,		false,	false },
		{ ENTER,	"Uu",	0,			false,	true  },
		{ GUEST,	"UGg",	ASI_TODO_TAINT,		false,	true  },
		{ GUEST,	"UGg",	ASI_TODO_TAINT,		false,	false },
		{ TOUCH_USER,	"ug",	ASI_TODO_TAINT,		true,	false },
		{ GUEST,	"Gg",	ASI_TODO_TAINT,		false,	true  },
		{ EXIT,		"kg",	ASI_TODO_ENTER | ASI_TODO_TAINT, true, false },
		{ LOAD_OTHER,	"kou",	ASI_TODO_ENTER | ASI_TODO_TAINT, false,	false },
		{ ENTER,	"Uu",	0,			false,	true  },
		{ LOAD,		"Oou",	ASI_TODO_TAINT,		false,	false },
		{ LOAD_NONE,	"Oou",	ASI_TODO_TAINT,		false,	false },
		{ LOAD,		"Oou",	ASI_TODO_TAINT,		false,	false },
		{ ENTER,	"UOu",	0,			false,	true  },
		{ ENTER,	"UOu",	0,			false,	false },
		{ LOAD_NONE,	"UOu",	0,			false,	false },
		{ UNDO,		"ku",	ASI_TODO_ENTER,		true,	false },
		{ LOAD,		"ku",	ASI_TODO_ENTER,		false,	false },
		{ GUEST,	"Gg",	ASI_TODO_TAINT,		false,	true  },
		{ ENTER,	"Uug",	0,			true,	false },
		{ GUEST,	"UGg",	ASI_TODO_TAINT,		false,	true  },
		{ LOAD_NONE,	"ug",	ASI_TODO_TAINT,		true,	false },
		{ ENTER,	"Uug",	0,			false,	false },
		{ EXIT,		"kug",	ASI_TODO_ENTER,		true,	false },
		{ RELAX,	"u",	ASI_TODO_TAINT,		false,	true  },
		{ LOAD_OTHER,	"ou",	ASI_TODO_TAINT,		false,	false },
		{ ENTER,	"Uu",	0,			false,	true  },
		{ RELAX,	"Uu",	0,			false,	false },
		{ EXIT,		"ku",	ASI_TODO_ENTER,		true,	false },
		{ GUEST,	"Gg",	ASI_TODO_TAINT,		false,	true  },
	};
	u8 taints[ARRAY_SIZE(steps)], todo[ARRAY_SIZE(steps)], released = 0, cached = 0;
	enum asi_root root[ARRAY_SIZE(steps)], expected = ASI_ROOT_UNRESTRICTED;
	bool stunned[ARRAY_SIZE(steps)];
	int flushed[ARRAY_SIZE(steps) + 1][3], i;
	struct mm_struct *mm, *other;
	struct page *page;

	skip_unless_on(test);
	if (asi_policies[ASI_RUNS_KERNEL].steers != ASI_CONTROL_TAINTS ||
	    !asi_policies[ASI_RUNS_USER].leaks ||
	    asi_policies[ASI_RUNS_GUEST].leaks != taints_of("kuoc"))
		kunit_skip(test, "not all attack vectors are mitigated");
	if (asi_policies[ASI_RUNS_OTHER].steers)
		kunit_skip(test, "control is flushed between processes");
	if (!asi_has_guest_root())
		kunit_skip(test, "guests have no address space of their own");
	page = alloc_page(GFP_HIGHUSER_MOVABLE);
	mm = mm_alloc();
	other = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_NOT_NULL(test, other);
	kthread_use_mm(mm);
	local_irq_disable();
	/* Whatever has been there before, the second exit has flushed. */
	asi_exit();
	enter();
	asi_exit();
	for (i = 0; i <= ARRAY_SIZE(steps); i++) {
		flushed[i][0] = this_cpu_read(vm_event_states.event[ASI_FLUSH_CONTROL]);
		flushed[i][1] = this_cpu_read(vm_event_states.event[ASI_FLUSH_DATA]);
		flushed[i][2] = this_cpu_read(vm_event_states.event[ASI_FLUSH_CACHE]);
		if (i == ARRAY_SIZE(steps))
			break;
		take_step(steps[i].step, page_address(page), mm, other);
		taints[i] = this_cpu_read(asi_cpu.taints);
		todo[i] = this_cpu_read(asi_cpu.todo);
		root[i] = asi_loaded_root();
		stunned[i] = asi_has_stunned();
	}
	/* Of @other the scheduler knows nothing, and it is freed. */
	take_step(LOAD, NULL, mm, other);
	local_irq_enable();
	kthread_unuse_mm(mm);
	mmput(other);
	mmput(mm);
	__free_page(page);

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		/* For guests, those of siblings that have been stunned among them */
		bool siblings = asi_stuns() && (!i || stunned[i - 1]);
		bool guest = steps[i].step != ENTER || siblings;

		if (steps[i].data && guest)
			cached = 0;
		else if (steps[i].data && static_key_enabled(&asi_flush_l1d_guest))
			cached = taints_of("c");

		/* Siblings taint while they are not stunned. */
		if (!(steps[i].todo & ASI_TODO_ENTER))
			released = asi_released;
		else if (steps[i].control)
			released = 0;
		KUNIT_EXPECT_EQ_MSG(test, taints[i],
				    taints_of(steps[i].taints) | released | cached,
				    "step %d", i);
		KUNIT_EXPECT_EQ_MSG(test, flushed[i + 1][0] - flushed[i][0],
				    steps[i].control && flushes_control(), "step %d", i);
		KUNIT_EXPECT_EQ_MSG(test, flushed[i + 1][1] - flushed[i][1],
				    steps[i].data && (siblings ? flushes_for_siblings() :
						      flushes_data(guest)), "step %d", i);
		KUNIT_EXPECT_EQ_MSG(test, flushed[i + 1][2] - flushed[i][2],
				    steps[i].data && flushes_l1d(guest), "step %d", i);
		KUNIT_EXPECT_EQ_MSG(test, todo[i], steps[i].todo, "step %d", i);
		KUNIT_EXPECT_EQ_MSG(test, stunned[i],
				    asi_stuns() && (steps[i].todo & ASI_TODO_ENTER), "step %d", i);

		/* Who loads an mm neither enters nor exits, but does not run the guest. */
		if (steps[i].step == GUEST)
			expected = asi_guest_root;
		else if (steps[i].step == TOUCH || steps[i].step == EXIT)
			expected = ASI_ROOT_UNRESTRICTED;
		else if (steps[i].step < LOAD || expected == ASI_ROOT_GUEST)
			expected = ASI_ROOT_RESTRICTED;
		KUNIT_EXPECT_EQ_MSG(test, root[i], expected, "step %d", i);
	}
}

/* A kernel thread that borrows an mm has its user memory, while it is restricted. */
static void test_borrowed_mm(struct kunit *test)
{
	unsigned long exits, address, flags;
	bool restricted;
	u8 byte = 0;
	int left;

	skip_unless_on(test);
	address = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
				MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_TRUE(test, address && !IS_ERR_VALUE(address));
	KUNIT_ASSERT_TRUE(test, current->flags & PF_KTHREAD);
	KUNIT_ASSERT_EQ(test, put_user((u8)0x5a, (u8 __user *)address), 0);

	local_irq_save(flags);
	enter();
	exits = this_cpu_read(vm_event_states.event[ASI_EXIT]);
	pagefault_disable();
	left = __copy_from_user_inatomic(&byte, (u8 __user *)address, 1);
	pagefault_enable();
	exits = this_cpu_read(vm_event_states.event[ASI_EXIT]) - exits;
	restricted = asi_in_restricted();
	local_irq_restore(flags);

	KUNIT_EXPECT_EQ(test, left, 0);
	KUNIT_EXPECT_EQ(test, byte, 0x5a);
	KUNIT_EXPECT_EQ(test, exits, 0);
	KUNIT_EXPECT_TRUE(test, restricted);
}

/*
 * A CPU that has stunned siblings lets go of them in an interrupt, unless the mm that is
 * loaded is a foreign one. init_mm is not, which a kernel thread is left with that has
 * borrowed another: by deep idle, for instance.
 */
static void test_let_go(struct kunit *test)
{
	struct mm_struct *mm, *foreign, *borrowed, *loaded[3];
	bool stunned[3], let_go[3];
	unsigned long flags;
	int i;

	skip_unless_on(test);
	if (!asi_stuns())
		kunit_skip(test, "siblings are not stunned");
	mm = mm_alloc();
	foreign = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_NOT_NULL(test, foreign);
	loaded[0] = mm;
	loaded[1] = &init_mm;
	loaded[2] = foreign;

	/* The scheduler knows of @mm, which is borrowed until the next switch. */
	kthread_use_mm(mm);
	preempt_disable();
	kthread_unuse_mm(mm);
	local_irq_save(flags);
	for (i = 0; i < ARRAY_SIZE(loaded); i++) {
		switch_mm_irqs_off(NULL, loaded[i], current);
		asi_exit();
		stunned[i] = asi_has_stunned();
		asi_let_go(NULL);
		let_go[i] = asi_in_restricted() && !asi_has_stunned();
	}
	borrowed = current->active_mm;
	switch_mm_irqs_off(NULL, borrowed, current);
	local_irq_restore(flags);
	preempt_enable();

	for (i = 0; i < ARRAY_SIZE(loaded); i++)
		KUNIT_EXPECT_TRUE(test, stunned[i]);
	KUNIT_EXPECT_PTR_EQ(test, borrowed, mm);
	KUNIT_EXPECT_TRUE(test, let_go[0]);
	KUNIT_EXPECT_TRUE(test, let_go[1]);
	KUNIT_EXPECT_FALSE(test, let_go[2]);
	mmput(foreign);
	mmput(mm);
}

#define IDLE_EXITS	50

static int idle_exits, idle_seen, idle_kept;

static enum hrtimer_restart exit_in_idle(struct hrtimer *timer)
{
	/* Since the last one */
	if (idle_exits && is_idle_task(current)) {
		idle_seen++;
		idle_kept += asi_has_stunned();
	}
	asi_exit();
	if (idle_exits++ == IDLE_EXITS)
		return HRTIMER_NORESTART;
	hrtimer_forward_now(timer, ms_to_ktime(2));
	return HRTIMER_RESTART;
}

static void start_timer(void *timer)
{
	hrtimer_start(timer, ms_to_ktime(2), HRTIMER_MODE_REL_PINNED_HARD);
}

/*
 * An idle CPU lets siblings go again after an interrupt that has exited, though none of
 * them waits and asks for it. Who wakes it, be it for a function call, ends the polling.
 */
static void look_at_idle(struct kunit *test, bool polls)
{
	struct hrtimer timer;
	int cpu, tries;

	skip_unless_on(test);
	if (!asi_stuns())
		kunit_skip(test, "siblings are not stunned");
	migrate_disable();
	cpu = cpumask_any_but(cpu_online_mask, smp_processor_id());
	KUNIT_EXPECT_LT(test, cpu, nr_cpu_ids);
	if (cpu < nr_cpu_ids) {
		hrtimer_setup_on_stack(&timer, exit_in_idle, CLOCK_MONOTONIC,
				       HRTIMER_MODE_REL_PINNED_HARD);
		idle_exits = 0;
		idle_seen = 0;
		idle_kept = 0;
		if (polls)
			cpu_idle_poll_ctrl(true);
		smp_call_function_single(cpu, start_timer, &timer, true);
		for (tries = 0; tries < 10000 && READ_ONCE(idle_exits) <= IDLE_EXITS; tries++)
			fsleep(USEC_PER_MSEC);
		hrtimer_cancel(&timer);
		if (polls)
			cpu_idle_poll_ctrl(false);
		destroy_hrtimer_on_stack(&timer);
		KUNIT_EXPECT_GT(test, idle_exits, IDLE_EXITS);
	}
	migrate_enable();
	kunit_info(test, "%d of %d times siblings were not let go", idle_kept, idle_seen);
	if (test->status == KUNIT_SUCCESS && idle_seen < IDLE_EXITS / 2)
		kunit_skip(test, "the other CPU was not idle");
	/* Where the hypervisor does not run it, one interrupt follows the other. */
	KUNIT_EXPECT_LT(test, idle_kept, idle_seen / 2);
}

static void test_idle_polls(struct kunit *test)
{
	look_at_idle(test, true);
}

static void test_idle_halts(struct kunit *test)
{
	look_at_idle(test, false);
}

/*
 * The NMI-like entries put back what they found, at each step of a transition
 * that they can interrupt, whatever they touch: nothing, sensitive memory, user memory.
 */
static void test_nmi_restores(struct kunit *test)
{
	struct page *page = alloc_page(GFP_HIGHUSER_MOVABLE);
	static const struct {
		enum asi_root root;
		u8 todo;
	} found[] = {
		{ ASI_ROOT_RESTRICTED, 0 },			/* or user mode */
		{ ASI_ROOT_RESTRICTED, ASI_TODO_ENTER },	/* exit or enter under way */
		{ ASI_ROOT_UNRESTRICTED, ASI_TODO_ENTER },
		{ ASI_ROOT_GUEST, ASI_TODO_TAINT },		/* about to run one, or back */
		{ ASI_ROOT_GUEST, ASI_TODO_ENTER | ASI_TODO_TAINT },
	};
	enum { NOTHING, SENSITIVE, USER, NR_TOUCHED } touch;
	struct mm_struct *mm;
	int i;

	skip_unless_on(test);
	mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_ASSERT_NOT_NULL(test, mm);
	kthread_use_mm(mm);

	for (i = 0; i < ARRAY_SIZE(found); i++) {
		bool unrestricted = found[i].todo & ASI_TODO_ENTER;

		for (touch = 0; touch < NR_TOUCHED; touch++) {
			enum asi_root root, inside, expected = found[i].root;
			u8 taints, todo, thread, stunned[2], untrusted[2];
			struct asi_core *core;
			unsigned long flags, cr2;
			bool same, published;
			unsigned long l1d;
			u16 nmi;

			if (found[i].root == ASI_ROOT_GUEST && !asi_has_guest_root())
				continue;
			local_irq_save(flags);
			core = this_cpu_read(asi_cpu.core);
			thread = this_cpu_read(asi_cpu.thread);
			asi_exit();
			if (found[i].root == ASI_ROOT_RESTRICTED)
				asi_enter();
			else if (found[i].root == ASI_ROOT_GUEST)
				asi_enter_guest();
			if (unrestricted)
				asi_withdraw();
			published = core->untrusted[thread];
			/* It is the first thing that an exit does after the intent. */
			core->unrestricted[thread] = asi_stuns() && unrestricted;
			this_cpu_write(asi_cpu.todo, found[i].todo);
			taints = this_cpu_read(asi_cpu.taints);
			native_write_cr2(0x1234);

			l1d = this_cpu_read(vm_event_states.event[ASI_FLUSH_CACHE]);
			cr2 = asi_save_cr2();
			nmi = asi_nmi_enter();
			if (touch == SENSITIVE)
				(void)READ_ONCE(*(u8 *)page_address(page));
			else if (touch == USER)
				touch_user();
			inside = asi_loaded_root();
			stunned[0] = core->unrestricted[thread];
			untrusted[0] = core->untrusted[thread];
			asi_nmi_exit(nmi);
			asi_restore_cr2(cr2);
			l1d = this_cpu_read(vm_event_states.event[ASI_FLUSH_CACHE]) - l1d;

			root = asi_loaded_root();
			todo = this_cpu_read(asi_cpu.todo);
			same = this_cpu_read(asi_cpu.taints) == taints;
			cr2 = native_read_cr2();
			stunned[1] = core->unrestricted[thread];
			untrusted[1] = core->untrusted[thread];
			asi_withdraw();
			asi_exit();
			this_cpu_write(asi_cpu.todo, ASI_TODO_ENTER);
			local_irq_restore(flags);

			if (touch == SENSITIVE)
				expected = ASI_ROOT_UNRESTRICTED;
			else if (touch == USER && expected == ASI_ROOT_GUEST)
				expected = ASI_ROOT_RESTRICTED;
			KUNIT_EXPECT_EQ(test, inside, expected);
			KUNIT_EXPECT_EQ(test, root, found[i].root);
			KUNIT_EXPECT_EQ(test, todo, found[i].todo);
			KUNIT_EXPECT_TRUE(test, same);
			KUNIT_EXPECT_EQ(test, cr2, 0x1234);
			/* A guest may be what runs next. */
			KUNIT_EXPECT_EQ(test, l1d, inside != root && flushes_l1d(true));

			KUNIT_EXPECT_EQ(test, published, asi_stuns() && !unrestricted);
			KUNIT_EXPECT_EQ(test, untrusted[0], 0);
			KUNIT_EXPECT_EQ(test, untrusted[1], published);
			KUNIT_EXPECT_EQ(test, stunned[0],
					asi_stuns() && (touch == SENSITIVE || unrestricted));
			KUNIT_EXPECT_EQ(test, stunned[1], asi_stuns() && unrestricted);
		}
	}
	kthread_unuse_mm(mm);
	mmput(mm);
	__free_page(page);
}

/* Where each exit to user mode or VM entry does VERW, that is too late for siblings. */
static void test_verw_siblings(struct kunit *test)
{
	unsigned long flushes, flags;

	skip_unless_on(test);
	if (!static_key_enabled(&asi_verw_siblings))
		kunit_skip(test, "siblings are not stunned, or VERW is ASI's own");
	local_irq_save(flags);
	enter();
	flushes = this_cpu_read(vm_event_states.event[ASI_FLUSH_DATA]);
	asi_exit();
	enter();
	flushes = this_cpu_read(vm_event_states.event[ASI_FLUSH_DATA]) - flushes;
	local_irq_restore(flags);
	KUNIT_EXPECT_EQ(test, flushes, 1);
}

/* What a vCPU has in L1D, or in buffers, is flushed before another one runs. */
static void test_taint_l1d(struct kunit *test)
{
	bool l1d = asi_stands_in(ASI_FLUSH_L1D_GUEST);
	int item = l1d ? ASI_FLUSH_CACHE : ASI_FLUSH_DATA;
	unsigned long flushes[4];
	struct mm_struct *mm;
	unsigned long flags;
	int i;

	skip_unless_on(test);
	if (!l1d && !asi_stands_in(ASI_FLUSH_VERW))
		kunit_skip(test, "nothing is flushed for guests, or not by ASI");
	KUNIT_EXPECT_TRUE(test, flushes_l1d(true) || !l1d);
	mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, mm);
	kthread_use_mm(mm);
	local_irq_save(flags);
	for (i = 0; i < ARRAY_SIZE(flushes); i++) {
		flushes[i] = this_cpu_read(vm_event_states.event[item]);
		if (i == 2)
			asi_taint_l1d();
		take_step(GUEST, NULL, mm, NULL);
	}
	local_irq_restore(flags);
	kthread_unuse_mm(mm);
	mmput(mm);
	KUNIT_EXPECT_EQ(test, flushes[2] - flushes[1], 0);
	KUNIT_EXPECT_EQ(test, flushes[3] - flushes[2], 1);
}

/* Of the CPU that expects one, or -1 */
static int nmi_cpu = -1;
static unsigned int nmis;

static int count_nmi(unsigned int reason, struct pt_regs *regs)
{
	if (READ_ONCE(nmi_cpu) != raw_smp_processor_id())
		return NMI_DONE;
	WRITE_ONCE(nmis, nmis + 1);
	return NMI_HANDLED;
}

/*
 * With KPTI the guest root looks like that of user mode at first glance to what may
 * interrupt anything (paranoid_entry), an NMI for instance.
 */
static void test_paranoid_entry(struct kunit *test)
{
	unsigned int violations, i;
	unsigned long flags;
	enum asi_root root;
	bool pending;
	u16 id;

	skip_unless_on(test);
	if (!asi_has_guest_root())
		kunit_skip(test, "guests have no address space of their own");

	KUNIT_ASSERT_EQ(test, register_nmi_handler(NMI_LOCAL, count_nmi, 0, "asi_test"), 0);
	local_irq_save(flags);
	nmis = 0;
	WRITE_ONCE(nmi_cpu, smp_processor_id());
	enter();
	asi_enter_guest();
	asi_leave_guest();
	/* Nor is a flush of the user root done that is to be done on the way there. */
	id = __native_read_cr3() & ASI_CR3_ASID_MASK;
	this_cpu_or(cpu_tlbstate.user_pcid_flush_mask, BIT(id));
	violations = this_cpu_read(asi_cpu.violations);
	apic->send_IPI(smp_processor_id(), NMI_VECTOR);
	for (i = 0; i < 1000000 && !READ_ONCE(nmis); i++)
		cpu_relax();
	violations = this_cpu_read(asi_cpu.violations) - violations;
	pending = this_cpu_read(cpu_tlbstate.user_pcid_flush_mask) & BIT(id);
	root = asi_loaded_root();
	asi_exit();
	WRITE_ONCE(nmi_cpu, -1);
	local_irq_restore(flags);
	unregister_nmi_handler(NMI_LOCAL, "asi_test");

	KUNIT_EXPECT_GE(test, nmis, 1);
	KUNIT_EXPECT_EQ(test, violations, 0);
	KUNIT_EXPECT_EQ(test, root, ASI_ROOT_GUEST);
	KUNIT_EXPECT_TRUE(test, pending);
}

/*
 * What is left for later for an ASID, and for a CPU that comes up, is so for all roots.
 * That one has all taints, too.
 */
static void test_flush_all_later(struct kunit *test)
{
	u16 asid[ASI_NR_ROOTS], reset[ASI_NR_ROOTS];
	struct asi_cpu saved;
	enum asi_root root;
	unsigned long flags;
	u8 taints;

	skip_unless_on(test);
	local_irq_save(flags);
	saved = *this_cpu_ptr(&asi_cpu);
	memset(this_cpu_ptr(&asi_cpu)->flush_pending, 0, sizeof(asid));
	asi_flush_asid_later(3);
	memcpy(asid, this_cpu_ptr(&asi_cpu)->flush_pending, sizeof(asid));
	this_cpu_write(asi_cpu.taints, 0);
	asi_cpu_reset();
	taints = this_cpu_read(asi_cpu.taints);
	memcpy(reset, this_cpu_ptr(&asi_cpu)->flush_pending, sizeof(reset));
	*this_cpu_ptr(&asi_cpu) = saved;
	local_irq_restore(flags);

	for (root = 0; root < ASI_NR_ROOTS; root++) {
		KUNIT_EXPECT_EQ(test, asid[root], boot_cpu_has(X86_FEATURE_PCID) ? BIT(3) : 0);
		KUNIT_EXPECT_EQ(test, reset[root], U16_MAX);
	}
	KUNIT_EXPECT_EQ(test, taints, ASI_CONTROL_TAINTS | ASI_DATA_TAINTS);
}

/* Faults that are not ASI's go the usual way. */
static void test_fault_rejects(struct kunit *test)
{
	struct pt_regs kernel = { .cs = __KERNEL_CS }, user = { .cs = __USER_CS };
	const unsigned long lacks[] = { 0x1000, ASI_LOCAL_START, ASI_VMALLOC_START };
	struct page *page = alloc_page(GFP_HIGHUSER_MOVABLE);
	unsigned long addr, flags;
	bool ok;
	int i;

	skip_unless_on(test);
	KUNIT_ASSERT_NOT_NULL(test, page);
	addr = (unsigned long)page_address(page);

#define TRY(regs, code, address) ({					\
	local_irq_save(flags);						\
	enter();							\
	ok = asi_fault(regs, code, address);				\
	local_irq_restore(flags);					\
	ok; })

	KUNIT_EXPECT_TRUE(test, TRY(&kernel, 0, addr));
	KUNIT_EXPECT_TRUE(test, TRY(&kernel, X86_PF_WRITE, addr));
	KUNIT_EXPECT_FALSE(test, TRY(&kernel, X86_PF_PROT, addr));
	KUNIT_EXPECT_FALSE(test, TRY(&kernel, X86_PF_USER, addr));
	KUNIT_EXPECT_FALSE(test, TRY(&kernel, X86_PF_RSVD, addr));
	KUNIT_EXPECT_FALSE(test, TRY(&kernel, X86_PF_INSTR, addr));
	KUNIT_EXPECT_FALSE(test, TRY(&user, 0, addr));
	KUNIT_EXPECT_FALSE(test, TRY(&kernel, 0, 0x1000));
	KUNIT_EXPECT_FALSE(test, TRY(&kernel, 0, VMALLOC_START));
	KUNIT_EXPECT_FALSE(test, TRY(&kernel, 0, ASI_VMALLOC_START - 1));
	KUNIT_EXPECT_TRUE(test, TRY(&kernel, 0, ASI_VMALLOC_START));
	KUNIT_EXPECT_FALSE(test, TRY(&kernel, 0, VMALLOC_END + 1));
	KUNIT_EXPECT_FALSE(test, TRY(&kernel, 0, PAGE_OFFSET - 1));
#undef TRY

	/* With the guest root loaded, what that lacks is looked for in the restricted one. */
	if (asi_has_guest_root()) {
		local_irq_save(flags);
		enter();
		asi_enter_guest();
		asi_leave_guest();
		KUNIT_EXPECT_FALSE(test, asi_fault(&kernel, X86_PF_PROT, 0x1000));
		KUNIT_EXPECT_FALSE(test, asi_fault(&user, X86_PF_USER, 0x1000));
		KUNIT_EXPECT_EQ(test, asi_loaded_root(), ASI_ROOT_GUEST);
		KUNIT_EXPECT_TRUE(test, asi_fault(&kernel, X86_PF_WRITE | X86_PF_USER |
						  X86_PF_SHSTK, 0x1000));
		KUNIT_EXPECT_EQ(test, asi_loaded_root(), ASI_ROOT_RESTRICTED);
		for (i = 0; i < ARRAY_SIZE(lacks); i++) {
			asi_enter_guest();
			asi_leave_guest();
			KUNIT_EXPECT_TRUE(test, asi_fault(&kernel, 0, lacks[i]));
			KUNIT_EXPECT_EQ(test, asi_loaded_root(), ASI_ROOT_RESTRICTED);
		}
		KUNIT_EXPECT_FALSE(test, asi_fault(&kernel, 0, 0x1000));
		asi_enter_guest();
		asi_leave_guest();
		KUNIT_EXPECT_TRUE(test, asi_fault(&kernel, 0, addr));
		KUNIT_EXPECT_EQ(test, asi_loaded_root(), ASI_ROOT_UNRESTRICTED);
		local_irq_restore(flags);
	}
	/* Not restricted: a fault there is somebody's bug. */
	asi_exit();
	KUNIT_EXPECT_FALSE(test, asi_fault(&kernel, 0, addr));
	__free_page(page);
}

static struct kunit_case asi_test_cases[] = {
	KUNIT_CASE(test_parse),
	KUNIT_CASE(test_unsupported),
	KUNIT_CASE(test_cr3),
	KUNIT_CASE(test_pcids_distinct),
	KUNIT_CASE(test_flush_later),
	KUNIT_CASE(test_guest_root),
	KUNIT_CASE(test_nonsensitive_kinds),
	KUNIT_CASE(test_nothing_is_global),
	KUNIT_CASE(test_sensitive_kinds),
	KUNIT_CASE(test_sensitive_kinds_unmarked),
	KUNIT_CASE(test_contexts),
	KUNIT_CASE(test_contexts_unmarked),
	KUNIT_CASE(test_sensitive_slab),
	KUNIT_CASE(test_sensitive_vmalloc),
	KUNIT_CASE(test_flip_clears),
	KUNIT_CASE(test_flip_clears_broken),
	KUNIT_CASE(test_flip_unmaps),
	KUNIT_CASE(test_flip_unmaps_broken),
	KUNIT_CASE(test_flip_flushes),
	KUNIT_CASE(test_flip_flushes_broken),
	KUNIT_CASE(test_flip_large),
	KUNIT_CASE(test_lend),
	KUNIT_CASE(test_lend_broken),
	KUNIT_CASE(test_lend_contexts),
	KUNIT_CASE(test_held_page),
	KUNIT_CASE(test_open),
	KUNIT_CASE(test_nolock),
	KUNIT_CASE(test_nolock_broken),
	KUNIT_CASE(test_open_flushes),
	KUNIT_CASE(test_open_flushes_broken),
	KUNIT_CASE(test_close_flushes),
	KUNIT_CASE(test_close_flushes_broken),
	KUNIT_CASE(test_hide_flushes),
	KUNIT_CASE(test_hide_flushes_broken),
	KUNIT_CASE(test_hide_flushes_lazy),
	KUNIT_CASE(test_hide_flushes_lazy_broken),
	KUNIT_CASE(test_attributes),
	KUNIT_CASE(test_image_is_pinned),
	KUNIT_CASE(test_types),
	KUNIT_CASE(test_hot_add),
	KUNIT_CASE(test_kernel_half_shared),
	KUNIT_CASE(test_local),
	KUNIT_CASE(test_window),
	KUNIT_CASE(test_window_type),
	KUNIT_CASE(test_window_is_flushed),
	KUNIT_CASE(test_window_is_flushed_broken),
	KUNIT_CASE(test_window_taints),
	KUNIT_CASE(test_window_is_alone),
	KUNIT_CASE(test_window_is_dropped),
	KUNIT_CASE(test_roots),
	KUNIT_CASE(test_expose),
	KUNIT_CASE(test_expose_nothing),
	KUNIT_CASE(test_taints),
	KUNIT_CASE(test_policies),
	KUNIT_CASE(test_all_taints),
	KUNIT_CASE(test_nmi_loads_mm),
	KUNIT_CASE(test_taints_of_transitions),
	KUNIT_CASE(test_borrowed_mm),
	KUNIT_CASE(test_let_go),
	KUNIT_CASE(test_idle_polls),
	KUNIT_CASE(test_idle_halts),
	KUNIT_CASE(test_nmi_restores),
	KUNIT_CASE(test_verw_siblings),
	KUNIT_CASE(test_taint_l1d),
	KUNIT_CASE(test_paranoid_entry),
	KUNIT_CASE(test_flush_all_later),
	KUNIT_CASE(test_fault_rejects),
	{}
};

/* Blocks that are freed meanwhile would be taken for some that have been flipped. */
static int asi_test_suite_init(struct kunit_suite *suite)
{
	wait_for_initramfs();
	return 0;
}

/* What was broken on purpose, even if the test did not get as far as to mend it. */
static void asi_test_exit(struct kunit *test)
{
	asi_break_mask = 0;
}

static struct kunit_suite asi_test_suite = {
	.name = "asi",
	.suite_init = asi_test_suite_init,
	.exit = asi_test_exit,
	.test_cases = asi_test_cases,
};

kunit_test_suite(asi_test_suite);
