// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address Space Isolation: debugfs files for tests, below asi/.
 *
 * reach	write a page frame number, read whether the tables of the
 *		calling process map it
 * state	the taints of each CPU, and how often it was found in a state that
 *		must not be: in user mode but not restricted, or not as an NMI has
 *		left it
 * break	properties to break on purpose, by name; writing it clears what
 *		state counts
 */
#include <linux/asi.h>
#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/smp.h>
#include <linux/uaccess.h>

#include <asm/asi.h>

#include "asi_internal.h"

/*
 * Look for an address that a table maps @pfn at. The tables of the kernel half
 * can change while they are walked, and a page of them can be freed by vmalloc;
 * it is read through the direct map, so the worst is a wrong answer, in a file
 * for tests.
 */
static bool find_in_table(const u64 *table, int level, unsigned long base,
			  int first, int last, unsigned long pfn,
			  unsigned long *address)
{
	unsigned int shift = PAGE_SHIFT + 9 * (level - 1);
	int i;

	for (i = first; i <= last; i++) {
		u64 entry = READ_ONCE(table[i]);
		unsigned long va = base + ((unsigned long)i << shift);
		unsigned long start = PHYS_PFN(entry & PTE_PFN_MASK);

		if (!(entry & _PAGE_PRESENT))
			continue;

		if (level == 1 || (level <= 3 && (entry & _PAGE_PSE))) {
			unsigned long nr = 1UL << (shift - PAGE_SHIFT);

			start &= ~(nr - 1);
			if (pfn - start < nr) {
				*address = va + PFN_PHYS(pfn - start);
				return true;
			}
			continue;
		}

		if (!pfn_valid(start))
			continue;
		if (level == 3)
			cond_resched();
		if (find_in_table(pfn_to_kaddr(start), level - 1, va, 0, 511,
				  pfn, address))
			return true;
	}
	return false;
}

/**
 * asi_find_mapping - does a set of page tables map a page frame?
 * @pgd: the root
 * @pfn: of the frame
 * @address: set to the first address that does
 *
 * Context: process, may sleep; current's mm is @pgd's or @pgd is the kernel's.
 */
bool asi_find_mapping(pgd_t *pgd, unsigned long pfn, unsigned long *address)
{
	int levels = pgtable_l5_enabled() ? 5 : 4;
	unsigned long sign = ~0UL << (PAGE_SHIFT + 9 * levels);
	int half = KERNEL_PGD_BOUNDARY;

	if (find_in_table((u64 *)pgd, levels, 0, 0, half - 1, pfn, address))
		return true;
	return find_in_table((u64 *)pgd, levels, sign, half, 511, pfn, address);
}

/* The page frame number to ask about is what a file keeps. */
static ssize_t reach_write(struct file *file, const char __user *buf,
			   size_t count, loff_t *ppos)
{
	unsigned long pfn;
	int ret;

	ret = kstrtoul_from_user(buf, count, 0, &pfn);
	if (ret)
		return ret;
	if (!pfn_valid(pfn))
		return -ERANGE;
	file->private_data = (void *)pfn;
	return count;
}

static ssize_t reach_read(struct file *file, char __user *buf, size_t count,
			  loff_t *ppos)
{
	unsigned long pfn = (unsigned long)file->private_data;
	struct mm_struct *mm = current->mm;
	unsigned long address = 0, any = 0;
	bool restricted, unrestricted;
	pgd_t *pgd = mm->pgd;
	char line[128];
	int len;

	/* Holds off whoever frees page tables of the user half. */
	if (mmap_write_lock_killable(mm))
		return -EINTR;
	unrestricted = asi_find_mapping(pgd, pfn, &any);
	if (asi_enabled()) {
		restricted = asi_find_mapping(kernel_to_restricted_pgdp(pgd),
					      pfn, &address);
	} else {
		restricted = unrestricted;
		address = any;
	}
	mmap_write_unlock(mm);

	len = scnprintf(line, sizeof(line),
			"pfn=%lu sensitive=%d restricted=%d unrestricted=%d address=0x%lx\n",
			pfn,
			asi_enabled() && !asi_page_mapped(pfn),
			restricted, unrestricted, address);
	return simple_read_from_buffer(buf, count, ppos, line, len);
}

static const struct file_operations reach_fops = {
	.owner		= THIS_MODULE,
	.read		= reach_read,
	.write		= reach_write,
	.llseek		= default_llseek,
};

static int state_show(struct seq_file *seq, void *unused)
{
	int cpu;

	for_each_online_cpu(cpu)
		seq_printf(seq, "cpu=%d taints=%#x violations=%u\n", cpu,
			   per_cpu(asi_cpu.taints, cpu),
			   per_cpu(asi_cpu.violations, cpu));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(state);

static const struct {
	const char	*name;
	unsigned long	bit;
} breaks[] = {
	{ "noclear",	ASI_BREAK_NOCLEAR },
	{ "nounmap",	ASI_BREAK_NOUNMAP },
	{ "noflush",	ASI_BREAK_NOFLUSH },
	{ "nomark",	ASI_BREAK_NOMARK },
	{ "noenter",	ASI_BREAK_NOENTER },
	{ "noflip",	ASI_BREAK_NOFLIP },
};

static int break_show(struct seq_file *seq, void *unused)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(breaks); i++)
		if (asi_break_mask & breaks[i].bit)
			seq_printf(seq, "%s ", breaks[i].name);
	seq_putc(seq, '\n');
	return 0;
}

static int break_open(struct inode *inode, struct file *file)
{
	return single_open(file, break_show, NULL);
}

static ssize_t break_write(struct file *file, const char __user *buf,
			   size_t count, loff_t *ppos)
{
	char words[128], *rest = words, *word;
	unsigned long mask = 0;
	ssize_t len;
	int i, cpu;

	len = strncpy_from_user(words, buf, min(count, sizeof(words) - 1));
	if (len < 0)
		return len;
	words[min_t(size_t, len, count)] = '\0';
	strim(words);

	while ((word = strsep(&rest, " "))) {
		if (!*word)
			continue;
		for (i = 0; i < ARRAY_SIZE(breaks); i++)
			if (!strcmp(word, breaks[i].name))
				break;
		if (i == ARRAY_SIZE(breaks))
			return -EINVAL;
		mask |= breaks[i].bit;
	}

	for_each_possible_cpu(cpu)
		WRITE_ONCE(per_cpu(asi_cpu.violations, cpu), 0);
	/* The process that writes it, where it is not about all of the system */
	WRITE_ONCE(asi_break_task, current);
	WRITE_ONCE(asi_break_mask, mask);
	return count;
}

static const struct file_operations break_fops = {
	.owner		= THIS_MODULE,
	.open		= break_open,
	.release	= single_release,
	.read		= seq_read,
	.write		= break_write,
	.llseek		= seq_lseek,
};

static int __init asi_debug_init(void)
{
	struct dentry *dir = debugfs_create_dir("asi", NULL);

	debugfs_create_file("reach", 0600, dir, NULL, &reach_fops);
	debugfs_create_file("state", 0400, dir, NULL, &state_fops);
	debugfs_create_file("break", 0600, dir, NULL, &break_fops);
	return 0;
}
late_initcall(asi_debug_init);
