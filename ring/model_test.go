package ring

import (
	"fmt"
	"slices"
	"sort"
	"unsafe"
)

// An actor is a process that does one thing after another. What it is told to do
// is a step, so that the same can happen here or in a child process.
type actor struct {
	w     *world
	q     *Queue
	d     *Desk
	holds []hold
	loans []loan

	offers []offered // rendezvous
	wants  []Ticket
}

// clone is the same process once more, as it is now.
func (a *actor) clone() *actor {
	q, d := *a.q, *a.d
	d.q = &q
	c := &actor{w: a.w, q: &q, d: &d, holds: slices.Clone(a.holds), loans: slices.Clone(a.loans)}
	c.offers, c.wants = slices.Clone(a.offers), slices.Clone(a.wants)
	return c
}

type hold struct {
	h Held
	v uint64
}

type loan struct {
	l Loan
	v uint64
}

// step is what an actor can do: an act, and a message or an index.
type step struct {
	act act
	arg uint64
}

type act uint64

const (
	actSend    act = iota // message arg
	actRecv               // take a message
	actHold               // hold a message
	actFree               // free hold arg
	actReturn             // return hold arg
	actReserve            // a loan for message arg
	actCommit             // commit loan arg
	actAbort              // abort loan arg
	actClose
	actLen
	actReopen // give the desk back and open another
	actRejoin // leave and come again
	actSweep
	actJoin // join on seat arg, with a desk
	actDie  // for the model alone

	// The rendezvous.
	actOffer    // value arg, and wait
	actGive     // value arg, if somebody waits
	actMeet     // hold a value that is offered
	actWant     // ask for a value
	actGot      // look at want arg: hold the value if it came
	actSettle   // settle hold arg
	actGiveBack // offer the value of hold arg again
	actWithdraw // take back offer arg
	actUnwant   // take back want arg
	actSettled  // look at offer arg: v is 1 when it is settled
	actCloseMeeting
)

var actNames = [...]string{
	"send", "recv", "hold", "free", "return", "reserve", "commit", "abort",
	"close", "len", "reopen", "rejoin", "sweep", "join", "die",
	"offer", "give", "meet", "want", "got", "settle", "giveback", "withdraw", "unwant", "settled", "close",
}

func (s step) String() string { return fmt.Sprintf("%s(%d)", actNames[s.act], s.arg) }

// do takes one step. v is the message that came, or a number.
func (a *actor) do(s step) (st Status, v uint64) {
	switch s.act {
	case actSend:
		return trySend(a.d, s.arg), s.arg
	case actRecv:
		v, st = tryRecv(a.d)
	case actHold:
		h, st := a.d.Hold()
		if st != OK {
			return st, 0
		}
		v := readHeld(a.q, &h)
		a.holds = append(a.holds, hold{h, v})
		return OK, v
	case actFree, actReturn:
		h := a.holds[s.arg]
		a.holds = slices.Delete(a.holds, int(s.arg), int(s.arg)+1)
		if s.act == actFree {
			return a.d.Free(&h.h), h.v
		}
		return a.d.Return(&h.h), h.v
	case actReserve:
		n := 8
		if a.q.Packed() {
			n = int(a.q.MaxMessage)
		}
		l, st := a.d.Reserve(n)
		if st != OK {
			return st, 0
		}
		if a.q.Packed() {
			writeMessage(unsafe.Slice((*byte)(l.Data), packedSize(a.q, s.arg)), s.arg)
		} else {
			store(l.Data, s.arg)
		}
		a.loans = append(a.loans, loan{l, s.arg})
		return OK, s.arg
	case actCommit, actAbort:
		l := a.loans[s.arg]
		if s.act == actCommit {
			n := 8
			if a.q.Packed() {
				n = packedSize(a.q, l.v)
			}
			if st := a.d.Commit(&l.l, n); st != OK {
				return st, l.v
			}
		} else if st := a.d.Abort(&l.l); st != OK {
			return st, l.v
		}
		a.loans = slices.Delete(a.loans, int(s.arg), int(s.arg)+1)
		return OK, l.v
	case actClose:
		return a.d.Close(), 0
	case actLen:
		n, st := a.d.Len()
		return st, uint64(n)
	case actReopen:
		a.d.Shut()
		a.d = a.q.NewDesk()
		return a.d.Open(), 0
	case actRejoin, actJoin:
		seat := int(s.arg)
		if s.act == actRejoin {
			seat = a.q.seat
			a.q.Leave()
		}
		if !a.q.Join(seat, 1, 1, 1) {
			return Busy, 0
		}
		a.d = a.q.NewDesk()
		st = a.d.Open()
		return st, 0
	case actSweep:
		return OK, uint64(a.q.Sweep())
	default:
		return a.meet(s)
	}
	return st, v
}

// model is what the messages must be after steps taken one after another.
type model struct {
	capacity int
	ring     []uint64 // oldest first
	returned []uint64 // oldest first
	age      map[uint64]int
	held     map[uint64]int // by whom
	loans    map[uint64]int
	closed   bool
	space    bool // packed: NoSpace may come
	late     bool // what came back may come after younger messages
}

func newModel(g *Geometry) *model {
	return &model{
		capacity: int(g.Capacity), age: make(map[uint64]int), held: make(map[uint64]int),
		loans: make(map[uint64]int), space: g.Packed(),
	}
}

func (m *model) clone() *model {
	c := *m
	c.ring, c.returned = slices.Clone(m.ring), slices.Clone(m.returned)
	c.held, c.loans, c.age = make(map[uint64]int), make(map[uint64]int), make(map[uint64]int)
	for v, a := range m.held {
		c.held[v] = a
	}
	for v, a := range m.loans {
		c.loans[v] = a
	}
	for v, a := range m.age {
		c.age[v] = a
	}
	return &c
}

func (m *model) used() int { return len(m.ring) + len(m.returned) + len(m.held) + len(m.loans) }

// front is the message that the next receiver gets.
func (m *model) front() (v uint64, ok bool) {
	switch {
	case len(m.returned) > 0:
		return m.returned[0], true
	case len(m.ring) > 0:
		return m.ring[0], true
	}
	return 0, false
}

func (m *model) pop() {
	if len(m.returned) > 0 {
		m.returned = m.returned[1:]
	} else {
		m.ring = m.ring[1:]
	}
}

func (m *model) push(v uint64) {
	m.ring = append(m.ring, v)
	m.age[v] = len(m.age)
}

func (m *model) giveBack(v uint64) {
	m.returned = append(m.returned, v)
	sort.Slice(m.returned, func(i, j int) bool { return m.age[m.returned[i]] < m.age[m.returned[j]] })
}

// did changes the model as the step of actor did, and checks what came of it.
func (m *model) did(actor int, s step, st Status, v uint64) error {
	want := OK
	switch s.act {
	case actSend, actReserve:
		switch {
		case m.closed:
			want = Closed
		case m.used() == m.capacity:
			want = Full
		}
		if m.space && st == NoSpace && want != Closed {
			return nil
		}
	case actCommit:
		if m.closed {
			want = Closed
		}
	case actRecv, actHold:
		if _, ok := m.front(); !ok {
			want = Empty
			if m.closed && len(m.held) == 0 {
				want = Closed
			}
		}
	case actClose:
		if m.closed {
			want = Closed
		}
	}
	if st != want {
		return fmt.Errorf("actor %d: %v: status %d, want %d", actor, s, st, want)
	}
	if st != OK {
		return nil
	}
	if i := slices.Index(m.returned, v); i > 0 && m.late {
		m.returned = slices.Insert(slices.Delete(m.returned, i, i+1), 0, v)
	} else if i < 0 && m.late && len(m.ring) > 0 && m.ring[0] == v && (s.act == actRecv || s.act == actHold) {
		m.ring = m.ring[1:]
		m.returned = slices.Insert(m.returned, 0, v)
	}
	switch s.act {
	case actSend:
		m.push(v)
	case actRecv, actHold:
		if f, _ := m.front(); f != v {
			return fmt.Errorf("actor %d: %v: message %#x, want %#x", actor, s, v, f)
		}
		m.pop()
		if s.act == actHold {
			m.held[v] = actor
		}
	case actFree:
		delete(m.held, v)
	case actReturn:
		delete(m.held, v)
		m.giveBack(v)
	case actReserve:
		m.loans[v] = actor
	case actCommit:
		delete(m.loans, v)
		m.push(v)
	case actAbort:
		delete(m.loans, v)
	case actClose:
		m.closed = true
	case actDie:
		m.died(actor)
	case actLen:
		if n := len(m.ring) + len(m.returned); uint64(n) != v {
			return fmt.Errorf("actor %d: length %d, want %d", actor, v, n)
		}
	}
	return nil
}

// died changes the model as the death of actor and the sweep after it do.
func (m *model) died(actor int) {
	for v, a := range m.held {
		if a == actor {
			delete(m.held, v)
			m.giveBack(v)
		}
	}
	for v, a := range m.loans {
		if a == actor {
			delete(m.loans, v)
		}
	}
}

// choose makes a step for an actor out of a number. next is a fresh message.
func choose(n uint64, holds, loans int, next uint64) step {
	a := act(n % 23)
	pick := n / 23
	switch {
	case a < 4:
		return step{actSend, next}
	case a < 7:
		return step{actRecv, 0}
	case a < 10:
		return step{actHold, 0}
	case a < 14:
		if holds == 0 {
			return step{actHold, 0}
		}
		if a == 13 {
			return step{actReturn, pick % uint64(holds)}
		}
		return step{actFree, pick % uint64(holds)}
	case a < 16:
		return step{actReserve, next}
	case a < 20:
		if loans == 0 {
			return step{actReserve, next}
		}
		if a == 19 {
			return step{actAbort, pick % uint64(loans)}
		}
		return step{actCommit, pick % uint64(loans)}
	case a == 20:
		return step{actLen, 0}
	case a == 21:
		return step{actReopen, 0}
	}
	if holds+loans == 0 && pick%2 == 0 {
		return step{actRejoin, 0}
	}
	return step{actSend, next}
}

// finish makes a channel whose processes are a, after one has died and was swept,
// prove that it is whole: what m says is there comes (and maybe what may says),
// nothing else; then the channel is as good as new. moving is a message that may
// come out of its order.
func finish(t tb, w *world, m *model, as []*actor, may, moving uint64) {
	t.Helper()
	fail := func(format string, args ...any) { t.Helper(); t.Errorf(format, args...) }
	for n, a := range as {
		for len(a.holds) > 0 {
			v := a.holds[0].v
			s := step{actFree, 0}
			if (v+uint64(n))%2 == 0 {
				s.act = actReturn
			}
			st, _ := a.do(s)
			if st != OK {
				fail("%v of %#x: status %d", s, v, st)
				return
			}
			delete(m.held, v)
			if s.act == actReturn {
				m.giveBack(v)
			}
		}
		for len(a.loans) > 0 {
			v := a.loans[0].v
			s := step{actAbort, 0}
			if (v+uint64(n))%2 == 0 {
				s.act = actCommit
			}
			st, _ := a.do(s)
			if st == Closed {
				m.closed = true
				s.act = actAbort
				st, _ = a.do(s)
			}
			if st != OK {
				fail("%v of %#x: status %d", s, v, st)
				return
			}
			delete(m.loans, v)
			if s.act == actCommit {
				m.push(v)
			}
		}
	}
	d := as[0].d
	var got []uint64
	n, st := d.Len()
	if want := len(m.ring) + len(m.returned); st != OK || n < want-1 || n > want+1 {
		fail("length %d, status %d, want about %d", n, st, want)
	}
	for {
		v, st := tryRecv(d)
		if st != OK {
			if st != Empty && st != Closed {
				fail("receive: status %d", st)
			}
			break
		}
		got = append(got, v)
		if len(got) > 3*m.capacity {
			break
		}
	}
	want := append(slices.Clone(m.returned), m.ring...)
	match := func(a, b []uint64) bool {
		x, y := slices.Clone(a), slices.Clone(b)
		slices.Sort(x)
		slices.Sort(y)
		return slices.Equal(x, y)
	}
	without := slices.DeleteFunc(slices.Clone(want), func(v uint64) bool { return v == may })
	if !match(got, without) && !match(got, append(without, may)) {
		fail("came %#x, want %#x, maybe with %#x", got, want, may)
	}
	// What was never held comes in its order.
	order := slices.DeleteFunc(slices.Clone(got), func(v uint64) bool { return !slices.Contains(m.ring, v) || v == may || v == moving })
	inRing := slices.DeleteFunc(slices.Clone(m.ring), func(v uint64) bool { return v == may || v == moving })
	if !slices.Equal(order, inRing) {
		fail("came in the order %#x, sent in the order %#x", order, inRing)
	}
	audit(t, w, nil)
	probe := uint64(1) << 40
	if st := trySend(d, probe); st == Closed {
		return
	} else if st == OK {
		if v, st := tryRecv(d); st != OK || v != probe {
			fail("probe: %#x, status %d", v, st)
		}
	}
	for lap := range 3 {
		sent := 0
		for ; sent < m.capacity; sent++ {
			st := trySend(as[sent%len(as)].d, probe+uint64(sent))
			if st == NoSpace && m.space && sent > 0 {
				break
			}
			if st != OK {
				fail("lap %d: message %d of %d: status %d", lap, sent, m.capacity, st)
				return
			}
		}
		if sent == m.capacity {
			if st := trySend(d, probe); st != Full {
				fail("lap %d: full is %d", lap, st)
			}
		}
		for i := range sent {
			v, st := tryRecv(as[(i+1)%len(as)].d)
			if st != OK || v != probe+uint64(i) {
				fail("lap %d: message %d is %#x, status %d", lap, i, v, st)
				return
			}
		}
		if n, st := d.Len(); n != 0 || st != OK {
			fail("lap %d: length %d, status %d", lap, n, st)
		}
	}
	audit(t, w, nil)
}
