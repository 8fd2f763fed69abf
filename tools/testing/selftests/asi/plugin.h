/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What watch.c uses of the interface for plugins of QEMU, in its version 1. The packages
 * of QEMU lack qemu-plugin.h.
 */
#ifndef SELFTESTS_ASI_PLUGIN_H
#define SELFTESTS_ASI_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { QEMU_PLUGIN_CB_NO_REGS };
typedef void (*tb_trans_t)(uint64_t id, struct qemu_plugin_tb *tb);
typedef void (*exec_t)(unsigned int cpu, void *data);
typedef void (*end_t)(uint64_t id, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, tb_trans_t call);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, exec_t call,
					    int flags, void *data);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, exec_t call,
					  int flags, void *data);
void qemu_plugin_register_atexit_cb(uint64_t id, end_t call, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

#endif /* SELFTESTS_ASI_PLUGIN_H */
