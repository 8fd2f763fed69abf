/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transitions under every interleaving, for spin: arch/x86/mm/asi_switch.c, and
 * irqentry_nmi_enter() and _exit() of kernel/entry/common.c.
 *
 * One CPU runs a task. Two NMI-like handlers (NMI, #MC, #DB, ...) may strike
 * before each of its steps, the second one also before each step of the first.
 * A statement, or a d_step, is one step; it stands for the instruction, or the
 * line of C, that is named beside it.
 *
 * The flushes are about two pairs of things that can be dirty:
 *
 *	bp, rsb		what user mode, or a guest, has trained
 *	l1d, buffers	what can be read there of sensitive memory, or of a
 *			process that was loaded before
 *
 * Of taints there is one of each kind: of whose code or data it is makes no
 * difference to who may come in between (KUnit has the rest). But for those of
 * guests, by which user mode must not be steered, as on CPUs with VMSCAPE.
 *
 * Speculation is taken at its worst: it does at once whatever it can. While the
 * unrestricted root is loaded all that there is to read is read, again and
 * again, and user mode trains what it can as soon as it runs.
 *
 * Left out: the TLB (see tlb.pml); CR2; KPTI, whose user root differs from the
 * restricted one in nothing that matters here; other CPUs, of which only siblings
 * share any of this (see stun.pml). Interrupts are the task's own code, as they may
 * come only where the task may do the same by itself.
 */

/* Hardware */
bool restricted;		/* CR3: which root is loaded */
bool bp;
bool rsb;
bool guest_bp;			/* some of that by a guest */
bool l1d = true;
bool buffers = true;
byte level;			/* handlers on top of each other */

bool unrestricted = true;	/* ASI_TODO_ENTER in asi_cpu.todo, the intent */
bool switched;			/* ASI_TODO_TAINT there */
bool control;			/* asi_cpu.taints */
bool guest;
bool data = true;
bool user;			/* the task is in user mode */

#define trained	(bp || rsb)
#define dirty	(l1d || buffers)

inline mov_cr3(to_restricted)
{
	d_step {
		restricted = to_restricted;
		l1d = l1d || !restricted;
		buffers = buffers || !restricted
	}
}

inline asi_flush_control()
{
#ifdef BREAK_IBPB_LAST
	rsb = false;
	d_step { bp = false; guest_bp = false; rsb = true }
#else
	d_step { bp = false; guest_bp = false; rsb = true }	/* IBPB may leave entries there */
	rsb = false				/* asi_fill_return_buffer() */
#endif
}

inline asi_flush_data()
{
#ifdef BREAK_VERW_FIRST
	buffers = !restricted;
	d_step { l1d = !restricted; buffers = true }
#else
	/* WRMSR goes through the buffers. */
	d_step { l1d = !restricted; buffers = true };
	buffers = !restricted			/* VERW */
#endif
}

/* Before the kernel runs, with all memory mapped. */
inline asi_flush_before_kernel()
{
	if
	:: control || guest ->
#ifdef BREAK_UNTAINT_CONTROL_FIRST
		d_step { control = false; guest = false };
#endif
		asi_flush_control();
		d_step { control = false; guest = false }
	:: else
	fi
}

inline asi_flush_before_user()
{
#ifndef BREAK_USER_STEERED
	if
	:: guest ->
		asi_flush_control();
		d_step { control = false; guest = false }
	:: else
	fi;
#endif
	if
	:: data ->
		asi_flush_data();
		data = false
	:: else
	fi
}

inline asi_enter()
{
	if
#ifdef BREAK_ENTER_BY_ROOT
	:: !restricted || switched ->
#else
	:: unrestricted || switched ->
#endif
		/* __asi_enter() */
#ifdef BREAK_ENTER_FLUSH_FIRST
		asi_flush_before_user();
#endif
		if
		:: unrestricted -> mov_cr3(true)
		:: else
		fi;
#ifdef BREAK_ENTER_INTENT_FIRST
		d_step { unrestricted = false; switched = false };
#endif
#ifndef BREAK_ENTER_FLUSH_FIRST
		asi_flush_before_user();
#endif
#ifndef BREAK_ENTER_TAINTS_NOT
		control = true;
#endif
		d_step { unrestricted = false; switched = false }
	:: else
	fi
}

inline __asi_exit()
{
#ifndef BREAK_EXIT_INTENT_LAST
	unrestricted = true;
#endif
#ifdef BREAK_EXIT_FLUSH_LAST
	mov_cr3(false);
#endif
	asi_flush_before_kernel();
#ifndef BREAK_EXIT_FLUSH_LAST
	mov_cr3(false);
#endif
#ifdef BREAK_EXIT_INTENT_LAST
	unrestricted = true;
#endif
#ifdef BREAK_EXIT_TAINTS_NOT
	skip
#else
	data = true
#endif
}

/*
 * An access to sensitive memory, and __asi_fault() if it is not mapped. It
 * faults once at most: there is no livelock, whatever comes in between.
 */
inline touch()
{
	do
	:: !restricted ->
		break				/* the access */
	:: restricted ->
		assert(!faulted);
		faulted = true;
#ifdef BREAK_FAULT_BY_INTENT
		if
		:: !unrestricted -> __asi_exit()
		:: else
		fi
#else
		__asi_exit()
#endif
	od;
	faulted = false
}

inline asi_exit()
{
	if
	:: restricted -> __asi_exit()
	:: else
	fi
}

inline asi_load_mm()
{
#ifndef BREAK_LOAD_MM_UNRESTRICTED
	to_restricted = restricted;
#endif
	mov_cr3(to_restricted);
	to_restricted = false
}

/* The process before has tainted data: it was within reach. */
inline asi_switch_taints()
{
#ifndef BREAK_SWITCH_TAINTS_NOT
	data = true;
#endif
#ifdef BREAK_SWITCH_DROPS_GUEST
	guest = false;
#endif
#ifndef BREAK_SWITCH_UNNOTICED
	switched = true
#else
	skip
#endif
}

/* What siblings must not find, if they are released */
inline asi_flush_and_release()
{
	if
	:: data ->
		asi_flush_data();
		data = false
	:: else
	fi
}

inline __asi_relax()
{
	mov_cr3(true);
	asi_flush_and_release();
#ifndef BREAK_RELAX_UNNOTICED
	switched = true;
#endif
	unrestricted = false
}

inline asi_enter_guest()
{
	if
#ifndef BREAK_GUEST_UNRESTRICTED
	:: unrestricted ->
		mov_cr3(true);
		asi_flush_and_release()
#endif
	:: else
	fi;
	/* KVM's own mitigations flush data, or nothing does. */
#ifndef BREAK_GUEST_TAINTS_LATE
	guest = true;
#endif
#ifndef BREAK_GUEST_UNNOTICED
	switched = true;
#endif
	unrestricted = false
}

active proctype task() provided (level == 0)
{
	bool faulted, to_restricted, value;

	do
	:: true ->
		/* arch_exit_to_user_mode(), and the next entry */
		asi_enter();
		d_step { user = true; bp = true; rsb = true };
		user = false

	:: touch()

	:: true ->
		asi_exit()

	:: true ->
		/* switch_mm_irqs_off(), to a process or not */
		asi_load_mm()

	:: true ->
		asi_switch_taints();
		asi_load_mm();
		/*
		 * What was within reach until now is another's, whatever has
		 * been flushed since the taints were switched.
		 */
		d_step { l1d = true; buffers = true }

	:: value = restricted;
		/* It will be written back; interrupts are on or off. */
		do
		:: touch()
		:: true -> asi_exit()
		:: break
		od;
		mov_cr3(value);
		value = false

	:: true ->
		asi_enter_guest();
		d_step { bp = true; rsb = true; guest_bp = true }
#ifdef BREAK_GUEST_TAINTS_LATE
		;
		guest = true
#endif

	:: unrestricted ->
		__asi_relax()
	od
}

/* The first of these strikes the task, the second one the first one. */
active [2] proctype nmi() provided (level == _pid || level == _pid - 1)
{
	bool faulted, to_restricted, found_restricted, found_unrestricted;
	bool found_switched, found_control, found_guest, found_data;
	bool was_restricted, was_unrestricted;	/* what is really so */

	do
	:: d_step {
		level == _pid - 1 -> level = _pid;
		was_restricted = restricted;
		was_unrestricted = unrestricted
	   };

#ifdef BREAK_NMI_SAVE_LATE
		touch();
#endif
		/* __asi_nmi_enter(), called first of all */
		found_unrestricted = unrestricted;
		found_switched = switched;
		found_restricted = restricted;
		found_control = control;
		found_guest = guest;
		found_data = data;

		/* The handler. It may use_temporary_mm(), if it is kgdb's. */
		do
		:: touch()
		:: true -> asi_switch_taints(); asi_load_mm()
		:: break
		od;
		skip;				/* no break into a d_step */

		/* __asi_nmi_exit(), called last of all */
#ifdef BREAK_NMI_INTENT_FIRST
		d_step { unrestricted = found_unrestricted; switched = found_switched };
#endif
#ifndef BREAK_NMI_KEEPS_ROOT
		if
		:: found_restricted && !restricted ->
			mov_cr3(true);
#ifndef BREAK_NMI_NO_FLUSH
			asi_flush_data();
#endif
			data = false
		:: else
		fi;
#endif
#ifndef BREAK_NMI_TAINTS_LOST
		d_step {
			control = control || found_control;
			guest = guest || found_guest;
			data = data || found_data
		};
#endif
#ifdef BREAK_NMI_CLEARS_INTENT
		unrestricted = false;
#elif !defined(BREAK_NMI_KEEPS_INTENT)
		d_step { unrestricted = found_unrestricted; switched = found_switched };
#endif

		d_step {
			/* As if nothing had happened */
			assert(restricted == was_restricted &&
			       unrestricted == was_unrestricted);
			found_restricted = false;
			found_unrestricted = false;
			found_switched = false;
			found_control = false;
			found_guest = false;
			found_data = false;
			was_restricted = false;
			was_unrestricted = false;
			level = _pid - 1
		}
	od
}

/* What must hold at every instant. */
active proctype monitor()
{
	atomic {
		!((restricted || !trained) &&
		  (unrestricted || (restricted && (switched || !dirty))) &&
		  (!(user && level == 0) ||
		   (!unrestricted && restricted && !dirty && control && !guest_bp)))
		->
		/* No secrets in reach of what untrusted code has trained */
		assert(restricted || !trained);
		/* The intent is clear: all flushes of an enter are done */
		assert(unrestricted || (restricted && (switched || !dirty)));
		/* User mode runs: the same, that it runs is known, and guests have no say */
		assert(!(user && level == 0) ||
		       (!unrestricted && restricted && !dirty && control && !guest_bp))
	}
}
