// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address Space Isolation: the choice at boot, and the restricted root that
 * all others are made from.
 */
#define pr_fmt(fmt) "asi: " fmt

#include <linux/asi.h>
#include <linux/cc_platform.h>
#include <linux/cpu.h>
#include <linux/device.h>
#include <linux/init.h>
#include <linux/jump_label.h>
#include <linux/kasan.h>
#include <linux/kvm_types.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/printk.h>
#include <linux/seq_buf.h>
#include <linux/string.h>

#include <asm/asi.h>
#include <asm/bugs.h>
#include <asm/cpufeature.h>
#include <asm/hypervisor.h>
#include <asm/pgalloc.h>
#include <asm/setup.h>
#include <asm/topology.h>
#include <asm/uv/uv.h>

#include "asi_internal.h"
#include "asi_taint.h"

/*
 * A block of the page allocator is what the restricted direct map maps or does
 * not map with one entry, and freeing must not merge it into something larger
 * that has no kind.
 */
static_assert(HPAGE_PMD_ORDER <= PAGE_BLOCK_MAX_ORDER);
static_assert(pageblock_order == PMD_SHIFT - PAGE_SHIFT);

static struct asi_options asi_options __initdata = {
	.on = IS_ENABLED(CONFIG_MITIGATION_ASI_DEFAULT_ON),
	.guests = true,
};

/* Why it is off, or NULL. */
static const char *asi_off_reason __ro_after_init;

static bool is_word(const char *arg, size_t len, const char *word)
{
	return len == strlen(word) && !strncmp(arg, word, len);
}

/**
 * asi_parse_options - parse the value of asi=
 * @arg:	comma-separated words
 * @options:	changed only when all words are known
 *
 * Return: 0 or -EINVAL.
 */
int asi_parse_options(const char *arg, struct asi_options *options)
{
	struct asi_options new = *options;

	if (!arg || !*arg)
		return -EINVAL;

	while (arg) {
		const char *comma = strchrnul(arg, ',');
		size_t len = comma - arg;

		if (is_word(arg, len, "off")) {
			new.on = false;
			new.set = true;
		} else if (is_word(arg, len, "on")) {
			new.on = true;
			new.set = true;
		} else if (is_word(arg, len, "flush=auto")) {
			new.flush = ASI_FLUSH_AUTO;
		} else if (is_word(arg, len, "flush=none")) {
			new.flush = ASI_FLUSH_NONE;
		} else if (is_word(arg, len, "flush=all")) {
			new.flush = ASI_FLUSH_ALL;
		} else if (is_word(arg, len, "flush=always")) {
			new.flush = ASI_FLUSH_ALWAYS;
		} else if (is_word(arg, len, "both")) {
			new.both = true;
		} else if (is_word(arg, len, "guests=on")) {
			new.guests = true;
		} else if (is_word(arg, len, "guests=off")) {
			new.guests = false;
		} else if (is_word(arg, len, "stun=auto")) {
			new.stun = ASI_STUN_AUTO;
		} else if (is_word(arg, len, "stun=off")) {
			new.stun = ASI_STUN_OFF;
		} else if (is_word(arg, len, "stun=on")) {
			new.stun = ASI_STUN_ON;
		} else {
			return -EINVAL;
		}
		arg = *comma ? comma + 1 : NULL;
	}

	*options = new;
	return 0;
}

static int __init asi_cmdline(char *arg)
{
	if (asi_parse_options(arg, &asi_options))
		pr_warn("unknown option 'asi=%s' ignored\n", arg ?: "");
	return 0;
}
early_param("asi", asi_cmdline);

/**
 * asi_unsupported - is this something that ASI cannot work with, or does not yet?
 * @platform:	what it is to work with
 *
 * Return: why it is off, or NULL.
 */
const char *asi_unsupported(const struct asi_platform *platform)
{
	if (platform->xen_pv)
		return "Xen PV guests do not own their page tables";
	/* Its remote TLB flushes know one page-table root for each mm. */
	if (platform->hyperv)
		return "not supported as a Hyper-V guest";
	/* #VC handlers and the RMP walk and split the direct map themselves. */
	if (platform->encrypted_guest || platform->snp_host)
		return "not supported with SEV or TDX";
	if (!platform->large_pages || !platform->nx)
		return "CPU without large pages or NX";
	return NULL;
}

static const char * __init asi_unsupported_here(void)
{
	const struct asi_platform platform = {
		.xen_pv		 = hypervisor_is_type(X86_HYPER_XEN_PV),
		.hyperv		 = hypervisor_is_type(X86_HYPER_MS_HYPERV),
		.encrypted_guest = cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT),
		.snp_host	 = cc_platform_has(CC_ATTR_HOST_SEV_SNP),
		.large_pages	 = boot_cpu_has(X86_FEATURE_PSE),
		.nx		 = __supported_pte_mask & _PAGE_NX,
	};

	return asi_unsupported(&platform);
}

/**
 * asi_check_boottime - decide whether ASI is used
 *
 * Before anything depends on it: the layout of the kernel's address space, the
 * page size and global bit of the direct map, the size of page-table roots.
 */
void __init asi_check_boottime(void)
{
	asi_off_reason = NULL;

	if (!asi_options.set && cpu_mitigations_off())
		asi_off_reason = "mitigations=off";
	else if (!asi_options.on)
		asi_off_reason = asi_options.set ? "asi=off" : "by default";
	else
		asi_off_reason = asi_unsupported_here();

	if (asi_off_reason)
		return;

	setup_force_cpu_cap(X86_FEATURE_ASI);
	if (!asi_options.guests)
		asi_guest_root = ASI_ROOT_RESTRICTED;

	/*
	 * Broadcast flushes need a PCID bit of the global ASIDs for the
	 * restricted root, and have never met kernel mappings that are not
	 * global. FRED is left out together with it, as KPTI does.
	 */
	if (boot_cpu_has(X86_FEATURE_INVLPGB)) {
		pr_info("disabling INVLPGB\n");
		setup_clear_cpu_cap(X86_FEATURE_INVLPGB);
	}
	if (boot_cpu_has(X86_FEATURE_FRED)) {
		pr_info("disabling FRED\n");
		setup_clear_cpu_cap(X86_FEATURE_FRED);
	}
}

static void __init asi_preallocate(const void *start, const void *last)
{
	unsigned long addr;

	for (addr = (unsigned long)start; addr && addr <= (unsigned long)last;
	     addr = ALIGN(addr + 1, PGDIR_SIZE)) {
		p4d_t *p4d = p4d_alloc(&init_mm, pgd_offset_k(addr), addr);

		if (!p4d || (!pgtable_l5_enabled() &&
			     !pud_alloc(&init_mm, p4d, addr)))
			panic("asi: no memory for top-level page tables\n");
	}
}

/**
 * asi_init - complete the restricted root of init_mm, and the guest root
 *
 * Everything but the direct map and the upper half of the vmalloc area is
 * nonsensitive as a whole and shared by its top-level entries. The roots of
 * other mms are copies made by pgd_alloc(), so this has to come before the first
 * of these, and after the last top-level entry of the kernel half has been made.
 */
void __init asi_init(void)
{
	pgd_t *restricted = kernel_to_restricted_pgdp(swapper_pg_dir);
	int i;

	if (!asi_enabled())
		return;

	asi_local_place();

	/*
	 * For memory that is added later: the direct map, of which restricted roots have
	 * entries of their own, struct pages, shadow. Those of the vmalloc area are there
	 * in any case.
	 */
	asi_preallocate((void *)PAGE_OFFSET, __va(DIRECT_MAP_PHYSMEM_END));
	asi_preallocate(vmemmap, pfn_to_page(PHYS_PFN(DIRECT_MAP_PHYSMEM_END)));
#ifdef CONFIG_KASAN
	asi_preallocate(kasan_mem_to_shadow(__va(0)),
			kasan_mem_to_shadow(__va(DIRECT_MAP_PHYSMEM_END)));
#endif

	/* Not pgd_none(), which is false for a folded level. */
	for (i = KERNEL_PGD_BOUNDARY; i < PTRS_PER_PGD; i++) {
		if (i >= pgd_index(ASI_VMALLOC_START) && i <= pgd_index(VMALLOC_END))
			continue;
		if (!pgd_val(restricted[i]))
			set_pgd(&restricted[i], swapper_pg_dir[i]);
	}

	/* What a process adds to its restricted root stays out of its guest root. */
	memcpy(kernel_to_guest_pgdp(swapper_pg_dir) + KERNEL_PGD_BOUNDARY,
	       restricted + KERNEL_PGD_BOUNDARY, KERNEL_PGD_PTRS * sizeof(pgd_t));
}

/* What bugs.c wants transitions to flush, and the bugs that are left to them. */
static u8 asi_requested __initdata;
static u8 asi_flushes __ro_after_init;
static char asi_instead_of[64] __ro_after_init;
/* What does not, and why, for the same */
static char asi_not_left[192] __ro_after_init;

/*
 * Without a command, memory is read. All pages differ, or a hypervisor might make them one.
 */
static bool __init asi_prepare_l1d(void)
{
	u8 *pages;
	int i;

	if (asi_l1d_pages)
		return true;
	pages = (u8 *)__get_free_pages(GFP_KERNEL, ASI_L1D_ORDER);
	if (!pages) {
		pr_warn("no memory to flush L1D by\n");
		return false;
	}
	for (i = 0; i < 1 << ASI_L1D_ORDER; i++)
		memset(pages + i * PAGE_SIZE, i + 1, PAGE_SIZE);
	asi_l1d_pages = pages;
	return true;
}

/* The flushes that this CPU knows. */
static u8 __init asi_available(void)
{
	u8 flushes = ASI_FLUSH_RSB | ASI_FLUSH_BHB | ASI_FLUSH_VERW;

	if (boot_cpu_has(X86_FEATURE_IBPB))
		flushes |= ASI_FLUSH_IBPB | ASI_FLUSH_GUEST | ASI_FLUSH_PROCESS;
	if (boot_cpu_has(X86_FEATURE_FLUSH_L1D) ||
	    (boot_cpu_has_bug(X86_BUG_L1TF) && asi_prepare_l1d()))
		flushes |= ASI_FLUSH_L1D | ASI_FLUSH_L1D_GUEST;
	return flushes;
}

/**
 * asi_request_flush - have transitions flush something
 * @flushes:	ASI_FLUSH_*; what the CPU does not know is left out
 */
void __init asi_request_flush(u8 flushes)
{
	asi_requested |= flushes;
}

/* Flush whatever this CPU knows, against whatever there is? */
static bool __init asi_flushes_all(void)
{
	return asi_options.flush == ASI_FLUSH_ALL || asi_options.flush == ASI_FLUSH_ALWAYS;
}

/* Attack vectors that are to be mitigated. */
static unsigned long __init asi_vectors(void)
{
	unsigned long vectors = 0;
	int i;

	for (i = 0; i < NR_CPU_ATTACK_VECTORS; i++) {
		if (asi_flushes_all() || cpu_attack_vector_mitigated(i))
			vectors |= BIT(i);
	}
	return vectors;
}

/* Is ASI to do what else is always done? */
static bool __init asi_may_stand_in(void)
{
	return asi_enabled() && !asi_options.both && asi_options.flush != ASI_FLUSH_NONE;
}

/* Why transitions are not to flush, or cannot, what else had to be flushed every time. */
static const char * __init asi_flush_obstacle(u8 flushes)
{
	struct asi_policy kernel = asi_policy(ASI_RUNS_KERNEL, asi_vectors(), false, false);
	struct asi_policy user = asi_policy(ASI_RUNS_USER, asi_vectors(), false, false);
	struct asi_policy guest = asi_policy(ASI_RUNS_GUEST, asi_vectors(), false, false);

	/* They would not do so where user mode may steer the kernel, or see it all. */
	if ((flushes & ASI_FLUSH_DATA_ALL) && !user.leaks)
		return "user mode may see what the kernel has";
	if ((flushes & ASI_FLUSH_CONTROL_ALL) && !(kernel.steers & ASI_CONTROL_USER))
		return "user mode may steer the kernel";
	if ((flushes & ASI_FLUSH_L1D_GUEST) && !guest.leaks)
		return "guests may see what the kernel has";
	if ((flushes & ASI_FLUSH_L1D_GUEST) && !asi_has_guest_root())
		return "guests=off";
	if (flushes & ~asi_available())
		return flushes & (ASI_FLUSH_IBPB | ASI_FLUSH_GUEST) ? "no IBPB" :
								      "no memory to read";
	return NULL;
}

/**
 * asi_can_flush - may transitions flush what else had to be flushed every time?
 * @flushes:	ASI_FLUSH_*, all of which are necessary
 *
 * Return: whether a mitigation that is always paid can stand down.
 */
bool __init asi_can_flush(u8 flushes)
{
	return asi_may_stand_in() && !asi_flush_obstacle(flushes);
}

/**
 * asi_keeps - say why a mitigation that is always paid does not stand down
 * @flushes:	ASI_FLUSH_*, that would take
 * @what:	stays, for the administrator
 * @reason:	or NULL if that is why not asi_can_flush(), or that flush=all does not count
 *
 * In the log, and in what asi_show_status() says later. Says nothing where ASI is not to
 * stand in for anything, by asi=.
 */
void __init asi_keeps(u8 flushes, const char *what, const char *reason)
{
	size_t len = strlen(asi_not_left);

	if (!asi_may_stand_in())
		return;
	reason = reason ?: asi_flush_obstacle(flushes) ?: "mitigations=";
	pr_info("%s is not left to ASI: %s\n", what, reason);
	scnprintf(asi_not_left + len, sizeof(asi_not_left) - len, "%s %s (%s)",
		  len ? "," : "", what, reason);
}

/**
 * asi_take_over - have transitions flush something, in place of what is always paid
 * @flushes:	ASI_FLUSH_*, for which asi_can_flush()
 * @bug:	for the administrator
 */
void __init asi_take_over(u8 flushes, const char *bug)
{
	size_t len = strlen(asi_instead_of);

	asi_request_flush(flushes);
	asi_taken_over |= flushes;
	scnprintf(asi_instead_of + len, sizeof(asi_instead_of) - len, " %s", bug);
}

static const struct {
	u8 flush;
	struct static_key_false *key;
	const char *name;
} asi_flush_table[] = {
	{ ASI_FLUSH_IBPB,	&asi_flush_ibpb,	" IBPB" },
	{ ASI_FLUSH_RSB,	&asi_flush_rsb,		" return buffer" },
	{ ASI_FLUSH_BHB,	&asi_flush_bhb,		" branch history" },
	{ ASI_FLUSH_L1D,	&asi_flush_l1d,		" L1D" },
	{ ASI_FLUSH_L1D_GUEST,	&asi_flush_l1d_guest,	" L1D" },
	{ ASI_FLUSH_VERW,	&asi_flush_verw,	" VERW" },
};

static void asi_show_flushes(struct seq_buf *seq, u8 flushes)
{
	int i;

	if (!flushes)
		seq_buf_puts(seq, " nothing");
	for (i = 0; i < ARRAY_SIZE(asi_flush_table); i++) {
		if (asi_flush_table[i].flush & flushes)
			seq_buf_puts(seq, asi_flush_table[i].name);
	}
}

/* What is to be flushed, and cannot be. */
static void __init asi_show_missing(u8 flushes)
{
	DECLARE_SEQ_BUF(names, 64);

	flushes &= ASI_FLUSH_CONTROL_ALL | ASI_FLUSH_DATA_ALL;
	if (!flushes)
		return;
	asi_show_flushes(&names, flushes);
	pr_info("CPU or microcode lacks:%s\n", seq_buf_str(&names));
}

/* Why siblings are not stunned, or NULL. */
static const char *asi_no_stun_reason __ro_after_init;

static const char * __init asi_no_stun(void)
{
	if (asi_options.stun == ASI_STUN_OFF)
		return "stun=off";
	if (!cpu_smt_possible())
		return "no SMT";
	if (__max_threads_per_core > ASI_MAX_THREADS)
		return "too many threads";
	/* What sends interrupts there is not the APIC alone. */
	if (is_uv_system())
		return "not supported on UV systems";
	if (asi_options.stun == ASI_STUN_ON)
		return NULL;

	/* Who shares a core with whom is for the hypervisor to say. */
	if (boot_cpu_has(X86_FEATURE_HYPERVISOR))
		return "in a guest";
	if (smt_mitigations == SMT_MITIGATIONS_OFF)
		return "no protection across threads";
	if (!asi_policies[ASI_RUNS_KERNEL].steers && !asi_sibling_leaks)
		return "nothing to protect from";
	return NULL;
}

/* One line, for the log and for the administrator. */
static void asi_show_status(struct seq_buf *seq)
{
	bool always = static_key_enabled(&asi_flushes_always);

	if (!asi_enabled()) {
		seq_buf_printf(seq, "off: %s\n", asi_off_reason);
		return;
	}

	seq_buf_printf(seq, "on for processes%s%s; flush on %s:",
		       asi_has_guest_root() ? " and guests" : "",
		       cpu_feature_enabled(X86_FEATURE_PTI) ? ", with KPTI" : "",
		       always ? "each entry" : "exit");
	asi_show_flushes(seq, asi_flushes & ASI_FLUSH_CONTROL_ALL);
	seq_buf_printf(seq, ", on %s:", always ? "each return" : "enter");
	asi_show_flushes(seq, asi_flushes & ASI_FLUSH_DATA_ALL);
	if (asi_flushes & ASI_FLUSH_L1D_GUEST)
		seq_buf_puts(seq, ", before guests: L1D");
	if (asi_flushes & ASI_FLUSH_GUEST)
		seq_buf_puts(seq, ", after guests: IBPB");
	if (asi_flushes & ASI_FLUSH_PROCESS)
		seq_buf_puts(seq, ", between processes: IBPB");
	if (static_key_enabled(&asi_verw_siblings))
		seq_buf_puts(seq, ", before siblings: VERW");
	if (asi_no_stun_reason)
		seq_buf_printf(seq, "; siblings run (%s)", asi_no_stun_reason);
	else
		seq_buf_puts(seq, "; siblings are stunned");
	if (asi_instead_of[0])
		seq_buf_printf(seq, "; instead of the mitigation of:%s", asi_instead_of);
	if (asi_not_left[0])
		seq_buf_printf(seq, "; not left to ASI:%s", asi_not_left);
	seq_buf_putc(seq, '\n');
}

/* Does something else do VERW, on the way to user mode or to some guests? */
static bool __init asi_verw_elsewhere(void)
{
	return boot_cpu_has(X86_FEATURE_CLEAR_CPU_BUF) ||
	       boot_cpu_has(X86_FEATURE_CLEAR_CPU_BUF_VM) ||
	       boot_cpu_has(X86_FEATURE_CLEAR_CPU_BUF_VM_MMIO);
}

/**
 * asi_select_flushes - choose what transitions flush, and say what is on
 *
 * After mitigations have been chosen, and with them what is requested here; before
 * other CPUs come up.
 */
void __init asi_select_flushes(void)
{
	DECLARE_SEQ_BUF(status, 640);
	u8 unneeded = ASI_FLUSH_CONTROL_ALL | ASI_FLUSH_DATA_ALL;
	u8 missing = 0;
	int i;

	if (asi_enabled() && asi_options.flush != ASI_FLUSH_NONE) {
		asi_flushes = asi_requested;
		/* Kernel exit does so by itself. */
		if (boot_cpu_has(X86_FEATURE_CLEAR_CPU_BUF))
			asi_flushes &= ~ASI_FLUSH_VERW;
		/* Between processes it is for Retbleed and SRSO alone. */
		if (asi_flushes_all())
			asi_flushes |= U8_MAX & ~ASI_FLUSH_PROCESS;
		if (asi_flushes & ASI_FLUSH_L1D)
			asi_flushes &= ~ASI_FLUSH_L1D_GUEST;
		missing = asi_flushes & ~asi_available();
		asi_flushes &= ~missing;
		/* write_ibpb() fills the buffer itself on CPUs with this bug. */
		if ((asi_flushes & ASI_FLUSH_IBPB) &&
		    (boot_cpu_has(X86_FEATURE_AMD_IBPB_RET) ||
		     boot_cpu_has_bug(X86_BUG_IBPB_NO_RET)))
			asi_flushes &= ~ASI_FLUSH_RSB;
	}

	for (i = 0; i < ASI_NR_RUNS; i++)
		asi_policies[i] = asi_policy(i, asi_vectors(), asi_flushes & ASI_FLUSH_GUEST,
					     asi_flushes & ASI_FLUSH_PROCESS);
	/* Where they have the memory of their process next to them */
	if (!asi_has_guest_root())
		asi_policies[ASI_RUNS_GUEST].leaks &= ~ASI_DATA_USER;
	asi_sibling_leaks = asi_leaks_to_siblings(&asi_policies[ASI_RUNS_USER],
						  &asi_policies[ASI_RUNS_GUEST]);
	/* What no policy calls for */
	for (i = 0; i < ASI_NR_RUNS; i++) {
		if (asi_policies[i].steers)
			unneeded &= ~ASI_FLUSH_CONTROL_ALL;
		if (asi_policies[i].leaks)
			unneeded &= ~ASI_FLUSH_DATA_ALL;
	}
	asi_flushes &= ~unneeded;
	asi_show_missing(missing & ~unneeded);

	asi_no_stun_reason = asi_no_stun();
	/*
	 * Kernel entry does so by itself, but not on the way from a guest to user mode,
	 * which does not pass it; and it is too early for what siblings train until they
	 * are stunned.
	 */
	if (boot_cpu_has(X86_FEATURE_ENTRY_IBPB) && !(asi_flushes & ASI_FLUSH_GUEST) &&
	    asi_no_stun_reason && !asi_flushes_all())
		asi_flushes &= ~(ASI_FLUSH_IBPB | ASI_FLUSH_RSB);

	for (i = 0; i < ARRAY_SIZE(asi_flush_table); i++) {
		if (asi_flushes & asi_flush_table[i].flush)
			static_branch_enable(asi_flush_table[i].key);
	}

	if (asi_enabled() && asi_options.flush == ASI_FLUSH_ALWAYS)
		static_branch_enable(&asi_flushes_always);

	if (asi_enabled() && !asi_no_stun_reason) {
		asi_released = asi_taints_released(&asi_policies[ASI_RUNS_KERNEL]);
		/* That comes when this CPU goes on; siblings are let go before. */
		if (asi_verw_elsewhere() && asi_options.flush != ASI_FLUSH_NONE)
			static_branch_enable(&asi_verw_siblings);
		static_branch_enable(&asi_stuns_siblings);
	}

	asi_show_status(&status);
	pr_info("%s", seq_buf_str(&status));
}

static ssize_t asi_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct seq_buf status;

	seq_buf_init(&status, buf, PAGE_SIZE);
	asi_show_status(&status);
	return seq_buf_used(&status);
}

static struct device_attribute dev_attr_asi = __ATTR(asi, 0444, asi_show, NULL);

/* /sys/devices/system/cpu/asi */
static int __init asi_sysfs_init(void)
{
	struct device *root = bus_get_dev_root(&cpu_subsys);
	int err;

	if (!root)
		return -ENODEV;
	err = device_create_file(root, &dev_attr_asi);
	put_device(root);
	return err;
}
late_initcall(asi_sysfs_init);
