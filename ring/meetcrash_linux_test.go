//go:build linux && (amd64 || 386) && !race

package ring

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A gathering is what a history is, for a rendezvous.
type gathering struct {
	t                    *testing.T
	s                    *stepper
	n                    int
	w                    *world
	m                    *values
	as                   []*actor
	holds, offers, wants int // the child's
	log                  []string
	next                 uint64
}

func newGathering(t *testing.T, s *stepper, r *rand.Rand) *gathering {
	h := &gathering{t: t, s: s, n: meetingWorlds + r.IntN(2), m: newValues(), next: 1 << 32}
	h.w = stepWorld(t, h.n, s.file, s.ctl)
	clear(h.w.mem)
	clear(h.w.dead)
	if err := Format(h.w.mem, h.w.g); err != nil {
		t.Fatal(err)
	}
	for seat := range 2 {
		q := h.w.queueOn(seat)
		h.as = append(h.as, &actor{w: h.w, q: q, d: q.NewDesk()})
	}
	if st, _ := s.do(h.n, actorNew, step{actJoin, childSeat}); st != OK {
		t.Fatalf("the child did not join: %d", st)
	}
	for range r.IntN(60) {
		who := r.IntN(3)
		st := h.choose(r, who)
		if who == childSeat {
			status, v := s.do(h.n, actorSame, st)
			h.did(who, st, status, v)
		} else {
			status, v := h.as[who].do(st)
			h.did(who, st, status, v)
		}
	}
	return h
}

func (h *gathering) choose(r *rand.Rand, who int) step {
	h.next++
	if who == childSeat {
		return chooseMeeting(r.Uint64(), 2, h.holds, h.offers, h.wants, h.next)
	}
	a := h.as[who]
	return chooseMeeting(r.Uint64(), 1, len(a.holds), len(a.offers), len(a.wants), h.next)
}

func (h *gathering) did(who int, s step, st Status, v uint64) {
	h.t.Helper()
	h.log = append(h.log, fmt.Sprintf("%d:%v=%d", who, s, st))
	if who == childSeat {
		h.holds, h.offers, h.wants = int(h.s.ctl.holds), int(h.s.ctl.offers), int(h.s.ctl.wants)
	}
	if err := h.m.did(who, s, st, v); err != nil {
		h.t.Fatalf("%v: %v", h, err)
	}
}

func (h *gathering) String() string { return fmt.Sprintf("%+v %v", stepWorlds[h.n], h.log) }

// may is the value of which nobody knows what becomes of it when its step is cut off.
func (h *gathering) may(s step, v uint64) uint64 {
	switch s.act {
	case actOffer, actGive, actSettle, actWithdraw:
		return v
	}
	return 0
}

// survive checks that the rendezvous in mem is whole after a sweep.
func (h *gathering) survive(name string, mem []byte, m *values, may uint64, join bool) {
	h.t.Helper()
	rep := report{h.t, func() string { return h.String() + " " + name }}
	w, as := h.w.copyOf(rep, mem, h.as)
	if join { // a living receiver may be copying what the dead one offers: then not yet
		q := w.attach()
		w.dead[childSeat] = 0
		if q.Join(childSeat, 1, 1, 1) {
			q.Leave()
		}
		w.dead[childSeat] = 1
	}
	as[1].q.Sweep()
	as[0].q.Sweep()
	m = m.clone()
	finishMeeting(rep, w, m, as, may)
}

// TestDeathAtEveryInstructionOfARendezvous is TestDeathAtEveryInstruction for it.
func TestDeathAtEveryInstructionOfARendezvous(t *testing.T) {
	watchdog(t, 10*time.Minute)
	s := newStepper(t)
	states, sweeps := 0, 0
	for seed := range rounds(t, 60) {
		r := rand.New(rand.NewPCG(uint64(seed), 13))
		h := newGathering(t, s, r)
		st := h.choose(r, childSeat)
		if r.IntN(20) == 0 {
			st = step{actCloseMeeting, 0}
		}
		before := h.m.clone()
		before.died(childSeat)
		s.tell(h.n, actorSame, st)
		seen := s.states(h.w.mem)
		status, v := s.result()
		may := h.may(st, v)
		if st.act == actMeet || st.act == actGot {
			may = 0
		}
		h.w.dead[childSeat] = 1
		for i, at := range seen {
			h.survive(fmt.Sprintf("%v state %d of %d", st, i, len(seen)), at.mem, before, may, (seed+i)%2 == 0)
		}
		states += len(seen)
		h.did(childSeat, st, status, v)
		after := h.m.clone()
		after.died(childSeat)
		last := uint64(0)
		if st.act == actGive || st.act == actOffer { // a survivor may hold it
			last = v
		}
		h.survive(fmt.Sprintf("after %v", st), seen[len(seen)-1].mem, after, last, false)

		at := r.IntN(len(seen))
		copy(h.w.mem, seen[at].mem)
		if st, _ := s.do(h.n, actorNew, step{actJoin, 3}); st != OK {
			t.Fatal(st)
		}
		s.tell(h.n, actorSame, step{actSweep, 0})
		swept := s.states(h.w.mem)
		h.w.dead[3] = 1
		for i, mem := range swept {
			h.survive(fmt.Sprintf("%v state %d of %d, sweep %d of %d", st, at, len(seen), i, len(swept)), mem.mem, before, may, i%2 == 0)
		}
		sweeps += len(swept)
	}
	t.Logf("%d states of steps, %d states of sweeps, %d instructions", states, sweeps, s.instructions)
}

// TestAStoppedProcessAtARendezvous is TestAStoppedProcessHoldsUpNobody for it,
// without the order of events: every value comes once, or is withdrawn.
func TestAStoppedProcessAtARendezvous(t *testing.T) {
	watchdog(t, 10*time.Minute)
	s := newStepper(t)
	for seed := range rounds(t, 40) {
		r := rand.New(rand.NewPCG(uint64(seed), 17))
		h := newGathering(t, s, r)
		st := h.choose(r, childSeat)
		begin := slices.Clone(h.w.mem)
		total := s.instructions
		s.tell(h.n, actorSave, st)
		for s.ahead() {
		}
		s.run()
		total = s.instructions - total
		for range 20 {
			copy(h.w.mem, begin)
			clear(h.w.dead)
			at := 1 + r.IntN(total)
			s.tell(h.n, actorAgain, st)
			for range at {
				if !s.ahead() {
					break
				}
			}
			h.stopped(r, st, at)
		}
	}
}

func (h *gathering) stopped(r *rand.Rand, st step, at int) {
	var log []string
	rep := report{h.t, func() string { return fmt.Sprintf("%v; %v stopped at %d; %v", h, st, at, log) }}
	w := *h.w
	w.t = rep
	var as []*actor
	for _, a := range h.as {
		c := a.clone()
		c.w, c.q.env = &w, &w
		as = append(as, c)
	}
	m := h.m.clone()
	type event struct {
		who int
		s   step
		st  Status
		v   uint64
	}
	var events []event
	next := h.next + 1000
	for range r.IntN(14) {
		who := r.IntN(2)
		a := as[who]
		next++
		do := chooseMeeting(r.Uint64(), 1, len(a.holds), len(a.offers), len(a.wants), next)
		status, v := a.do(do)
		events = append(events, event{who, do, status, v})
		log = append(log, fmt.Sprintf("%d:%v=%d,%#x", who, do, status, v))
	}
	h.s.run()
	status, v := h.s.result()
	// What the child did happened at some instant among the others' events.
	var errs []error
	for n := range len(events) + 1 {
		c := m.clone()
		var err error
		for _, e := range slices.Insert(slices.Clone(events), n, event{childSeat, st, status, v}) {
			if err == nil {
				err = c.did(e.who, e.s, e.st, e.v)
			}
		}
		if err == nil {
			errs, m = nil, c
			break
		}
		errs = append(errs, err)
	}
	if errs != nil {
		rep.Fatalf("%d: at no instant: %v", status, errs)
	}
	h.w.dead[childSeat] = 1
	m.died(childSeat)
	may := uint64(0)
	if st.act == actOffer || st.act == actGive {
		may = v
	}
	as[0].q.Sweep()
	finishMeeting(rep, &w, m, as, may)
}
