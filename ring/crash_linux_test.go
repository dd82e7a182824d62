//go:build linux && (amd64 || 386) && !race

package ring

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// rounds is how many random histories a test goes through; SHMCHAN_RING_ROUNDS
// sets another number, for a night's run.
func rounds(t *testing.T, n int) int {
	if s := os.Getenv("SHMCHAN_RING_ROUNDS"); s != "" {
		n, _ = strconv.Atoi(s)
	} else if testing.Short() {
		n = max(1, n/10)
	}
	return n
}

// copyOf is the world with a copy of its memory, which its survivors live in.
func (w *world) copyOf(t tb, mem []byte, as []*actor) (*world, []*actor) {
	c := &world{t: t, g: w.g, mem: alignedBytes(w.g.Size()), race: NewRaceSync(w.g), dead: slices.Clone(w.dead)}
	copy(c.mem, mem)
	waits := 0
	c.pause = func() {
		if waits++; waits > 1<<16 {
			panic("the lock is not given up")
		}
	}
	var cs []*actor
	for _, a := range as {
		q := c.attach()
		q.seat, q.inc = a.q.seat, a.q.inc
		d := *a.d
		d.q = q
		ca := &actor{w: c, q: q, d: &d, holds: slices.Clone(a.holds), loans: slices.Clone(a.loans)}
		for i := range ca.holds {
			ca.holds[i].h.Data = rebase(w, c, ca.holds[i].h.Data)
		}
		for i := range ca.loans {
			ca.loans[i].l.Data = rebase(w, c, ca.loans[i].l.Data)
		}
		ca.wants, ca.offers = slices.Clone(a.wants), slices.Clone(a.offers)
		for i := range ca.offers {
			d := *ca.offers[i].d
			d.q = q
			ca.offers[i].d = &d
		}
		cs = append(cs, ca)
	}
	return c, cs
}

func rebase(from, to *world, p unsafe.Pointer) unsafe.Pointer {
	off := uintptr(p) - uintptr(unsafe.Pointer(&from.mem[0]))
	return unsafe.Pointer(&to.mem[off])
}

// report is a tb that says in which case something failed.
type report struct {
	*testing.T
	name func() string
}

func (r report) Errorf(format string, args ...any) {
	r.T.Helper()
	r.T.Errorf("%s: %s", r.name(), fmt.Sprintf(format, args...))
	if r.T.Failed() {
		r.T.FailNow()
	}
}

func (r report) Fatalf(format string, args ...any) { r.T.Helper(); r.Errorf(format, args...) }

// An outcome is what may be after a death in the middle of a step.
type outcome struct {
	m           *model
	may, moving uint64
}

// dies says what may be when the actor who dies while it takes the step.
func dies(m *model, who int, s step, as *actor2) outcome {
	o := outcome{m: m.clone()}
	switch s.act {
	case actSend:
		o.may = s.arg
	case actRecv:
		o.may, _ = m.front()
	case actHold:
		o.moving, _ = m.front()
	case actFree, actReturn:
		v := as.holds[s.arg]
		if s.act == actFree {
			o.may = v
		}
	case actCommit:
		o.may = as.loans[s.arg]
	}
	o.m.died(who)
	return o
}

// actor2 is what the test knows of the actor in the child.
type actor2 struct {
	holds, loans []uint64
}

func (a *actor2) did(s step, st Status, v uint64) {
	if st != OK {
		return
	}
	switch s.act {
	case actHold:
		a.holds = append(a.holds, v)
	case actFree, actReturn:
		a.holds = slices.Delete(a.holds, int(s.arg), int(s.arg)+1)
	case actReserve:
		a.loans = append(a.loans, v)
	case actCommit, actAbort:
		a.loans = slices.Delete(a.loans, int(s.arg), int(s.arg)+1)
	}
}

// A history is some steps by actors here and one in the child, and then one
// step of the child's that is looked at from close by.
type history struct {
	t     *testing.T
	s     *stepper
	n     int // of stepWorlds
	w     *world
	m     *model
	as    []*actor
	child actor2
	log   []string
	next  uint64
}

const childSeat = 2

func newHistory(t *testing.T, s *stepper, r *rand.Rand, here int) *history {
	h := &history{t: t, s: s, n: r.IntN(meetingWorlds), next: 1}
	h.w = stepWorld(t, h.n, s.file, s.ctl)
	clear(h.w.mem)
	clear(h.w.dead)
	if err := Format(h.w.mem, h.w.g); err != nil {
		t.Fatal(err)
	}
	h.m = newModel(h.w.g)
	h.as = []*actor{h.w.actor(0), h.w.actor(1)}
	if here == 3 {
		h.as = append(h.as, h.w.actor(3))
	}
	if st, _ := s.do(h.n, actorNew, step{actJoin, childSeat}); st != OK {
		t.Fatalf("the child did not join: %d", st)
	}
	for range r.IntN(40) {
		who := r.IntN(here + 1) // the seat
		h.do(who, h.choose(r, who))
	}
	return h
}

func (h *history) choose(r *rand.Rand, who int) step {
	holds, loans := len(h.child.holds), len(h.child.loans)
	if a := h.here(who); a != nil {
		holds, loans = len(a.holds), len(a.loans)
	}
	h.next++
	return choose(r.Uint64()>>8, holds, loans, h.next)
}

// here is who has the seat, unless it is the child.
func (h *history) here(seat int) *actor {
	for _, a := range h.as {
		if a.q.seat == seat {
			return a
		}
	}
	return nil
}

// do lets somebody take a step, and checks it against the model.
func (h *history) do(who int, s step) {
	h.t.Helper()
	var st Status
	var v uint64
	if a := h.here(who); a != nil {
		st, v = a.do(s)
	} else {
		st, v = h.s.do(h.n, actorSame, s)
	}
	h.did(who, s, st, v)
}

func (h *history) did(who int, s step, st Status, v uint64) {
	h.t.Helper()
	h.log = append(h.log, fmt.Sprintf("%d:%v=%d", who, s, st))
	if who == childSeat {
		h.child.did(s, st, v)
	}
	if err := h.m.did(who, s, st, v); err != nil {
		h.t.Fatalf("%v: %v", h, err)
	}
}

func (h *history) String() string { return fmt.Sprintf("%+v %v", stepWorlds[h.n], h.log) }

// survive checks that the channel in mem, in which some have died, is whole again
// after a sweep, or after somebody came to the seat of the dead child.
func (h *history) survive(name string, mem []byte, o outcome, join bool) {
	h.t.Helper()
	r := report{h.t, func() string { return h.String() + " " + name }}
	w, as := h.w.copyOf(r, mem, h.as)
	if join {
		atomic.StoreUint32(&w.dead[childSeat], 0)
		q := w.attach()
		if !q.Join(childSeat, 1, 1, 1) {
			r.Fatalf("nobody can join on the seat of the dead")
		}
		q.Leave()
		atomic.StoreUint32(&w.dead[childSeat], 1)
	}
	as[1].q.Sweep()
	if n := as[0].q.Sweep(); n != 0 {
		r.Errorf("%d were not swept", n)
	}
	finish(r, w, o.m.clone(), as, o.may, o.moving)
}

// TestDeathAtEveryInstruction lets a process take one step after a random history,
// and looks at the memory after every instruction of it: had the process been
// killed there, the others must be able to go on, with nothing lost, doubled or
// stuck. Some of these states are then swept by the child, and that sweep is
// looked at likewise: the sweeper, too, may be killed.
func TestDeathAtEveryInstruction(t *testing.T) {
	watchdog(t, 10*time.Minute)
	s := newStepper(t)
	var states, sweeps int
	for seed := range rounds(t, 60) {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		h := newHistory(t, s, r, 2)
		st := h.choose(r, 2)
		switch r.IntN(30) {
		case 0:
			st = step{actClose, 0}
		case 1:
			st = step{actReopen, 0}
		}
		o := dies(h.m, 2, st, &h.child)
		s.tell(h.n, actorSame, st)
		seen := s.states(h.w.mem)
		h.w.dead[childSeat] = 1
		for i, at := range seen {
			h.survive(fmt.Sprintf("%v state %d of %d", st, i, len(seen)), at.mem, o, (seed+i)%2 == 0)
		}
		states += len(seen)
		// Its last state is also what a step leaves that has come to its end.
		status, v := s.result()
		h.did(2, st, status, v)
		done := outcome{m: h.m.clone()}
		done.m.died(2)
		h.survive(fmt.Sprintf("after %v", st), seen[len(seen)-1].mem, done, false)

		// Another process sweeps one of these states, and dies.
		at := r.IntN(len(seen))
		copy(h.w.mem, seen[at].mem)
		if st, _ := s.do(h.n, actorNew, step{actJoin, 3}); st != OK {
			t.Fatal(st)
		}
		s.tell(h.n, actorSame, step{actSweep, 0})
		swept := s.states(h.w.mem)
		h.w.dead[3] = 1
		for i, after := range swept {
			h.survive(fmt.Sprintf("%v state %d of %d, sweep %d of %d", st, at, len(seen), i, len(swept)), after.mem, o, i%2 == 0)
		}
		sweeps += len(swept)
	}
	t.Logf("%d states of steps, %d states of sweeps, %d instructions", states, sweeps, s.instructions)
}
