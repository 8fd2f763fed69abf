// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address Space Isolation: who keeps user content in nonsensitive memory?
 *
 * While /sys/kernel/debug/asi/audit is on, every copy from user space into
 * memory that restricted address spaces map is recorded with its stack, and so
 * is every copy of such memory to user space. The first shows what should be
 * sensitive and is not; the second also shows what the kernel has to say of its
 * own, and is to be read with that in mind. Copies of single variables
 * (get_user()) are not seen, and those to and from the stack are counted only:
 * kernel stacks are known to be nonsensitive.
 */
#include <linux/asi.h>
#include <linux/asi_audit.h>
#include <linux/atomic.h>
#include <linux/dcache.h>
#include <linux/debugfs.h>
#include <linux/hash.h>
#include <linux/hardirq.h>
#include <linux/init.h>
#include <linux/sched/task_stack.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/stackdepot.h>
#include <linux/stacktrace.h>
#include <linux/string.h>

/* Call sites, in two directions each; what finds no room is counted. */
#define AUDIT_BITS	10
#define AUDIT_PROBES	8
#define AUDIT_DEPTH	7

static struct audit_site {
	atomic_t	handle;		/* of the stack; 0 if the entry is free */
	bool		to_user;
	atomic_long_t	copies;
	atomic_long_t	bytes;
} audit_sites[1 << AUDIT_BITS];

static atomic_long_t audit_stack, audit_lost;

bool asi_audit_on;
EXPORT_SYMBOL(asi_audit_on);

static struct audit_site *audit_find(depot_stack_handle_t handle, bool to_user)
{
	unsigned int i, hash = hash_32(handle * 2 + to_user, AUDIT_BITS);

	for (i = 0; i < AUDIT_PROBES; i++) {
		struct audit_site *site;
		int old;

		site = &audit_sites[(hash + i) % ARRAY_SIZE(audit_sites)];
		old = atomic_cmpxchg(&site->handle, 0, handle);
		if (!old)
			site->to_user = to_user;
		if (!old || (old == handle && site->to_user == to_user))
			return site;
	}
	return NULL;
}

void __asi_audit_copy(const void *addr, unsigned long n, bool to_user)
{
	unsigned long entries[AUDIT_DEPTH];
	depot_stack_handle_t handle;
	struct audit_site *site = NULL;

	if (in_nmi() || !n || asi_address_sensitive(addr))
		return;
	if (object_is_on_stack(addr)) {
		atomic_long_inc(&audit_stack);
		return;
	}

	/* Whoever cannot be preempted may hold any lock */
	handle = stack_depot_save_flags(entries,
					stack_trace_save(entries, AUDIT_DEPTH, 1),
					preemptible() ? GFP_NOWAIT : 0,
					preemptible() ? STACK_DEPOT_FLAG_CAN_ALLOC : 0);
	if (handle)
		site = audit_find(handle, to_user);
	if (!site) {
		atomic_long_inc(&audit_lost);
		return;
	}
	atomic_long_inc(&site->copies);
	atomic_long_add(n, &site->bytes);
}
EXPORT_SYMBOL(__asi_audit_copy);

static int audit_show(struct seq_file *seq, void *unused)
{
	char *text __free(kfree) = kmalloc(1024, GFP_KERNEL);
	int i;

	if (!text)
		return -ENOMEM;

	seq_printf(seq, "audit=%d stack=%ld lost=%ld\n", READ_ONCE(asi_audit_on),
		   atomic_long_read(&audit_stack), atomic_long_read(&audit_lost));
	for (i = 0; i < ARRAY_SIZE(audit_sites); i++) {
		struct audit_site *site = &audit_sites[i];
		long copies = atomic_long_read(&site->copies);

		if (!copies)
			continue;
		stack_depot_snprint(atomic_read(&site->handle), text, 1024, 1);
		seq_printf(seq, "\n%s user: %ld copies, %ld bytes\n%s",
			   site->to_user ? "to" : "from", copies,
			   atomic_long_read(&site->bytes), text);
	}
	return 0;
}

static int audit_open(struct inode *inode, struct file *file)
{
	return single_open(file, audit_show, NULL);
}

/* 0 or 1. What was recorded stays. */
static ssize_t audit_write(struct file *file, const char __user *buf,
			   size_t count, loff_t *ppos)
{
	bool on;
	int ret = kstrtobool_from_user(buf, count, &on);

	if (ret)
		return ret;
	if (on && !asi_enabled())
		return -EOPNOTSUPP;
	WRITE_ONCE(asi_audit_on, on);
	return count;
}

static const struct file_operations audit_fops = {
	.owner		= THIS_MODULE,
	.open		= audit_open,
	.release	= single_release,
	.read		= seq_read,
	.write		= audit_write,
	.llseek		= seq_lseek,
};

static int __init asi_audit_init(void)
{
	struct dentry *dir = debugfs_lookup("asi", NULL);

	stack_depot_init();
	debugfs_create_file("audit", 0600, dir, NULL, &audit_fops);
	dput(dir);
	return 0;
}
late_initcall(asi_audit_init);
