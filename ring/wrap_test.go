package ring

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What counts in these tests is the end of what a field can hold. Slot words have
// 27 to 48 bits of lap, which a channel of capacity 1 reaches in hours, and those of
// units 32 or more. Positions have 64 bits: at a thousand million messages a second
// they end after 584 years, so SPSC's head and tail, the numbers in closedAt and
// the virtual units of Space never come near it.

// at moves a channel that nobody has used to where it would be after so many laps.
func (w *world) at(lap uint64) *world {
	q := w.attach()
	for i := range q.slots {
		q.slots[i] = q.slots[i]&(1<<q.lapShift-1) | lap<<q.lapShift
	}
	*u64(q.base, offHead), *u64(q.base, offTail) = lap*q.Geometry.slots, lap*q.Geometry.slots
	return w
}

// unitsAt does the same to Space.
func (w *world) unitsAt(lap uint64) *world {
	q := w.attach()
	for i := range q.unitW {
		q.unitW[i] = q.unitWord(lap-1, 0, 1, unitFree)
	}
	*u64(q.base, offSpaceHead) = lap * q.units
	return w
}

// ends are laps just before a word's lap looks negative, or begins again.
func (w *world) ends() []uint64 {
	q := w.attach()
	bits := 64 - q.lapShift
	return []uint64{1<<(bits-1) - 3, 1<<bits - 3, 5<<bits - 3}
}

func (w *world) unitEnds() []uint64 {
	bits := 64 - w.attach().unitLapShift
	return []uint64{1<<(bits-1) - 3, 1<<bits - 3}
}

func TestLapsBeginAgain(t *testing.T) {
	for _, p := range []Params{elems(1), elems(2), elems(3), packed(1, 100, 100), packed(3, 100, 300)} {
		for n := range 3 {
			t.Run(fmt.Sprintf("%+v/%d", p, n), rapid.MakeCheck(func(t *rapid.T) {
				w := newWorld(t, p)
				w.at(w.ends()[n])
				if p.Packed() {
					w.unitsAt(w.unitEnds()[n%2])
				}
				m := newModel(w.g)
				as := []*actor{w.actor(0), w.actor(1), w.actor(2)}
				for i, n := range rapid.SliceOfN(rapid.Uint64(), 10, 60).Draw(t, "steps") {
					n *= 0x9e3779b97f4a7c15
					who := int(n>>60) % len(as)
					s := choose(n&0xffffffff, len(as[who].holds), len(as[who].loans), uint64(i+1))
					st, v := as[who].do(s)
					if err := m.did(who, s, st, v); err != nil {
						t.Fatalf("step %d: %v", i, err)
					}
				}
				finish(t, w, m, as, 0, 0)
			}))
		}
	}
}

func TestLapsBeginAgainUnderTraffic(t *testing.T) {
	watchdog(t, time.Minute)
	for _, p := range []Params{elems(1), elems(5), packed(2, 100, 300)} {
		for n := range 3 {
			w := newWorld(t, p)
			trafficIn(t, w.at(w.ends()[n]), 3, 3, 300)
		}
	}
}

func TestRendezvousLapsBeginAgain(t *testing.T) {
	watchdog(t, time.Minute)
	for n := range 3 {
		w := newWorld(t, elems(0))
		w.at(w.ends()[n])
		s, r := w.desk(w.process()), w.desk(w.process())
		var got []uint64
		var wg sync.WaitGroup
		wg.Go(func() {
			for len(got) < 10*MeetingSlots {
				v, st := recvMeet(r, never)
				if st != OK {
					t.Errorf("receive: status %d", st)
					return
				}
				got = append(got, v)
			}
		})
		for i := range 10 * MeetingSlots {
			if st := sendMeet(s, message(0, i), never); st != OK {
				t.Fatalf("send: status %d", st)
			}
		}
		wg.Wait()
		c := newTally(t)
		c.add(got)
		c.want(1, 10*MeetingSlots)
	}
}

// TestADeskThatSleptForHalfTheLaps: a desk that was used, and then not while the
// ring went round so often that a word's lap looks older than the desk's.
func TestADeskThatSleptForHalfTheLaps(t *testing.T) {
	for _, p := range []Params{elems(1), elems(3), packed(1, 100, 100)} {
		for _, how := range []string{"send", "receive", "hold", "length", "close", "reserve"} {
			w := newWorld(t, p)
			old, young := w.desk(w.process()), w.desk(w.process())
			for v := range uint64(5) {
				if st := trySend(old, v); st != OK {
					t.Fatal(st)
				}
				if _, st := tryRecv(old); st != OK {
					t.Fatal(st)
				}
			}
			q := old.q
			idle := uint64(1)<<(64-q.lapShift-1) + 3
			for i := range q.slots {
				q.slots[i] += idle << q.lapShift
			}
			for _, off := range []uintptr{offHead, offTail} {
				*u64(q.base, off) = q.pos(old.tail) + idle*q.Capacity
			}
			young.tail, young.head = q.origin(offTail), q.origin(offHead)
			if st := trySend(young, 77); st != OK {
				t.Fatalf("capacity %d: young: status %d", p.Capacity, st)
			}
			st := OK
			switch how {
			case "send":
				for st == OK {
					st = trySend(old, 78)
				}
				if st == Full {
					st = OK
				}
			case "receive":
				_, st = tryRecv(old)
			case "hold":
				var h Held
				if h, st = old.Hold(); st == OK {
					st = old.Free(&h)
				}
			case "length":
				var n int
				if n, st = old.Len(); n != 1 {
					t.Errorf("length %d", n)
				}
			case "close":
				st = old.Close()
			case "reserve":
				if p.Capacity > 1 {
					var l Loan
					if l, st = old.Reserve(8); st == OK {
						st = old.Abort(&l)
					}
				}
			}
			if st != OK {
				t.Errorf("capacity %d: %s: status %d", p.Capacity, how, st)
			}
		}
	}
}

func TestEventWordsBeginAgain(t *testing.T) {
	for _, flags := range []uint32{0, EventClosing} {
		word := ^uint32(0) &^ (EventWait | EventClosing) // the last count
		word |= flags
		if Attention(&word) || Notify(&word) {
			t.Fatal("nobody waits")
		}
		val := PrepareWait(&word)
		if val != word || !Attention(&word) || PrepareWait(&word) != val {
			t.Fatalf("%#x, %#x", val, word)
		}
		if !Notify(&word) || word == val || word != flags {
			t.Fatalf("after notify: %#x", word)
		}
		if Notify(&word) {
			t.Fatal("notified twice")
		}
		word |= ^uint32(3)
		Stir(&word)
		if word != flags {
			t.Fatalf("after stir: %#x", word)
		}
	}
}

// TestNoWakeIsLost: whoever prepares to wait and then finds nothing is notified.
func TestNoWakeIsLost(t *testing.T) {
	watchdog(t, time.Minute)
	w := newWorld(t, elems(1))
	s, r := w.desk(w.process()), w.desk(w.process())
	ev := r.q.RecvEvent()
	n := 20000
	if testing.Short() {
		n /= 10
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			for trySend(s, uint64(i)) != OK {
				runtime.Gosched()
			}
			Notify(ev)
		}
	})
	for range n {
		for {
			val := PrepareWait(ev)
			if _, st := tryRecv(r); st == OK {
				break
			}
			for atomic.LoadUint32(ev) == val { // a futex wait
				runtime.Gosched()
			}
		}
	}
	wg.Wait()
}
