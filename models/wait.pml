/*
 * How receivers sleep and are woken: one direction of a ring. Steps name the Go functions.
 *
 * PROCS processes with two goroutines each wait for messages; SENDERS goroutines, each a process of
 * its own, send one message. An adversary kills a process, stops it for ever, or cancels a goroutine's
 * context, MOVES times in all, at any step.
 *
 * What is one step here is one in the Go code: a CAS, a critical section of side.mu, the
 * kernel's compare-and-sleep, its wake of all. A killed process is swept by a survivor, which
 * wakes everybody (channel/watch_linux.go bury, core.sweep); a stopped one is not.
 *
 * With -DSPSC the sender publishes by a plain store, which stays in its store buffer until the
 * processor writes it back, or somebody fences all (ring.Env.Fence, membarrier).
 */

#ifndef PROCS
#define PROCS 2
#endif
#ifndef SENDERS
#define SENDERS 2
#endif
#ifndef MOVES
#define MOVES 1
#endif
#define G	(2*PROCS)	/* goroutines that receive; process of g: g/2 */
#define NONE	15
#define MATE(g)	((g) ^ 1)

byte msgs;			/* in the ring, to be seen by all */
byte buf[SENDERS];		/* SPSC: published, in a store buffer */
bool wait;			/* EventWait of the event word */
byte count;			/* its count */

byte leader[PROCS] = NONE;	/* side.leader */
bool queued[G];			/* in side's queue: the one behind the other, at most */
bool token[G];			/* a Wake that is remembered (futexsem.Sleeper) */
bool asleep[G];			/* in the kernel, on the event word */
bool cancelled[G];
bool gone[G];			/* has left */
bool got[G];

bool dead[PROCS], stopped[PROCS];
bool deadS[SENDERS], stoppedS[SENDERS];
byte sent, lost;

#define DOWN(g)		(dead[(g)/2] || stopped[(g)/2])

/* FUTEX_WAKE of all */
inline wakeAll() {
	i = 0;
	do
	:: i < G -> asleep[i] = false; i++
	:: else -> break
	od
}

/* ring.Stir, and the wake: after a death */
inline stir() { wait = false; count = (count + 1) & 7; wakeAll() }

proctype Receiver(byte g)
{
	byte seen, i;

	{
	atomic {					/* side.join */
		if
		:: leader[g/2] == NONE -> leader[g/2] = g
		:: else -> queued[g] = true
		fi
	};
again:
	if						/* core.interrupted */
	:: cancelled[g] -> goto leave
	:: else
	fi;
	if
	:: leader[g/2] != g ->
		atomic { token[g] -> token[g] = false };	/* Sleeper.Sleep(nil): parked */
		goto again
	:: else
	fi;
#ifdef NO_RECHECK
	if
	:: atomic { msgs > 0 -> msgs--; got[g] = true }; goto leave
	:: else
	fi;
#endif
	atomic { wait = true; seen = count };		/* ring.PrepareWait */
#if defined(SPSC) && !defined(NO_FENCE)
	d_step {					/* core.Fence */
		i = 0;
		do
		:: i < SENDERS -> msgs = msgs + buf[i]; buf[i] = 0; i++
		:: else -> break
		od;
		i = 0
	};
#endif
#ifndef NO_RECHECK
	if						/* attempt */
	:: atomic { msgs > 0 -> msgs--; got[g] = true }; goto leave
	:: else
	fi;
#endif
	if
	:: cancelled[g] -> goto leave
	:: else
	fi;
	atomic {					/* core.sleepOn: the kernel compares and sleeps */
		if
		:: wait && count == seen && !token[g] -> asleep[g] = true
		:: else
		fi
	};
	atomic { !asleep[g] || token[g] -> asleep[g] = false; token[g] = false };
	goto again;

leave:
	atomic {					/* side.quit */
#ifdef KEEP_TURN
		if
		:: cancelled[g] -> goto out
		:: else
		fi;
#endif
		queued[g] = false;
		if
		:: leader[g/2] == g ->
			leader[g/2] = NONE;
#ifndef NO_HANDON
			if
			:: queued[MATE(g)] ->
				queued[MATE(g)] = false;
				leader[g/2] = MATE(g);
				token[MATE(g)] = true	/* Sleeper.Wake */
			:: else
			fi
#endif
		:: else
		fi
	};
out:
	gone[g] = true
	} unless { DOWN(g) }
}

proctype Sender(byte s)
{
	byte i;

	{
#ifdef SPSC
	atomic { buf[s] = 1; sent++ };			/* Sender.Publish: a plain store */
#else
	atomic { msgs++; sent++ };			/* Desk.Publish: a CAS */
#endif
	if						/* ring.Attention, Notify */
	:: atomic { wait -> wait = false; count = (count + 1) & 7 };
#ifdef WAKE_ONE
		atomic {
			i = 0;
			do
			:: i < G && !asleep[i] -> i++
			:: else -> break
			od;
			if
			:: i < G -> asleep[i] = false
			:: else
			fi
		}
#else
		atomic { wakeAll() }			/* futexWakeAll */
#endif
	:: !wait
	fi
	} unless { deadS[s] || stoppedS[s] }
}

/* the processor writes a store buffer back, whatever becomes of the process */
proctype Buffer(byte s)
{
end:	do
	:: atomic { buf[s] > 0 -> msgs = msgs + buf[s]; buf[s] = 0 }
	od
}

proctype Adversary()
{
	byte moves = MOVES, v, i;

	do
	:: moves > 0 -> moves--;
		if
		:: select(v : 0 .. PROCS-1);
			atomic {
				/* a goroutine that has taken a message and not left it to the other */
				dead[v] = true;
				asleep[2*v] = false; asleep[2*v+1] = false
			};
#ifndef NO_SWEEP
			atomic { stir() }
#endif
		:: select(v : 0 .. SENDERS-1);
			deadS[v] = true;
#ifndef NO_SWEEP
			atomic { stir() }
#endif
		:: select(v : 0 .. PROCS-1); stopped[v] = true
		:: select(v : 0 .. SENDERS-1); stoppedS[v] = true
		:: select(v : 0 .. G-1);
			atomic { cancelled[v] = true; token[v] = true }	/* context.AfterFunc: Wake */
		fi
	:: break
	od
}

/*
 * When nothing moves any more: no message waits while somebody alive waits for one, whom nobody
 * stopped; a cancelled call has ended; what was sent is there or was taken, once. (A sender
 * that is stopped between its publishing and its waking holds back the wake: see README.md.)
 */
proctype Monitor()
{
	byte g, taken, waiting, held;

	timeout ->
	atomic {
		do
		:: g < G ->
			if
			:: got[g] -> taken++
			:: else
			fi;
			if
			:: !DOWN(g) && !gone[g] -> waiting++; assert(!cancelled[g])
			:: else
			fi;
			g++
		:: else -> break
		od;
		g = 0;
		do
		:: g < SENDERS -> held = held + stoppedS[g]; assert(buf[g] == 0); g++
		:: else -> break
		od;
		assert(taken + msgs == sent);
		assert(msgs == 0 || waiting == 0 || held > 0)
	}
}

init
{
	byte n;

	atomic {
		do
		:: n < G -> run Receiver(n); n++
		:: else -> break
		od;
		n = 0;
		do
		:: n < SENDERS -> run Sender(n);
#ifdef SPSC
			run Buffer(n);
#endif
			n++
		:: else -> break
		od;
		run Adversary();
		run Monitor()
	}
}
