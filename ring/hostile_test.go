package ring

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// Whatever another process writes into the memory: no panic, nothing outside the
// memory is touched, and every step comes to an end. (One that waits for the slow
// path's lock waits as long as a living process has it, and so for ever when the
// lock's word names one: nobody can tell that from a process that is stopped.)

var hostileParams = []Params{
	elems(1),
	elems(3),
	{Capacity: 2, Elem: 200},
	packed(2, 100, 300),
	packed(5, 8, 8),
	elems(0),
	packed(0, 100, 300),
	spscElems(2),
	spscPacked(3, 100, 200),
}

var errBlocked = errors.New("the lock is not given up")

// blocked is what to call where the lock may not come: it ends a step of f that waits for it.
func blocked(f func()) {
	defer func() {
		if r := recover(); r != nil && r != errBlocked {
			panic(r)
		}
	}()
	f()
}

// hostileWorld is one whose waits for the lock are cut short.
func hostileWorld(t testing.TB, p Params) *world {
	t.Helper()
	g, err := Layout(p)
	if err != nil {
		t.Fatal(err)
	}
	w := worldOf(t, g, guarded(t, g.Size()))
	waits := uint32(0)
	w.pause = func() {
		if atomic.AddUint32(&waits, 1)%200 == 0 {
			panic(errBlocked)
		}
	}
	return w
}

// A visitor is a process that does whatever there is to do, and expects nothing.
type visitor struct {
	a *actor
	s *Sender
	r *Recver
}

func newVisitor(w *world, seat int) *visitor {
	v := &visitor{a: &actor{w: w, q: w.attach()}}
	blocked(func() { v.a.q.Join(seat, 1, 1, 1) })
	v.a.q.seat = seat
	v.a.d = v.a.q.NewDesk()
	v.a.d.Open()
	return v
}

// visit takes a step, chosen by a number.
func (v *visitor) visit(n uint64) {
	blocked(func() { v.step(n) })
}

func (v *visitor) step(n uint64) {
	q := v.a.q
	q.RecvAttention()
	Notify(q.RecvEvent())
	switch n >> 8 % 8 {
	case 0:
		q.Sweep()
	case 1:
		q.Members()
		q.Scarce()
		q.Loans()
		q.Redelivered()
	case 2:
		if v.a.d.Opened() {
			v.a.d.Shut()
		}
		v.a.d = q.NewDesk()
		v.a.d.Open()
	}
	if len(q.deskT) > 0 && !v.a.d.Opened() {
		q.deskT[0].owner = 0
		if v.a.d.Open() != OK {
			return
		}
	}
	switch {
	case q.Meeting():
		a := v.a
		s := chooseMeeting(n, 3, len(a.holds), len(a.offers), len(a.wants), n)
		if n%97 == 0 {
			s = step{actCloseMeeting, 0}
		}
		a.do(s)
		q.Offered()
		q.Offers()
	case q.SPSC():
		v.spsc(n)
	default:
		a := v.a
		s := choose(n, len(a.holds), len(a.loans), n)
		switch {
		case s.act == actRejoin:
			s = step{actLen, 0}
		case n%97 == 0:
			s = step{actClose, 0}
		}
		a.do(s)
		_, _, _ = a.d.Totals()
	}
}

func (v *visitor) spsc(n uint64) {
	q := v.a.q
	if v.s == nil || n%61 == 0 {
		if s, st := q.ClaimSender(); st == OK {
			v.s = s
		}
	}
	if v.r == nil || n%53 == 0 {
		if r, st := q.ClaimRecver(); st == OK {
			v.r = r
		}
	}
	if n%97 == 0 {
		q.CloseSPSC()
	}
	_, _ = q.LenSPSC()
	if v.s != nil {
		sendSPSC(v.s, n)
		if !q.Packed() {
			k := n % 4
			if p, st := v.s.Ahead(k); st == OK {
				store(p, n)
				v.s.PublishRun(k)
			}
			v.s.Sent(k)
		}
	}
	if v.r != nil {
		recvSPSC(v.r)
		if !q.Packed() {
			k := n % 4
			if p, st := v.r.Further(k); st == OK {
				load(p)
				v.r.AdvanceRun(min(k, v.r.Waiting()))
			}
		}
	}
}

// evil is a word that somebody might write.
func evil(r *rand.Rand, mem []byte, at int) uint64 {
	old := binary.LittleEndian.Uint64(mem[at:])
	switch r.IntN(8) {
	case 0:
		return 0
	case 1:
		return math.MaxUint64
	case 2:
		return r.Uint64()
	case 3:
		return r.Uint64N(16)
	case 4:
		return old ^ 1<<r.IntN(64)
	case 5:
		return old + uint64(r.IntN(9)-4)
	case 6:
		return math.MaxUint64 >> r.IntN(64)
	}
	from := headerSize/2 + r.IntN(len(mem)-headerSize/2)&^7
	return binary.LittleEndian.Uint64(mem[from&^7:])
}

// evilPlace is where the protocol's words are: the shared header and the tables.
func evilPlace(r *rand.Rand, g *Geometry) int {
	ranges := [][2]uint64{
		{offRecvEvent, offRecvEvent + 11*line},
		{g.offSeats, g.offSeats + 3*seatSize},
		{g.offDesks, min(g.offRecords, g.offDesks+16*deskSize)},
		{g.offRecords, g.offSlots},
		{g.offSlots, g.offOwners},
		{g.offOwners, min(g.offUnits, g.offOwners+1024)},
		{g.offUnits, g.offBirths},
		{g.offBirths, g.offPayload},
		{g.offPayload, min(g.totalSize, g.offPayload+256)},
	}
	for {
		if x := ranges[r.IntN(len(ranges))]; x[1]-x[0] >= 8 {
			return int(x[0]+r.Uint64N(x[1]-x[0])) &^ 7
		}
	}
}

func TestHostileWordsBetweenSteps(t *testing.T) {
	watchdog(t, 2*time.Minute)
	n := 30
	if testing.Short() {
		n = 3
	}
	for _, p := range hostileParams {
		for seed := range n {
			r := rand.New(rand.NewPCG(uint64(seed), 3))
			w := hostileWorld(t, p)
			vs := []*visitor{newVisitor(w, 0), newVisitor(w, 1)}
			for range 300 {
				if r.IntN(3) == 0 {
					at := evilPlace(r, w.g)
					binary.LittleEndian.PutUint64(w.mem[at:], evil(r, w.mem, at))
				}
				vs[r.IntN(len(vs))].visit(r.Uint64())
			}
		}
	}
}

func TestHostileWordsDuringSteps(t *testing.T) {
	watchdog(t, 2*time.Minute)
	for _, p := range hostileParams {
		w := hostileWorld(t, p)
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, 4))
			for !stop.Load() {
				at := evilPlace(r, w.g)
				// The words of blocks and messages are the users'.
				atomic.StoreUint64((*uint64)(unsafe.Pointer(&w.mem[at])), evilAtomic(r, w.mem, at))
			}
		})
		for seat := range 3 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(seat), 5))
				v := newVisitor(w, seat)
				for range 3000 {
					v.visit(r.Uint64())
				}
				if seat == 0 {
					time.Sleep(time.Millisecond)
				}
			})
		}
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		time.AfterFunc(200*time.Millisecond, func() { stop.Store(true) })
		<-done
	}
}

func evilAtomic(r *rand.Rand, mem []byte, at int) uint64 {
	old := atomic.LoadUint64((*uint64)(unsafe.Pointer(&mem[at])))
	switch r.IntN(5) {
	case 0:
		return 0
	case 1:
		return math.MaxUint64
	case 2:
		return r.Uint64()
	case 3:
		return old ^ 1<<r.IntN(64)
	}
	return old + uint64(r.IntN(9)-4)
}

// FuzzHostile writes words of the fuzzer's choice between steps of its choice.
func FuzzHostile(f *testing.F) {
	for n := range hostileParams {
		f.Add(uint8(n), []byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09"))
		f.Add(uint8(n), []byte("send recv hold free \xff\xff\xff\xff\x80\x00\x00\x00 and all the rest of it"))
	}
	f.Fuzz(func(t *testing.T, which uint8, script []byte) {
		w := hostileWorld(t, hostileParams[int(which)%len(hostileParams)])
		vs := []*visitor{newVisitor(w, 0), newVisitor(w, 1)}
		next := func() uint64 {
			var b [8]byte
			script = script[copy(b[:], script):]
			return binary.LittleEndian.Uint64(b[:])
		}
		for len(script) > 0 {
			n := next()
			if n&1 == 0 {
				r := rand.New(rand.NewPCG(n, 6))
				at := evilPlace(r, w.g)
				word := evil(r, w.mem, at)
				if n&2 == 0 {
					word = next()
				}
				binary.LittleEndian.PutUint64(w.mem[at:], word)
				continue
			}
			vs[n>>1&1].visit(n >> 2)
		}
	})
}

// FuzzInspect gives Inspect headers of the fuzzer's choice.
func FuzzInspect(f *testing.F) {
	for _, p := range hostileParams {
		g, err := Layout(p)
		if err != nil {
			f.Fatal(err)
		}
		mem := alignedBytes(g.Size())
		if err := Format(mem, g); err != nil {
			f.Fatal(err)
		}
		f.Add(mem[:256], uint32(len(mem)))
	}
	f.Fuzz(func(t *testing.T, header []byte, size uint32) {
		mem := alignedBytes(int64(size % (1 << 21)))
		copy(mem, header)
		g, err := Inspect(mem)
		if err != nil {
			if !errors.Is(err, ErrNotChannel) && !errors.Is(err, ErrABI) {
				t.Fatalf("%v", err)
			}
			return
		}
		if g.Size() != int64(len(mem)) {
			t.Fatalf("%d bytes for %d", len(mem), g.Size())
		}
		if _, err := Attach(mem, g, nil, nil); err != nil {
			t.Fatal(err)
		}
	})
}
