// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address Space Isolation: debugfs files for tests, below asi/.
 *
 * reach	write a page frame number, read whether the tables of the
 *		calling process map it
 * frames	a byte for each page frame, at its number: whether it is there, is
 *		sensitive, is mapped by the user half, by the kernel half of the
 *		tables that the calling process runs user mode with
 * state	the taints of each CPU; how often it was found in a state that must
 *		not be: in user mode but not restricted, or not as an NMI has left
 *		it; how often and for how long tasks waited there for SMT siblings
 * break	properties to break on purpose, by name; writing it clears what
 *		state counts
 */
#include <linux/asi.h>
#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/smp.h>
#include <linux/uaccess.h>

#include <asm/asi.h>

#include "asi_internal.h"

/* What is asked of a set of page tables about the frames [pfn, pfn + nr). */
struct look {
	unsigned long pfn;
	unsigned long nr;
	u8 *marks;		/* one for each frame, or NULL if any mapping will do */
	u8 mark;		/* set in those that are mapped */
	unsigned long address;	/* the first that maps one of them */
};

/*
 * Go through what a table maps. The tables of the kernel half can change while
 * they are walked, and a page of them can be freed by vmalloc; it is read through
 * the direct map, so the worst is a wrong answer, in a file for tests.
 *
 * Returns true if nothing more is to be learnt.
 */
static bool look_in_table(struct look *look, const u64 *table, int level,
			  unsigned long base, int first, int last)
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
			unsigned long nr = 1UL << (shift - PAGE_SHIFT), pfn, end;

			start &= ~(nr - 1);
			pfn = max(start, look->pfn);
			end = min(start + nr, look->pfn + look->nr);
			if (pfn >= end)
				continue;
			if (!look->address)
				look->address = va + PFN_PHYS(pfn - start);
			if (!look->marks)
				return true;
			for (; pfn < end; pfn++)
				look->marks[pfn - look->pfn] |= look->mark;
			continue;
		}

		if (!pfn_valid(start))
			continue;
		if (level == 3)
			cond_resched();
		if (look_in_table(look, pfn_to_kaddr(start), level - 1, va, 0, 511))
			return true;
	}
	return false;
}

static bool look_in_user_half(struct look *look, pgd_t *pgd)
{
	return look_in_table(look, (u64 *)pgd, pgtable_l5_enabled() ? 5 : 4, 0,
			     0, KERNEL_PGD_BOUNDARY - 1);
}

static bool look_in_kernel_half(struct look *look, pgd_t *pgd)
{
	int levels = pgtable_l5_enabled() ? 5 : 4;

	return look_in_table(look, (u64 *)pgd, levels,
			     ~0UL << (PAGE_SHIFT + 9 * levels),
			     KERNEL_PGD_BOUNDARY, 511);
}

/* Where a set of page tables maps a frame; 0 if it does not. */
static unsigned long find_mapping(pgd_t *pgd, unsigned long pfn)
{
	struct look look = { .pfn = pfn, .nr = 1 };

	if (!look_in_user_half(&look, pgd))
		look_in_kernel_half(&look, pgd);
	return look.address;
}

/* The tables that user mode runs with. */
static pgd_t *restricted_pgd(struct mm_struct *mm)
{
	return asi_enabled() ? kernel_to_restricted_pgdp(mm->pgd) : mm->pgd;
}

/*
 * Holds off whoever frees page tables: memory that goes takes those of the kernel
 * half with it, and what tells the types of its pages.
 */
static int tables_lock(struct mm_struct *mm)
{
	get_online_mems();
	if (!mmap_write_lock_killable(mm))
		return 0;
	put_online_mems();
	return -EINTR;
}

static void tables_unlock(struct mm_struct *mm)
{
	mmap_write_unlock(mm);
	put_online_mems();
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
	unsigned long restricted, unrestricted;
	char line[128];
	int len, ret;

	ret = tables_lock(mm);
	if (ret)
		return ret;
	if (!pfn_valid(pfn)) {
		tables_unlock(mm);
		return -ERANGE;
	}
	unrestricted = find_mapping(mm->pgd, pfn);
	restricted = find_mapping(restricted_pgd(mm), pfn);
	len = scnprintf(line, sizeof(line),
			"pfn=%lu sensitive=%d restricted=%d unrestricted=%d address=0x%lx\n",
			pfn, asi_enabled() && !asi_page_mapped(pfn),
			!!restricted, !!unrestricted, restricted);
	tables_unlock(mm);
	return simple_read_from_buffer(buf, count, ppos, line, len);
}

static const struct file_operations reach_fops = {
	.owner		= THIS_MODULE,
	.read		= reach_read,
	.write		= reach_write,
	.llseek		= default_llseek,
};

#define FRAME_THERE	0x01
#define FRAME_SENSITIVE	0x02
#define FRAME_USER	0x04
#define FRAME_KERNEL	0x08
#define FRAME_TYPED	0x10
#define FRAME_HIDES	0x20

#define FRAMES_AT_ONCE	65536UL

/* What its block is for, if that is one kind of pages, whatever the tables say. */
static u8 type_mark(const struct page *page)
{
	int mt;

	/* Firmware's memory may lie outside of all zones. */
	if (!zone_spans_pfn(page_zone(page), page_to_pfn(page)))
		return 0;
	mt = get_pageblock_migratetype(page);
	if (mt == MIGRATE_ISOLATE || is_migrate_mixed(mt))
		return 0;
	return FRAME_TYPED | (migratetype_is_sensitive(mt) ? FRAME_HIDES : 0);
}

static ssize_t frames_read(struct file *file, char __user *buf, size_t count,
			   loff_t *ppos)
{
	struct mm_struct *mm = current->mm;
	struct look look = { .pfn = *ppos };
	unsigned long i;
	ssize_t ret;

	if (*ppos < 0 || *ppos >= max_pfn)
		return 0;
	look.nr = min3(count, max_pfn - look.pfn, FRAMES_AT_ONCE);
	look.marks = kvzalloc(look.nr, GFP_KERNEL);
	if (!look.marks)
		return -ENOMEM;

	ret = tables_lock(mm);
	if (ret)
		goto out;
	for (i = 0; i < look.nr; i++) {
		if (!pfn_valid(look.pfn + i))
			continue;
		look.marks[i] = FRAME_THERE | type_mark(pfn_to_page(look.pfn + i));
		if (asi_enabled() && !asi_page_mapped(look.pfn + i))
			look.marks[i] |= FRAME_SENSITIVE;
	}
	look.mark = FRAME_USER;
	look_in_user_half(&look, restricted_pgd(mm));
	look.mark = FRAME_KERNEL;
	look_in_kernel_half(&look, restricted_pgd(mm));
	tables_unlock(mm);

	ret = -EFAULT;
	if (copy_to_user(buf, look.marks, look.nr))
		goto out;
	*ppos += look.nr;
	ret = look.nr;
out:
	kvfree(look.marks);
	return ret;
}

static const struct file_operations frames_fops = {
	.owner		= THIS_MODULE,
	.read		= frames_read,
	.llseek		= default_llseek,
};

static int state_show(struct seq_file *seq, void *unused)
{
	int cpu;

	for_each_online_cpu(cpu)
		seq_printf(seq, "cpu=%d taints=%#x violations=%u stunned=%lu ns=%llu longest=%llu\n",
			   cpu, per_cpu(asi_cpu.taints, cpu),
			   per_cpu(asi_cpu.violations, cpu),
			   per_cpu(asi_stun_times.count, cpu),
			   per_cpu(asi_stun_times.total, cpu),
			   per_cpu(asi_stun_times.longest, cpu));
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
	{ "nostun",	ASI_BREAK_NOSTUN },
	{ "nowindow",	ASI_BREAK_NOWINDOW },
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

	for_each_possible_cpu(cpu) {
		WRITE_ONCE(per_cpu(asi_cpu.violations, cpu), 0);
		memset(per_cpu_ptr(&asi_stun_times, cpu), 0, sizeof(asi_stun_times));
	}
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
	debugfs_create_file("frames", 0400, dir, NULL, &frames_fops);
	debugfs_create_file("state", 0400, dir, NULL, &state_fops);
	debugfs_create_file("break", 0600, dir, NULL, &break_fops);
	return 0;
}
late_initcall(asi_debug_init);
