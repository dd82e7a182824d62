package channel

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"unsafe"

	"github.com/shmchan/shmchan/futexsem"
	"github.com/shmchan/shmchan/ring"
)

// Select. It tries its cases in random order, as Go's does; each try sends or takes one
// message or does nothing. If none succeeds, it takes a place at every side that its cases
// touch (park.go) and tries again whenever one of the sides has news for it. A try is
// atomic, so nothing has to be undone in other cases; only a rendezvous needs more (select_meet.go).
//
//	S1  It sleeps on the words of all sides that it leads, with values read before the
//	    last pass over the cases; where it does not lead, the leader passes the turn on.
//	    So whatever makes a case ready after its try ends the sleep.
//	S2  When it leaves, it quits every side: a turn that it was given and did not use
//	    goes on to the next.

// A Case is one case of a Select; make it with RecvCase, SendCase, GoRecvCase,
// GoSendCase or Default. The zero Case is never ready.
type Case struct {
	on   selectable
	goes goChannel
	kind caseKind
	v    unsafe.Pointer // receiving: where the value goes, or nil; sending: the value, unless inline or data
	ok   *bool
	// What is to be sent: a small T without pointers, or the bytes of an encoded one.
	inline [inlineWords]uint64
	data   []byte
	err    error // sending: it cannot be
}

type caseKind uint8

const (
	caseNever caseKind = iota
	caseRecv
	caseSend
	caseDefault
)

// inlineWords is how many 8 byte words of T a Case has room for: then SendCase allocates nothing.
const inlineWords = 8

// selectable is what Select needs of a *Chan[T].
type selectable interface {
	handle() *core
	tryRecvCase(c *Case) (ring.Status, error)
	trySendCase(c *Case) (ring.Status, error)
	takeCase(h *ring.Held, c *Case) (ring.Status, error)
	outgoingOf(c *Case) outgoing
	zeroCase(c *Case)
	overCase(c *Case) carrier
}

// RecvCase is case v, ok = <-ch. A nil ch is never ready; v and ok may be nil. If the case
// is chosen, *v is the message and *ok true; or the channel is closed and drained: then *v
// is zero and *ok false. Otherwise neither is touched. They must not be used by others
// while Select runs.
func RecvCase[T any](ch *Chan[T], v *T, ok *bool) Case {
	if ch == nil {
		return Case{}
	}
	return Case{on: ch, kind: caseRecv, v: unsafe.Pointer(v), ok: ok}
}

// SendCase is case ch <- v. A nil ch is never ready. If ch is closed the case is ready, and
// choosing it is ErrClosed. v is copied, and encoded, here.
func SendCase[T any](ch *Chan[T], v T) Case {
	if ch == nil {
		return Case{}
	}
	c := Case{on: ch, kind: caseSend}
	switch {
	case ch.codec == nil && unsafe.Sizeof(v) <= unsafe.Sizeof(c.inline):
		*(*T)(unsafe.Pointer(&c.inline)) = v
	case ch.codec == nil || ch.core.over != nil:
		own := new(T)
		*own = v
		c.v = unsafe.Pointer(own)
	default:
		if c.data, c.err = ch.encode(v); c.err == nil && uint64(len(c.data)) > ch.core.q.MaxMessage {
			c.err = tooLarge(len(c.data), ch.core.q.MaxMessage)
		}
	}
	return c
}

// encode is the bytes of v, in memory of its own, or in v's if that is bytes.
func (c *Chan[T]) encode(v T) ([]byte, error) {
	if !c.raw {
		return c.codec.Append(nil, v)
	}
	if c.transfer == transferBytes {
		return *asBytes(&v), nil
	}
	s := *asString(&v)
	return unsafe.Slice(unsafe.StringData(s), len(s)), nil
}

// Default is the case that is chosen when no other is ready.
func Default() Case { return Case{kind: caseDefault} }

// Select waits until one of its cases can happen, lets it happen, and says which: its index
// in cases. Exactly that one happens. If several can, the choice among them is random and uniform. A case
// with Default makes Select choose it, without waiting, if there was an instant during the call
// at which no other case could happen. With no case that can ever be ready, Select waits for ctx.
//
// Cases may be channels of any type, capacity and carrier, and Go channels; the same channel may
// be in several, also once to send and once to receive: a Select does not meet itself. Two
// Selects, in whichever processes, that offer each other a rendezvous do meet.
//
// When a SendCase of a closed channel is chosen, its index comes with ErrClosed. Beside
// every other error the index is -1 and nothing has happened: ctx.Err() when ctx has ended (before
// the call, too), ErrDetached, ErrPeerLost (HangUp), ErrBusy, ErrTooLarge, ErrCorrupt; an error of a codec in
// receiving, after which that message is gone. A context's end ends it at once.
//
// It may be called by any number of goroutines; on an SPSC channel it counts as a Send or
// Recv while it runs. With up to eight cases, of which one at most is a Go channel, it
// allocates nothing.
func Select(ctx context.Context, cases ...Case) (chosen int, err error) {
	if ctx != nil && ctx.Err() != nil {
		return -1, opError("select", "", ctx.Err())
	}
	s := selections.Get().(*selection)
	defer s.end()
	s.begin(ctx, cases)
	return s.run()
}

// A selection is a Select that runs.
type selection struct {
	ctx   context.Context
	cases []selected
	deflt int // index of the default case, or -1
	gos   int // cases on Go channels
	overs int
	order []uint16

	// While it waits:
	w       *waiter
	places  []sidePlace
	words   []futexsem.Word
	stale   bool // the words are not those of prepare
	patient uint // proposals that came to nothing
	but     []ring.Ticket
	marks   []uint64
	held    ring.Held
}

type selected struct {
	Case
	index  int        // in the caller's list
	at     *sidePlace // nil: not waiting, or a Go channel
	via    carrier    // over a Conn
	cancel func()     // undoes its registration
}

// A sidePlace is a selection's place at one side.
type sidePlace struct {
	place
	k     *core
	side  *side
	event *uint32
	send  bool
	want  want // rendezvous, receiving
}

const selectCases = 8 // without allocating

var selections = sync.Pool{New: func() any {
	return &selection{
		cases: make([]selected, 0, selectCases), order: make([]uint16, 0, selectCases),
		places: make([]sidePlace, 0, selectCases), words: make([]futexsem.Word, 0, 2*selectCases),
		but: make([]ring.Ticket, 0, selectCases), marks: make([]uint64, 0, 2*selectCases),
	}
}}

func (s *selection) begin(ctx context.Context, cases []Case) {
	s.ctx, s.deflt, s.gos, s.overs, s.patient = ctx, -1, 0, 0, 0
	for i := range cases {
		switch c := &cases[i]; c.kind {
		case caseDefault:
			s.deflt = i
		case caseRecv, caseSend:
			s.cases = append(s.cases, selected{Case: *c, index: i})
			if c.goes != nil {
				s.gos++
			} else if c.on.handle().over != nil {
				s.overs++
			}
		}
	}
	for i := range s.cases {
		s.order = append(s.order, uint16(i))
	}
}

// end leaves all sides and forgets everything.
func (s *selection) end() {
	if s.w != nil {
		s.leave()
	}
	clear(s.cases)
	s.cases, s.order, s.words = s.cases[:0], s.order[:0], s.words[:0]
	s.ctx = nil
	selections.Put(s)
}

func (s *selection) run() (int, error) {
	for range defaultTries {
		if s.deflt >= 0 && len(s.cases) > 1 {
			s.marks = s.mark(s.marks[:0])
		}
		if i, done, err := s.pass(); done {
			return i, err
		}
		if s.deflt < 0 {
			return s.wait()
		}
		if len(s.cases) <= 1 || s.unchanged() {
			break
		}
	}
	return s.deflt, nil
}

// pass tries each case once, in random order.
func (s *selection) pass() (chosen int, done bool, err error) {
	for n := len(s.order); n > 0; n-- {
		i := 0
		if n > 1 {
			i = int(rand.Uint32N(uint32(n)))
		}
		s.order[i], s.order[n-1] = s.order[n-1], s.order[i]
		c := &s.cases[s.order[n-1]]
		if done, err = s.try(c); done {
			return chosenBeside(c.index, err), true, err
		}
	}
	return -1, false, nil
}

// chosenBeside is the index that goes with err.
func chosenBeside(index int, err error) int {
	if err == nil || errors.Is(err, ErrClosed) && !errors.Is(err, ErrDetached) {
		return index
	}
	return -1
}

// try makes one attempt at a case.
func (s *selection) try(c *selected) (done bool, err error) {
	switch {
	case c.goes != nil:
		return c.goes.try(&c.Case), nil
	case c.err != nil:
		return true, opError("select", c.on.handle().name, c.err)
	}
	k := c.on.handle()
	if k.over != nil {
		return s.tryOver(c)
	}
	var st ring.Status
	switch {
	case k.kind.meeting() && c.kind == caseSend:
		st, err = s.propose(c)
	case k.kind.meeting():
		st, err = s.meet(c)
	case c.kind == caseSend:
		st, err = c.on.trySendCase(&c.Case)
	default:
		st, err = c.on.tryRecvCase(&c.Case)
	}
	return s.outcome(c, st, err)
}

// outcome is what a status means for the case.
func (s *selection) outcome(c *selected, st ring.Status, err error) (bool, error) {
	k := c.on.handle()
	switch {
	case err != nil:
		return true, opError("select", k.name, err)
	case waits(st):
		return false, nil
	case st == ring.OK:
		if c.kind == caseRecv && c.ok != nil {
			*c.ok = true
		}
		return true, nil
	case st == ring.Closed && c.kind == caseRecv:
		c.on.zeroCase(&c.Case)
		if c.ok != nil {
			*c.ok = false
		}
		return true, nil
	}
	return true, opError("select", k.name, failure(st, ErrFull, ErrEmpty))
}

func (s *selection) tryOver(c *selected) (bool, error) {
	if c.via == nil {
		c.via = c.on.overCase(&c.Case)
	}
	done, err := c.via.try()
	if !done {
		return false, nil
	}
	if c.kind == caseRecv {
		if errors.Is(err, ErrClosed) && !errors.Is(err, ErrDetached) {
			c.on.zeroCase(&c.Case)
			err = nil
			if c.ok != nil {
				*c.ok = false
			}
		} else if err == nil && c.ok != nil {
			*c.ok = true
		}
	}
	return true, err
}

// mark notes how far the channels of all cases have come. While that stays the same,
// none of them changes.
func (s *selection) mark(m []uint64) []uint64 {
	for i := range s.cases {
		if c := &s.cases[i]; c.on != nil {
			a, b := c.on.handle().progress()
			m = append(m, a, b)
		}
	}
	return m
}

// unchanged says that no case can have been ready when the last pass began, nor any until now:
// each was seen not to be ready in between, and nothing has been sent or taken.
func (s *selection) unchanged() bool {
	n := len(s.marks)
	s.marks = s.mark(s.marks)
	for i := range n {
		if s.marks[i] != s.marks[n+i] {
			return false
		}
	}
	return true
}

// defaultTries is how often Select with Default looks at cases that change under its
// eyes before it takes their being found not ready one after the other for an answer.
const defaultTries = 100

// progress is numbers that change whenever something is sent or taken.
func (k *core) progress() (a, b uint64) {
	if k.over != nil || !k.enter() {
		return 0, 0
	}
	defer k.leave()
	switch {
	case k.kind.spsc() && !k.kind.meeting():
		return k.q.TotalsSPSC()
	case k.kind.meeting():
		return k.q.MeetingState(), 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	sent, n, _ := k.eyes.Totals()
	return sent, sent - uint64(n)
}
