package ring

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// tb is what the tests need of a *testing.T or a *rapid.T.
type tb interface {
	Helper()
	Name() string
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
	Logf(format string, args ...any)
}

// The tests run the protocol on heap bytes. A world is those bytes and who is
// alive; each Queue attached to it stands for a process.
type world struct {
	t     tb
	g     *Geometry
	mem   []byte
	race  *RaceSync
	dead  []uint32 // by seat: 1 is dead
	next  int      // the next seat
	pause func()   // what Pause does
}

func (w *world) Alive(seat int) bool { return atomic.LoadUint32(&w.dead[seat]) == 0 }
func (w *world) Pause(int)           { w.pause() }
func (w *world) Fence()              { fence() }

// alignedBytes is n zeroed bytes, aligned to 8.
func alignedBytes(n int64) []byte {
	words := make([]uint64, (n+7)/8+1)
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), n)
}

func newWorld(t tb, p Params) *world {
	t.Helper()
	g, err := Layout(p)
	if err != nil {
		t.Fatal(err)
	}
	return worldOf(t, g, alignedBytes(g.Size()))
}

func worldOf(t tb, g *Geometry, mem []byte) *world {
	t.Helper()
	w := &world{t: t, g: g, mem: mem, race: NewRaceSync(g), dead: make([]uint32, Seats), pause: runtime.Gosched}
	if err := Format(w.mem, g); err != nil {
		t.Fatal(err)
	}
	return w
}

// smallGeometry is that of a channel with few seats and desks, so that a sweep is
// short. Inspect would refuse it.
func smallGeometry(p Params) *Geometry {
	g, err := Layout(p)
	if err != nil {
		panic(err)
	}
	g.seats = 5
	if g.desks > 0 {
		g.desks = 5
		if g.Meeting() {
			g.slots, g.desks = 8, 9 // a value waits in each
		}
		if !g.Packed() {
			g.blocks = g.Capacity + g.desks
		}
	}
	if err := g.place(); err != nil {
		panic(err)
	}
	return g
}

// attach makes a process that has not joined.
func (w *world) attach() *Queue {
	w.t.Helper()
	q, err := Attach(w.mem, w.g, w, w.race)
	if err != nil {
		w.t.Fatal(err)
	}
	return q
}

// process makes a process that has joined, on a seat that nobody had.
func (w *world) process() *Queue {
	w.t.Helper()
	q := w.attach()
	seat := w.next
	w.next++
	w.join(q, seat)
	return q
}

func (w *world) join(q *Queue, seat int) {
	w.t.Helper()
	atomic.StoreUint32(&w.dead[seat], 0)
	if !q.Join(seat, uint32(1000+seat), 1, 1) {
		w.t.Fatalf("seat %d: not joined", seat)
	}
}

// queueOn is a process on that seat.
func (w *world) queueOn(seat int) *Queue {
	w.t.Helper()
	q := w.attach()
	w.join(q, seat)
	return q
}

// actor is a process on that seat with an open desk.
func (w *world) actor(seat int) *actor {
	w.t.Helper()
	q := w.queueOn(seat)
	return &actor{w: w, q: q, d: w.desk(q)}
}

// kill is the death of q's process: what it did stays, it does nothing more.
func (w *world) kill(q *Queue) { atomic.StoreUint32(&w.dead[q.seat], 1) }

// desk is a desk of q with a shared entry.
func (w *world) desk(q *Queue) *Desk {
	w.t.Helper()
	d := q.NewDesk()
	if len(q.deskT) > 0 {
		if st := d.Open(); st != OK {
			w.t.Fatalf("desk: %v", st)
		}
	}
	return d
}

func elems(capacity uint64) Params { return Params{Capacity: capacity, Elem: 8} }

func packed(capacity, maxMessage, space uint64) Params {
	return Params{Flags: FlagPacked, Capacity: capacity, MaxMessage: maxMessage, Space: space}
}

func spscElems(capacity uint64) Params {
	return Params{Flags: FlagSPSC, Capacity: capacity, Elem: 8}
}

func spscPacked(capacity, maxMessage, space uint64) Params {
	p := packed(capacity, maxMessage, space)
	p.Flags |= FlagSPSC
	return p
}

func store(p unsafe.Pointer, v uint64) { CopyIn(p, unsafe.Pointer(&v), 8) }

func load(p unsafe.Pointer) (v uint64) {
	CopyOut(unsafe.Pointer(&v), p, 8)
	return v
}

// trySend sends an element, or a packed message of 8 bytes and size(v) more.
func trySend(d *Desk, v uint64) Status {
	q := d.q
	if !q.Packed() {
		store(d.Block(), v)
		return d.Publish()
	}
	n := packedSize(q, v)
	if st := d.Room(); st != OK {
		return st
	}
	u, st := d.Alloc(n)
	if st != OK {
		return st
	}
	writeMessage(q.Extent(u, n), v)
	if st = d.PublishExtent(u, n); st != OK {
		q.Release(u)
	}
	return st
}

// tryRecv takes a message the usual way for its kind.
func tryRecv(d *Desk) (v uint64, st Status) {
	q := d.q
	for {
		took := false
		if q.Packed() {
			b, st := d.PeekBytes()
			if st == Busy {
				break
			}
			if st != OK {
				return 0, st
			}
			v = peekMessage(b)
			took = d.TakeBytes()
		} else {
			p, st := d.Peek()
			if st == Busy {
				break
			}
			if st != OK {
				return 0, st
			}
			v = load(p)
			took = d.Take()
		}
		if took {
			return v, OK
		}
	}
	h, st := d.Hold()
	if st != OK {
		return 0, st
	}
	v = readHeld(q, &h)
	return v, d.Free(&h)
}

func readHeld(q *Queue, h *Held) uint64 {
	if !q.Packed() {
		return load(h.Data)
	}
	return readMessage(unsafe.Slice((*byte)(h.Data), h.Size))
}

// peekMessage is readMessage for bytes that may change.
func peekMessage(b []byte) uint64 {
	var c [4096]byte
	n := min(len(b), len(c))
	if n > 0 {
		CopyOut(unsafe.Pointer(&c), unsafe.Pointer(&b[0]), uintptr(n))
	}
	return readMessage(c[:n])
}

// packedSize varies the sizes of packed messages between 8 and MaxMessage.
func packedSize(q *Queue, v uint64) int {
	span := q.MaxMessage - 8
	if span == 0 {
		return 8
	}
	return 8 + int((v*0x9e3779b97f4a7c15>>40)%(span+1))
}

// writeMessage fills a message with v and bytes that follow from v.
func writeMessage(b []byte, v uint64) {
	to := b
	if RaceEnabled && len(to) > 0 {
		b = make([]byte, len(to))
		defer func() { CopyIn(unsafe.Pointer(&to[0]), unsafe.Pointer(&b[0]), uintptr(len(b))) }()
	}
	for i := range 8 {
		b[i] = byte(v >> (8 * i))
	}
	for i := 8; i < len(b); i++ {
		b[i] = byte(v) + byte(i)
	}
}

// readMessage returns v, or ^0 for a message that is not whole.
func readMessage(b []byte) (v uint64) {
	if len(b) < 8 {
		return ^uint64(0)
	}
	for i := range 8 {
		v |= uint64(b[i]) << (8 * i)
	}
	for i := 8; i < len(b); i++ {
		if b[i] != byte(v)+byte(i) {
			return ^uint64(0)
		}
	}
	return v
}

// watchdog ends the test program with all stacks if the test does not end.
func watchdog(t testing.TB, d time.Duration) {
	timer := time.AfterFunc(d, func() {
		buf := make([]byte, 1<<20)
		os.Stderr.WriteString(t.Name() + ": stuck\n")
		os.Stderr.Write(buf[:runtime.Stack(buf, true)])
		os.Exit(3)
	})
	t.Cleanup(func() { timer.Stop() })
}

// tally checks that every message comes exactly once and in its sender's order.
type tally struct {
	t    tb
	mu   sync.Mutex
	seen map[uint64]bool
}

func newTally(t tb) *tally { return &tally{t: t, seen: make(map[uint64]bool)} }

// message makes the n-th message of sender s; never 0.
func message(s, n int) uint64 { return uint64(s+1)<<32 | uint64(n) }

// add notes what one receiver has got, in its order.
func (c *tally) add(got []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := make(map[uint64]uint64)
	for _, v := range got {
		if c.seen[v] {
			c.t.Errorf("message %#x came twice", v)
		}
		c.seen[v] = true
		if prev, ok := last[v>>32]; ok && v <= prev {
			c.t.Errorf("message %#x came after %#x", v, prev)
		}
		last[v>>32] = v
	}
}

func (c *tally) want(senders, each int) {
	c.t.Helper()
	if len(c.seen) != senders*each {
		c.t.Errorf("%d messages came, %d were sent", len(c.seen), senders*each)
	}
	for s := range senders {
		for n := range each {
			if !c.seen[message(s, n)] {
				c.t.Errorf("message %d of sender %d is lost", n, s)
				return
			}
		}
	}
}
