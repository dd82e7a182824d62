//go:build linux && (amd64 || 386) && !race

package ring

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// A deed is a step that somebody took, and what came of it.
type deed struct {
	who int
	s   step
	st  Status
	v   uint64
}

func (d deed) String() string { return fmt.Sprintf("%d:%v=%d", d.who, d.s, d.st) }

// between finds a place among others, which came one after the other, where mine
// can have happened at one instant, and returns the model afterwards.
func between(m *model, others []deed, mine deed) (*model, error) {
	var errs []error
	for at := range len(others) + 1 {
		c := m.clone()
		c.late = true
		var err error
		for _, d := range slices.Insert(slices.Clone(others), at, mine) {
			if err = c.did(d.who, d.s, d.st, d.v); err != nil {
				break
			}
		}
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("at no instant: %v", errs)
}

// killIn kills a as it publishes v: before the CAS, when the desk has announced
// what it would get, or after it, before the desk says what it got.
func (w *world) killIn(a *actor, v uint64, after bool) Status {
	defer w.kill(a.q)
	d, q := a.d, a.q
	switch {
	case q.Packed() && after:
		return trySend(d, v)
	case q.Packed():
		_, _ = d.Alloc(8)
		return Full
	}
	e := &q.deskT[d.idx]
	if after {
		owners, priv := slices.Clone(q.owners), e.priv
		st := trySend(d, v)
		if st == OK {
			q.owners[e.priv], e.priv = owners[e.priv], priv
		}
		return st
	}
	if d.seekTail() == OK {
		if word := q.slots[d.tail.idx]; word&stateMask == stateEmpty {
			e.next, e.nextPos = q.block(word), q.pos(d.tail)+1
		}
	}
	return Full
}

// TestAStoppedProcessHoldsUpNobody stops a process after any instruction of a step,
// lets others go on and die meanwhile, and continues it. What everybody was told
// must fit one order of events, and the channel must be whole afterwards.
func TestAStoppedProcessHoldsUpNobody(t *testing.T) {
	watchdog(t, 10*time.Minute)
	s := newStepper(t)
	const stops = 20
	for seed := range rounds(t, 40) {
		r := rand.New(rand.NewPCG(uint64(seed), 11))
		h := newHistory(t, s, r, 3)
		st := h.choose(r, 2)
		switch {
		case r.IntN(30) == 0:
			st = step{actClose, 0}
		case r.IntN(3) == 0:
			st = step{actSend, h.next}
		}
		// Once alone, to see where it stores.
		begin := slices.Clone(h.w.mem)
		total := s.instructions
		s.tell(h.n, actorSave, st)
		seen := s.states(h.w.mem)
		total = s.instructions - total
		for range stops {
			copy(h.w.mem, begin)
			clear(h.w.dead)
			at := 1 + r.IntN(total)
			if from := seen[r.IntN(len(seen))].at; r.IntN(3) == 0 && from > 0 {
				at = max(1, from+6-r.IntN(12))
			}
			s.tell(h.n, actorAgain, st)
			for range at {
				if !s.ahead() {
					break
				}
			}
			h.stopped(r, st, at)
		}
	}
	t.Logf("%d instructions", s.instructions)
}

// stopped is what others do while the child stands still, and what comes of it.
func (h *history) stopped(r *rand.Rand, st step, at int) {
	var others []deed
	rep := report{h.t, func() string { return fmt.Sprintf("%v; %v stopped at %d; %v", h, st, at, others) }}
	locked := u64(h.as[0].q.base, offLock)
	w := *h.w
	w.t = rep
	w.pause = func() { // the stopped process has the lock: it goes on until it gives it up
		for range 100000 {
			if !h.s.ahead() || atomic.LoadUint64(locked) == 0 {
				return
			}
		}
		panic(rep.name() + ": the lock is not given up")
	}
	var as []*actor
	for _, a := range h.as {
		c := a.clone()
		c.w, c.q.env = &w, &w
		as = append(as, c)
	}
	m := h.m.clone()
	next := h.next + 1000
	lively := r.IntN(2) == 0 // mostly sends and receives: blocks change hands
	dying := h.n%2 == 0 || r.IntN(2) == 0
	dead := 1 // when the child is, too
	for n := range r.IntN(14) {
		who := r.IntN(len(as))
		if lively && len(as) == 3 && r.IntN(2) == 0 {
			who = 2
		}
		a := as[who]
		next++
		do := choose(r.Uint64()>>8, len(a.holds), len(a.loans), next)
		if lively && r.IntN(4) > 0 {
			do = step{act(n+r.IntN(2)) % 2, next} // send or recv
		}
		if who == 2 && dying && r.IntN(4) == 0 {
			v := deed{3, step{actSend, next}, Full, next}
			after := r.IntN(2) == 0
			if v.st = w.killIn(a, next, after); after {
				others = append(others, v)
			}
			as, dead = as[:2], 2
			if r.IntN(2) == 0 {
				as[0].q.Sweep()
				others = append(others, deed{3, step{actDie, 0}, OK, 0})
				dead = 1
			}
			continue
		}
		if do.act == actRejoin && who == 2 {
			do = step{actSend, next}
		}
		status, v := a.do(do)
		if who == 2 {
			who = 3
		}
		others = append(others, deed{who, do, status, v})
	}
	h.s.run()
	status, v := h.s.result()
	mine := deed{2, st, status, v}
	if mine.s.act == actSweep {
		mine.st = OK
	}
	after, err := between(m, others, mine)
	if err != nil {
		rep.Fatalf("%v: %v", mine, err)
	}
	after.late = false
	// The child dies where it stands, with what it has.
	child := actor2{slices.Clone(h.child.holds), slices.Clone(h.child.loans)}
	child.did(st, status, v)
	h.w.dead[childSeat] = 1
	after.died(2)
	if dead == 2 {
		after.died(3)
	}
	if n := as[0].q.Sweep(); n != dead {
		rep.Errorf("%d were swept, not %d", n, dead)
	}
	loose := uint64(0)
	if st.act == actSend || st.act == actCommit || st.act == actHold || st.act == actReturn {
		loose = v
	}
	finish(rep, &w, after, as, 0, loose)
}
