/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Just enough of io_uring to make one request at a time.
 */
#ifndef SELFTESTS_ASI_URING_H
#define SELFTESTS_ASI_URING_H

#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct uring {
	int fd;
	unsigned int sq_mask, cq_mask;
	unsigned int *sq_tail, *sq_array;
	unsigned int *cq_head, *cq_tail;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

/* With @flags = IORING_SETUP_SQPOLL a thread polls. Returns 0 or a negative error. */
static inline int uring_init(struct uring *ring, unsigned int flags)
{
	struct io_uring_params params = { .flags = flags, .sq_thread_idle = 1 };
	char *rings;

	memset(ring, 0, sizeof(*ring));
	ring->fd = syscall(__NR_io_uring_setup, 4, &params);
	if (ring->fd < 0)
		return -errno;
	if (!(params.features & IORING_FEAT_SINGLE_MMAP))
		return -EOPNOTSUPP;
	rings = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
	ring->sqes = mmap(NULL, params.sq_entries * sizeof(*ring->sqes),
			  PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			  ring->fd, IORING_OFF_SQES);
	if (rings == MAP_FAILED || ring->sqes == MAP_FAILED)
		return -errno;
	ring->sq_tail = (void *)(rings + params.sq_off.tail);
	ring->sq_array = (void *)(rings + params.sq_off.array);
	ring->sq_mask = params.sq_entries - 1;
	ring->cq_head = (void *)(rings + params.cq_off.head);
	ring->cq_tail = (void *)(rings + params.cq_off.tail);
	ring->cqes = (void *)(rings + params.cq_off.cqes);
	ring->cq_mask = params.cq_entries - 1;
	return 0;
}

/* Returns what the request does, or a negative error. */
static inline int uring_do(struct uring *ring, const struct io_uring_sqe *sqe)
{
	unsigned int tail = *ring->sq_tail, head = *ring->cq_head;
	unsigned int slot = tail & ring->sq_mask;
	int ret;

	ring->sqes[slot] = *sqe;
	ring->sq_array[slot] = slot;
	__atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
	ret = syscall(__NR_io_uring_enter, ring->fd, 1, 1,
		      IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP, NULL, 0);
	if (ret < 0)
		return -errno;
	if (__atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) == head)
		return -EAGAIN;
	ret = ring->cqes[head & ring->cq_mask].res;
	__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
	return ret;
}

/* Reads from the start of a file; with @flags = IOSQE_ASYNC in a worker thread. */
static inline int uring_read(struct uring *ring, int fd, void *buf,
			     unsigned int len, unsigned int flags)
{
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_READ,
		.flags = flags,
		.fd = fd,
		.addr = (uintptr_t)buf,
		.len = len,
	};

	return uring_do(ring, &sqe);
}

#endif /* SELFTESTS_ASI_URING_H */
