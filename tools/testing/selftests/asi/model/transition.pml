/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transitions under every interleaving, for spin: arch/x86/mm/asi_switch.c, and
 * irqentry_nmi_enter() and _exit() of kernel/entry/common.c.
 *
 * One CPU runs a task, which may be a VMM. Two NMI-like handlers (NMI, #MC, #DB, ...)
 * may strike before each of its steps, the second one also before each step of the
 * first. A statement, or a d_step, is one step; it stands for the instruction, or the
 * line of C, that is named beside it.
 *
 * The flushes are about two pairs of things that can be dirty:
 *
 *	bp, rsb		what user mode, or a guest, has trained
 *	l1d, buffers	what can be read there: of what the process has for itself, or
 *			of sensitive memory or a process that was loaded before
 *
 * Of taints, "control" is that of user mode, of this process or another one, and "data"
 * that of the kernel and of other processes: which of them makes no difference to who
 * may come in between (KUnit has the rest). Policies are those for all attack vectors,
 * on a CPU with VMSCAPE.
 *
 * Speculation is taken at its worst: it does at once whatever it can. All that the
 * loaded root has to read is read, again and again, and user mode and guests train what
 * they can as soon as they run.
 *
 * Left out: the TLB (see tlb.pml); CR2; KPTI, whose user root differs from the
 * restricted one in nothing that matters here; other CPUs, of which only siblings
 * share any of this (see stun.pml). Interrupts are the task's own code, as they may
 * come only where the task may do the same by itself.
 *
 * With RETBLEED, the kernel may be steered on the restricted root as well: what one
 * process has trained must not be there when another one is loaded.
 *
 * With L1D_GUEST, what is in L1D is of concern to guests only (L1TF), and their VMM has
 * nothing to hide from them: that would call for a flush whenever it has run.
 */
#if defined(BREAK_L1D_UNTAINTED) || defined(BREAK_L1D_NMI) || defined(BREAK_L1D_UNSEEN)
#define L1D_GUEST
#endif
#if defined(BREAK_SWITCH_STEERED) || defined(BREAK_SWITCH_FLUSH_LAST) || \
    defined(BREAK_SWITCH_FLUSHED_UNNOTICED)
#define RETBLEED
#endif

/* Roots, in the order of what is within reach */
#define GUEST		0
#define RESTRICTED	1
#define UNRESTRICTED	2

/* Who has trained */
#define NOBODY		0
#define BY_USER		1
#define BY_OTHER	2	/* user mode of a process that is not loaded any more */
#define BY_GUEST	3

#define max(a, b)	((a) > (b) -> (a) : (b))

/* Hardware */
byte root = UNRESTRICTED;	/* CR3: which is loaded */
byte bp, rsb;
byte l1d = UNRESTRICTED;	/* what this root has can be read there */
byte buffers = UNRESTRICTED;
byte level;			/* handlers on top of each other */

byte asi_guest_root = GUEST;
bool intent = true;		/* ASI_TODO_ENTER in asi_cpu.todo */
bool noticed;			/* ASI_TODO_TAINT there */
bool control = true;		/* asi_cpu.taints: ASI_CONTROL_USER, _OTHER */
bool control_guest = true;
bool data = true;		/* ASI_DATA_KERNEL, _OTHER */
bool data_user = true;
bool data_guest = true;
bool cached = true;		/* ASI_DATA_CACHED */

bool in_user;			/* the task is in user mode */
bool in_guest;			/* or runs a guest */

#define trained		max(bp, rsb)
#define left		max(l1d, buffers)
#ifdef L1D_GUEST
#define left_for_user	buffers
#define vmm_leaks	false
#define guest_sees	RESTRICTED
#else
/* Without a root of its own, it is beside what its process has. */
#define left_for_user	left
#define vmm_leaks	(data_user && asi_guest_root == GUEST)
#define guest_sees	asi_guest_root
#endif

inline mov_cr3(to)
{
	d_step {
		root = to;
		l1d = max(l1d, root);
		buffers = max(buffers, root)
	}
}

inline asi_flush_control()
{
#ifdef BREAK_IBPB_LAST
	rsb = NOBODY;
	d_step { bp = NOBODY; rsb = BY_USER }
#else
	/* IBPB may leave entries there */
	d_step { rsb = trained; bp = NOBODY };
	rsb = NOBODY				/* asi_fill_return_buffer() */
#endif
}

/* Where a guest may run next */
inline asi_flush_data()
{
#ifdef BREAK_VERW_FIRST
	buffers = root;
	d_step { buffers = max(l1d, root); l1d = root }
#else
	/* WRMSR goes through the buffers. */
	d_step { buffers = max(left, root); l1d = root };
	buffers = root				/* VERW */
#endif
}

/* The two halves of asi_flush_before() */
inline asi_flush_steering(steers)
{
	if
	:: steers ->
#ifdef BREAK_UNTAINT_CONTROL_FIRST
		d_step { control = false; control_guest = false };
#endif
		asi_flush_control();
		d_step { control = false; control_guest = false }
	:: else
	fi
}

inline asi_flush_all_data()
{
	asi_flush_data();
	d_step { cached = false; data = false; data_user = false; data_guest = false }
}

inline asi_flush_leaking(leaks)
{
	if
	:: leaks -> asi_flush_all_data()
	:: else
	fi
}

/* ASI_RUNS_USER */
inline asi_flush_leaking_to_user()
{
#ifdef L1D_GUEST
	if
	:: data ->
		buffers = root;			/* VERW */
#ifndef BREAK_L1D_UNTAINTED
		cached = true;
#endif
		d_step { data = false; data_user = false; data_guest = false }
	:: else
	fi
#else
	asi_flush_leaking(data)
#endif
}

/* From the guest root */
inline __asi_leave_guest_root()
{
#ifdef BREAK_LEAVE_FLUSH_LAST
	mov_cr3(RESTRICTED);
#endif
#ifndef BREAK_LEAVE_NOT_FLUSHED
	asi_flush_steering(control_guest);	/* ASI_RUNS_PROCESS */
#endif
#ifndef BREAK_LEAVE_FLUSH_LAST
	mov_cr3(RESTRICTED);
#endif
#ifndef BREAK_LEAVE_TAINTS_NOT
	data_user = true
#else
	skip
#endif
}

inline asi_enter()
{
	if
#ifdef BREAK_ENTER_BY_ROOT
	:: root == UNRESTRICTED || noticed ->
#else
	:: intent || noticed ->
#endif
		/* __asi_enter() */
#ifdef BREAK_ENTER_FLUSH_FIRST
		asi_flush_leaking_to_user();
#endif
		if
		:: intent -> mov_cr3(RESTRICTED)
#ifndef BREAK_ENTER_KEEPS_GUEST
		:: !intent && root == GUEST -> __asi_leave_guest_root()
#endif
		:: else
		fi;
#ifdef BREAK_ENTER_INTENT_FIRST
		d_step { intent = false; noticed = false };
#endif
		/* ASI_RUNS_USER */
#ifndef BREAK_USER_STEERED
		asi_flush_steering(control_guest);
#endif
#ifndef BREAK_ENTER_FLUSH_FIRST
		asi_flush_leaking_to_user();
#endif
#ifndef BREAK_ENTER_TAINTS_NOT
		d_step { control = true; data_user = true };
#endif
		d_step { intent = false; noticed = false }
	:: else
	fi
}

inline __asi_exit()
{
#ifndef BREAK_EXIT_INTENT_LAST
	intent = true;
#endif
#ifdef BREAK_EXIT_FLUSH_LAST
	mov_cr3(UNRESTRICTED);
#endif
	asi_flush_steering(control || control_guest);	/* ASI_RUNS_KERNEL */
#ifndef BREAK_EXIT_FLUSH_LAST
	mov_cr3(UNRESTRICTED);
#endif
#ifdef BREAK_EXIT_INTENT_LAST
	intent = true;
#endif
#ifdef BREAK_EXIT_TAINTS_NOT
	skip
#else
	data = true
#endif
}

/*
 * An access to what the process has for itself, and to sensitive memory, where that is
 * not mapped: __asi_fault(). It faults once at most: there is no livelock, whatever
 * comes in between. The other one is asi_exit() as well, from wherever that is called.
 */
inline touch_own()
{
	root == GUEST ->
		__asi_leave_guest_root();
		assert(root != GUEST)
}

inline touch()
{
	root != UNRESTRICTED ->
#ifdef BREAK_FAULT_BY_INTENT
		if
		:: !intent -> __asi_exit()
		:: else
		fi;
#else
		__asi_exit();
#endif
		assert(root == UNRESTRICTED)
}

inline asi_load_mm()
{
#if defined(BREAK_LOAD_MM_KEEPS_GUEST)
	to = root;
#elif !defined(BREAK_LOAD_MM_UNRESTRICTED)
	to = (root == UNRESTRICTED -> UNRESTRICTED : RESTRICTED);
#endif
#if !defined(BREAK_LOAD_MM_KEEPS_GUEST) && !defined(BREAK_LOAD_MM_NOT_FLUSHED)
	if
	:: root == GUEST ->
		asi_flush_steering(control_guest);	/* ASI_RUNS_PROCESS */
		data_user = true
	:: else
	fi;
#endif
	/* Who has run is another one if that is what is loaded. */
	d_step {
		root = to;
		l1d = max(l1d, root);
		buffers = max(buffers, root);
#ifdef RETBLEED
		bp = (others && bp == BY_USER -> BY_OTHER : bp);
		rsb = (others && rsb == BY_USER -> BY_OTHER : rsb);
#endif
	};
	to = UNRESTRICTED;
	assert(root != GUEST)
}

/* The process before has tainted data: it was within reach. So was its guest. */
inline asi_switch_taints()
{
#if defined(RETBLEED) && !defined(BREAK_SWITCH_STEERED) && !defined(BREAK_SWITCH_FLUSH_LAST)
	asi_flush_steering(control || control_guest);	/* ASI_RUNS_OTHER */
#endif
	d_step {
#if defined(BREAK_SWITCH_DROPS_GUEST_DATA)
		data = data || data_user;
#elif !defined(BREAK_SWITCH_TAINTS_NOT)
		data = data || data_user || data_guest;
#endif
#ifdef BREAK_SWITCH_DROPS_GUEST
		control_guest = false;
#endif
#if !defined(BREAK_SWITCH_UNNOTICED) && !defined(BREAK_SWITCH_FLUSHED_UNNOTICED)
		noticed = true;
#endif
		data_user = true;
		data_guest = false
	}
}

inline __asi_relax()
{
	mov_cr3(RESTRICTED);
	/* asi_flush_and_release() */
	if
	:: data || cached ->
		asi_flush_all_data();
		data_user = true
	:: else
	fi;
#ifndef BREAK_RELAX_UNNOTICED
	noticed = true;
#endif
	intent = false
}

inline asi_enter_guest()
{
#ifdef BREAK_GUEST_FLUSH_FIRST
	asi_flush_leaking(data || cached || data_user);
#endif
#ifndef BREAK_GUEST_UNNOTICED
	if
	:: intent || root != asi_guest_root -> noticed = true
	:: else
	fi;
#endif
	if
#ifndef BREAK_GUEST_UNRESTRICTED
	:: intent -> mov_cr3(asi_guest_root)
#endif
#ifndef BREAK_GUEST_BY_INTENT
	:: !intent && root != asi_guest_root -> mov_cr3(asi_guest_root)
#endif
	:: else
	fi;
	/* ASI_RUNS_GUEST */
#if !defined(BREAK_GUEST_FLUSH_FIRST) && !defined(BREAK_GUEST_NOT_FLUSHED)
#ifdef BREAK_L1D_UNSEEN
	asi_flush_leaking(data || vmm_leaks);
#else
	asi_flush_leaking(data || cached || vmm_leaks);
#endif
#endif
#ifndef BREAK_GUEST_TAINTS_LATE
	d_step { control_guest = true; data_guest = true };
#endif
#ifndef BREAK_GUEST_UNNOTICED
	noticed = true;
#endif
	intent = false
}

active proctype task() provided (level == 0)
{
	byte to = UNRESTRICTED, value = GUEST;
	bool others;

	if
#ifndef L1D_GUEST			/* left to KVM then */
	:: asi_guest_root = RESTRICTED	/* asi=guests=off */
#endif
	:: skip
	fi;
	do
	:: true ->
		/* arch_exit_to_user_mode(), and the next entry */
		asi_enter();
		d_step { in_user = true; bp = max(bp, BY_USER); rsb = max(rsb, BY_USER) };
		in_user = false

	:: touch_own()

	:: touch()

	:: true ->
		/* switch_mm_irqs_off(), to no process, or to another one */
		if
		:: true
		:: true ->
			asi_switch_taints();
			others = true
		fi;
		asi_load_mm();
#ifdef BREAK_SWITCH_FLUSH_LAST
		asi_flush_steering(control || control_guest);
#endif
		/*
		 * What was within reach until now is another's, whatever has
		 * been flushed since the taints were switched.
		 */
		if
		:: others ->
			d_step { l1d = UNRESTRICTED; buffers = UNRESTRICTED; others = false }
		:: else
		fi

	:: root != UNRESTRICTED ->
		/* CR3 is read, and will be written back; interrupts are on or off. */
		value = root;
		do
		:: touch_own()
		:: touch()
		:: intent -> __asi_relax()
		:: break
		od;
		mov_cr3(value);
		value = GUEST

	:: true ->
		asi_enter_guest();
		/* VM entry and exit; asi_host_cr3() is what is loaded. */
		d_step { in_guest = true; bp = BY_GUEST; rsb = BY_GUEST };
#ifdef BREAK_GUEST_TAINTS_LATE
		d_step { control_guest = true; data_guest = true };
#endif
		in_guest = false

	:: intent ->
		__asi_relax()
	od
}

/* The first of these strikes the task, the second one the first one. */
active [2] proctype nmi() provided (level == _pid || level == _pid - 1)
{
	byte found_root;
	bool found_intent, found_noticed;
	bool found_control, found_control_guest, found_data, found_data_user, found_data_guest;
	bool found_cached;
	byte was_root;				/* what is really so */
	bool was_intent;

	do
	:: d_step {
		level == _pid - 1 -> level = _pid;
		was_root = root;
		was_intent = intent
	   };

#ifdef BREAK_NMI_SAVE_LATE
		if
		:: touch()
		:: true
		fi;
#endif
		/* __asi_nmi_enter(), called first of all */
		d_step {
			found_intent = intent;
			found_noticed = noticed
		};
		found_root = root;
		d_step {
			found_control = control;
			found_control_guest = control_guest;
			found_data = data;
			found_data_user = data_user;
			found_data_guest = data_guest;
			found_cached = cached
		};

		/*
		 * The handler. It may use_temporary_mm(), if it is kgdb's, which is
		 * asi_switch_taints() and, as far as can be seen here, touch_own().
		 */
		do
		:: touch_own()
		:: touch()
		:: asi_switch_taints()
		:: break
		od;
		skip;				/* no break into a d_step */

		/* __asi_nmi_exit(), called last of all */
#ifdef BREAK_NMI_INTENT_FIRST
		d_step { intent = found_intent; noticed = found_noticed };
#endif
#ifndef BREAK_NMI_KEEPS_ROOT
		if
#ifdef BREAK_NMI_LEFT_GUEST
		:: found_root != UNRESTRICTED && root == UNRESTRICTED ->
#else
		:: found_root != UNRESTRICTED && root != found_root ->
#endif
#ifdef BREAK_NMI_FORGETS_GUEST
			mov_cr3(RESTRICTED);
#else
			mov_cr3(found_root);
#endif
#if defined(BREAK_L1D_NMI)
			buffers = root;
#elif !defined(BREAK_NMI_NO_FLUSH)
			asi_flush_data();
#endif
			d_step { cached = false; data = false; data_user = false; data_guest = false }
		:: else
		fi;
#endif
#ifndef BREAK_NMI_TAINTS_LOST
		d_step {
			control = control || found_control;
			control_guest = control_guest || found_control_guest;
			data = data || found_data;
			data_user = data_user || found_data_user;
			data_guest = data_guest || found_data_guest;
			cached = cached || found_cached
		};
#endif
#ifdef BREAK_NMI_CLEARS_INTENT
		intent = false;
#elif !defined(BREAK_NMI_KEEPS_INTENT)
		d_step { intent = found_intent; noticed = found_noticed };
#endif

		d_step {
			/* As if nothing had happened */
			assert(root == was_root && intent == was_intent);
			found_root = GUEST;
			found_intent = false;
			found_noticed = false;
			found_control = false;
			found_control_guest = false;
			found_data = false;
			found_data_user = false;
			found_data_guest = false;
			found_cached = false;
			was_root = GUEST;
			was_intent = false;
			level = _pid - 1
		}
	od
}

/* No secrets in reach of what untrusted code has trained, */
#define KERNEL_SAFE	(root != UNRESTRICTED || trained == NOBODY)
/* nor what a VMM has of what a guest has */
#define VMM_SAFE	(root != RESTRICTED || trained != BY_GUEST || \
			 asi_guest_root == RESTRICTED)
/* nor anything of a process of what another one has */
#define PROCESS_SAFE	(root != RESTRICTED || trained != BY_OTHER)
/* The intent is clear: all flushes of an enter are done */
#define INTENT_TRUE	(intent || (root != UNRESTRICTED && \
				    (noticed || left_for_user != UNRESTRICTED)))
/* User mode runs: the same, that it runs is known, and guests have no say */
#define USER_SAFE	(!(in_user && level == 0) || \
			 (!intent && !noticed && root == RESTRICTED && \
			  left_for_user <= RESTRICTED && control && trained != BY_GUEST))
/* A guest runs: what it must not see is neither mapped nor left */
#define GUEST_SAFE	(!(in_guest && level == 0) || \
			 (!intent && root == asi_guest_root && left <= guest_sees))

/* What must hold at every instant. */
active proctype monitor()
{
	atomic {
		!(KERNEL_SAFE && VMM_SAFE && PROCESS_SAFE && INTENT_TRUE && USER_SAFE &&
		  GUEST_SAFE) ->
		assert(KERNEL_SAFE);
		assert(VMM_SAFE);
		assert(PROCESS_SAFE);
		assert(INTENT_TRUE);
		assert(USER_SAFE);
		assert(GUEST_SAFE)
	}
}
