// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address Space Isolation: the choice at boot, and the restricted root that
 * all others are made from.
 */
#define pr_fmt(fmt) "asi: " fmt

#include <linux/asi.h>
#include <linux/cc_platform.h>
#include <linux/cpu.h>
#include <linux/init.h>
#include <linux/kasan.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/printk.h>
#include <linux/string.h>

#include <asm/asi.h>
#include <asm/bugs.h>
#include <asm/cpufeature.h>
#include <asm/hypervisor.h>
#include <asm/pgalloc.h>
#include <asm/setup.h>

#include "asi_internal.h"

/*
 * A block of the page allocator is what the restricted direct map maps or does
 * not map with one entry, and freeing must not merge it into something larger
 * that has no kind.
 */
static_assert(HPAGE_PMD_ORDER <= PAGE_BLOCK_MAX_ORDER);
static_assert(pageblock_order == PMD_SHIFT - PAGE_SHIFT);

static struct asi_options asi_options __initdata = {
	.on = IS_ENABLED(CONFIG_MITIGATION_ASI_DEFAULT_ON),
	.flush = true,
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
			new.flush = true;
		} else if (is_word(arg, len, "flush=none")) {
			new.flush = false;
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

/* What ASI cannot work with, or is not made to work with yet. */
static const char * __init asi_unsupported(void)
{
	if (hypervisor_is_type(X86_HYPER_XEN_PV))
		return "Xen PV guests do not own their page tables";
	/* Its remote TLB flushes know one page-table root for each mm. */
	if (hypervisor_is_type(X86_HYPER_MS_HYPERV))
		return "not supported as a Hyper-V guest";
	/* #VC handlers and the RMP walk and split the direct map themselves. */
	if (cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT) ||
	    cc_platform_has(CC_ATTR_HOST_SEV_SNP))
		return "not supported with SEV or TDX";
	if (!boot_cpu_has(X86_FEATURE_PSE) || !(__supported_pte_mask & _PAGE_NX))
		return "CPU without large pages or NX";
	return NULL;
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
		asi_off_reason = asi_unsupported();

	if (asi_off_reason)
		return;

	setup_force_cpu_cap(X86_FEATURE_ASI);

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
 * asi_init - complete the restricted root of init_mm
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
	 * What belongs to memory that is added later: struct pages, shadow. The
	 * direct map has entries of its own, and those of the vmalloc area are
	 * there in any case.
	 */
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
}

/* Does this CPU have a bug that lets data be read out of its buffers? */
static bool __init asi_needs_verw(void)
{
	return boot_cpu_has_bug(X86_BUG_MDS) || boot_cpu_has_bug(X86_BUG_TAA) ||
	       boot_cpu_has_bug(X86_BUG_MMIO_STALE_DATA) ||
	       boot_cpu_has_bug(X86_BUG_RFDS) || boot_cpu_has_bug(X86_BUG_TSA);
}

static bool __init asi_needs_control_flush(void)
{
	return boot_cpu_has_bug(X86_BUG_SPECTRE_V2) ||
	       boot_cpu_has_bug(X86_BUG_RETBLEED) ||
	       boot_cpu_has_bug(X86_BUG_SRSO);
}

/**
 * asi_select_flushes - choose what transitions flush, and say what is on
 *
 * By the bugs and features of the boot CPU, before other CPUs come up.
 */
void __init asi_select_flushes(void)
{
	bool ibpb, rsb, verw, l1d;

	if (!asi_enabled()) {
		pr_info("off: %s\n", asi_off_reason);
		return;
	}

	ibpb = asi_options.flush && asi_needs_control_flush() &&
	       boot_cpu_has(X86_FEATURE_IBPB);
	/* write_ibpb() fills the buffer itself on CPUs with this bug. */
	rsb = asi_options.flush && asi_needs_control_flush() &&
	      !(ibpb && (boot_cpu_has(X86_FEATURE_AMD_IBPB_RET) ||
			 boot_cpu_has_bug(X86_BUG_IBPB_NO_RET)));
	verw = asi_options.flush && asi_needs_verw();
	l1d = asi_options.flush && boot_cpu_has_bug(X86_BUG_L1TF) &&
	      boot_cpu_has(X86_FEATURE_FLUSH_L1D);

	if (ibpb)
		static_branch_enable(&asi_flush_ibpb);
	if (rsb)
		static_branch_enable(&asi_flush_rsb);
	if (verw)
		static_branch_enable(&asi_flush_verw);
	if (l1d)
		static_branch_enable(&asi_flush_l1d);

	pr_info("on for processes%s; flush on exit:%s%s%s, on enter:%s%s%s\n",
		cpu_feature_enabled(X86_FEATURE_PTI) ? ", with KPTI" : "",
		ibpb ? " IBPB" : "", rsb ? " return buffer" : "",
		ibpb || rsb ? "" : " nothing",
		l1d ? " L1D" : "", verw ? " VERW" : "",
		l1d || verw ? "" : " nothing");
}
