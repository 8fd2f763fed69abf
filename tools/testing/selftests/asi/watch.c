// SPDX-License-Identifier: GPL-2.0-only
/*
 * Plugin for QEMU that writes down what a guest executes of flushes and of loads of
 * page tables, and where it runs untrusted code, for flushes.py.
 *
 * Arguments: out=FILE, at=ADDRESS for each function to be noticed when it begins, and
 * call=ADDRESS for one whose callers are.
 *
 * A line for each: the number of the CPU, a letter, and the address of the instruction.
 *
 *	w	WRMSR
 *	v	VERW
 *	c	MOV to CR3
 *	a	one of the functions
 *	b	a call of the other one
 *	g	VMRUN: a guest of this guest runs until
 *	h	the instruction behind it
 *	u	user mode, after any of these
 *	m	user mode executes MARK, with its number instead of an address
 *
 * Nothing is written before the first mark, nor after the second.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

int qemu_plugin_version = 1;

/* nopl MARK+N(%rax), see mark.c */
static const uint8_t mark[] = { 0x0f, 0x1f, 0x80 };
#define MARK		0x41534900

#define NR_FUNCTIONS	8
#define NR_VMRUNS	4
#define MAX_CPUS		64

static uint64_t functions[NR_FUNCTIONS], called, after_vmrun[NR_VMRUNS];
static int nr_functions, nr_vmruns;
static bool user[MAX_CPUS], nested[MAX_CPUS], marked;
static FILE *out;

static void write_line(unsigned int cpu, char what, uint64_t address)
{
	if (!marked || cpu >= MAX_CPUS)
		return;
	user[cpu] = what == 'u' || what == 'm';
	fprintf(out, "%u %c %llx\n", cpu, what, (unsigned long long)address);
}

#define WRITER(name, letter)					\
	static void name(unsigned int cpu, void *data)		\
	{							\
		write_line(cpu, letter, (uintptr_t)data);	\
	}

WRITER(wrmsr, 'w')
WRITER(verw, 'v')
WRITER(cr3, 'c')
WRITER(function, 'a')
WRITER(caller, 'b')

static void vmrun(unsigned int cpu, void *data)
{
	if (cpu < MAX_CPUS)
		nested[cpu] = true;
	write_line(cpu, 'g', (uintptr_t)data);
}

static void vmexit(unsigned int cpu, void *data)
{
	if (cpu < MAX_CPUS)
		nested[cpu] = false;
	write_line(cpu, 'h', (uintptr_t)data);
}

/* What a guest of the guest executes is not told apart by its addresses. */
static void user_mode(unsigned int cpu, void *data)
{
	if (marked && cpu < MAX_CPUS && !user[cpu] && !nested[cpu])
		write_line(cpu, 'u', (uintptr_t)data);
}

/* From the first mark to the second, which is not to depend on how QEMU ends. */
static void user_mark(unsigned int cpu, void *data)
{
	bool last = marked;

	marked = true;
	write_line(cpu, 'm', (uintptr_t)data);
	if (last) {
		marked = false;
		fflush(out);
	}
}

/* Who is to be called when this is executed, if anybody. */
static exec_t what_is(const uint8_t *code, size_t size, uint64_t address)
{
	int32_t offset;
	int i;

	for (i = 0; i < nr_functions; i++) {
		if (functions[i] == address)
			return function;
	}
	if (size == 1 + sizeof(offset) && *code == 0xe8) {
		memcpy(&offset, code + 1, sizeof(offset));
		return called && address + size + offset == called ? caller : NULL;
	}
	/* Prefixes, of which the opcodes sought have some with no effect */
	while (size > 2 && ((*code & 0xf0) == 0x40 || *code == 0x66 || *code == 0x3e)) {
		code++;
		size--;
	}
	if (size < 2 || code[0] != 0x0f)
		return NULL;
	if (code[1] == 0x30)
		return wrmsr;
	if (size < 3)
		return NULL;
	if (code[1] == 0x01 && code[2] == 0xd8)
		return vmrun;
	if (code[1] == 0x00 && (code[2] >> 3 & 7) == 5)
		return verw;
	if (code[1] == 0x22 && (code[2] >> 3 & 7) == 3)
		return cr3;
	return NULL;
}

static void call_at(struct qemu_plugin_insn *insn, exec_t call, uint64_t data)
{
	qemu_plugin_register_vcpu_insn_exec_cb(insn, call, QEMU_PLUGIN_CB_NO_REGS,
					       (void *)(uintptr_t)data);
}

static void kernel_insn(struct qemu_plugin_insn *insn, uint64_t address)
{
	size_t size = qemu_plugin_insn_size(insn);
	exec_t call = what_is(qemu_plugin_insn_data(insn), size, address);
	int i;

	/* VMRUN is translated before anybody can come back from it. */
	for (i = 0; i < nr_vmruns && after_vmrun[i] != address + size; i++)
		;
	if (call == vmrun && i == nr_vmruns && i < NR_VMRUNS)
		after_vmrun[nr_vmruns++] = address + size;
	for (i = 0; i < nr_vmruns; i++) {
		if (after_vmrun[i] == address)
			call_at(insn, vmexit, address);
	}
	if (call)
		call_at(insn, call, address);
}

static void user_insn(struct qemu_plugin_insn *insn)
{
	const uint8_t *code = qemu_plugin_insn_data(insn);
	uint32_t number;

	if (qemu_plugin_insn_size(insn) != sizeof(mark) + sizeof(number) ||
	    memcmp(code, mark, sizeof(mark)))
		return;
	memcpy(&number, code + sizeof(mark), sizeof(number));
	if ((number & ~0xffU) == MARK)
		call_at(insn, user_mark, number & 0xff);
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t i, nr = qemu_plugin_tb_n_insns(tb);
	uint64_t address = 0;
	(void)id;

	for (i = 0; i < nr; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		address = qemu_plugin_insn_vaddr(insn);
		if (address >> 63)
			kernel_insn(insn, address);
		else
			user_insn(insn);
	}
	/* A block is of one or the other. */
	if (nr && !(address >> 63))
		qemu_plugin_register_vcpu_tb_exec_cb(tb, user_mode, QEMU_PLUGIN_CB_NO_REGS,
						     (void *)(uintptr_t)address);
}

static void end(uint64_t id, void *data)
{
	(void)id;
	(void)data;
	fclose(out);
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	int i;
	(void)info;

	for (i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = fopen(argv[i] + 4, "w");
		else if (!strncmp(argv[i], "at=", 3) && nr_functions < NR_FUNCTIONS)
			functions[nr_functions++] = strtoull(argv[i] + 3, NULL, 16);
		else if (!strncmp(argv[i], "call=", 5))
			called = strtoull(argv[i] + 5, NULL, 16);
	}
	if (!out) {
		fprintf(stderr, "watch: no file to write to\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, end, NULL);
	return 0;
}
