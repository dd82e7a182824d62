package ring

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// sendSomehow sends v in the n-th of several ways.
func sendSomehow(d *Desk, v uint64, n int) (st Status) {
	q := d.q
	retry := func(f func() Status) Status {
		for {
			if st := f(); st != Full && st != NoSpace {
				return st
			}
			runtime.Gosched()
		}
	}
	if n%3 != 0 {
		return retry(func() Status { return trySend(d, v) })
	}
	var l Loan
	size := 8
	if q.Packed() {
		size = packedSize(q, v)
	}
	reserve := func() Status {
		l, st = d.Reserve(size)
		return st
	}
	if n%2 == 0 { // one that is never to come
		if st := retry(reserve); st != OK {
			return st
		}
		if st := d.Abort(&l); st != OK {
			return st
		}
	}
	if st := retry(reserve); st != OK {
		return st
	}
	if q.Packed() {
		writeMessage(unsafe.Slice((*byte)(l.Data), size), v)
	} else {
		store(l.Data, v)
	}
	for range n % 4 {
		runtime.Gosched()
	}
	st = d.Commit(&l, size)
	if st == Closed {
		if abort := d.Abort(&l); abort != OK {
			return abort
		}
	}
	return st
}

// recvSomehow receives in the n-th of several ways. Full: it gave the message back.
func recvSomehow(d *Desk, n int, back bool) (uint64, Status) {
	if n%3 != 0 {
		return tryRecv(d)
	}
	h, st := d.Hold()
	if st != OK {
		return 0, st
	}
	d.q.Counted(1)
	defer d.q.Counted(-1)
	for range n % 5 {
		runtime.Gosched()
	}
	v := readHeld(d.q, &h)
	if back && n%2 == 0 {
		if st := d.Return(&h); st != OK {
			return 0, st
		}
		return v, Full
	}
	return v, d.Free(&h)
}

// TestLoansAndHoldsAmongTraffic: everything at once, over many laps.
func TestLoansAndHoldsAmongTraffic(t *testing.T) {
	watchdog(t, 2*time.Minute)
	const senders, receivers = 3, 3
	for _, capacity := range []uint64{1, 2, 3, 7, 64} {
		for _, back := range []bool{false, true} {
			for name, p := range map[string]Params{"elements": elems(capacity), "packed": packed(capacity, 200, 200*capacity)} {
				t.Run(fmt.Sprintf("%s/capacity=%d/back=%v", name, capacity, back), func(t *testing.T) {
					each := 1500
					if testing.Short() {
						each /= 10
					}
					w := newWorld(t, p)
					count := newTally(t)
					var out, in sync.WaitGroup
					for s := range senders {
						d := w.desk(w.process())
						out.Go(func() {
							for n := range each {
								if st := sendSomehow(d, message(s, n), n); st != OK {
									t.Errorf("send: status %d", st)
									return
								}
							}
						})
					}
					for range receivers {
						d := w.desk(w.process())
						in.Go(func() {
							var got []uint64
							defer func() { count.addAnyhow(got, !back) }()
							for n := 0; ; n++ {
								v, st := recvSomehow(d, n, back)
								switch st {
								case OK:
									got = append(got, v)
								case Empty:
									runtime.Gosched()
								case Full:
								case Closed:
									return
								default:
									t.Errorf("receive: status %d", st)
									return
								}
							}
						})
					}
					out.Wait()
					if st := w.desk(w.process()).Close(); st != OK {
						t.Errorf("close: status %d", st)
					}
					in.Wait()
					count.want(senders, each)
					audit(t, w, nil)
				})
			}
		}
	}
}

// TestLoansThatStayOutForManyLaps: the ring turns around loans and holds that last.
func TestLoansThatStayOutForManyLaps(t *testing.T) {
	for _, capacity := range []uint64{2, 3, 5, 8} {
		for _, packs := range []bool{false, true} {
			p := elems(capacity)
			if packs {
				p = packed(capacity, 64, 64*64*capacity)
			}
			for out := range capacity {
				w := newWorld(t, p)
				m := newModel(w.g)
				a, b := w.actor(0), w.actor(1)
				do := func(who int, s step) {
					t.Helper()
					x := []*actor{a, b}[who]
					st, v := x.do(s)
					if err := m.did(who, s, st, v); err != nil {
						t.Fatalf("capacity %d, %d out: %v", capacity, out, err)
					}
				}
				v := uint64(1)
				for i := range out {
					if i%2 == 0 {
						do(0, step{actReserve, v})
					} else {
						do(0, step{actSend, v})
						do(0, step{actHold, 0})
					}
					v++
				}
				for range 10 * capacity {
					for range capacity + 1 {
						v++
						do(1, step{actSend, v}) // the last one finds it full
					}
					do(1, step{actLen, 0})
					for range capacity + 1 {
						do(1, step{actRecv, 0})
					}
					if packs {
						continue
					}
				}
				audit(t, w, nil)
				for len(a.loans) > 0 {
					do(0, step{actCommit, uint64(len(a.loans) - 1)})
				}
				for len(a.holds) > 0 {
					do(0, step{actReturn, uint64(len(a.holds) - 1)})
				}
				finish(t, w, m, []*actor{b, a}, 0, 0)
			}
		}
	}
}

// TestALoanEndsOnce: what Commit and Abort answer for a loan that is over, or that
// is another's.
func TestALoanEndsOnce(t *testing.T) {
	w := newWorld(t, elems(3))
	d, other := w.desk(w.process()), w.desk(w.process())
	l, st := d.Reserve(8)
	if st != OK {
		t.Fatal(st)
	}
	if st := other.Commit(&l, 8); st != Corrupt {
		t.Errorf("another's commit: status %d", st)
	}
	if st := other.Abort(&l); st != Corrupt {
		t.Errorf("another's abort: status %d", st)
	}
	if st := d.Commit(&l, 8); st != OK {
		t.Fatal(st)
	}
	if st := d.Abort(&l); st != Corrupt {
		t.Errorf("a second end: status %d", st)
	}
	if n := d.q.Loans(); n != 0 {
		t.Errorf("%d loans", n)
	}
}

// TestCloseAgainstSenders: whoever was told that it was sent is received, whoever
// was told that it is closed is not, and nobody sends after that.
func TestCloseAgainstSenders(t *testing.T) {
	watchdog(t, time.Minute)
	rounds := 600
	if testing.Short() || RaceEnabled {
		rounds = 100
	}
	for round := range rounds {
		p := elems(uint64(1 + round%4))
		if round%3 == 0 {
			p = packed(p.Capacity, 100, 300)
		}
		w := newWorld(t, p)
		var sent, got, firsts atomic.Int64
		var closed atomic.Bool
		var wg sync.WaitGroup
		for s := range 3 {
			d, r, c := w.desk(w.process()), w.desk(w.process()), w.desk(w.process())
			wg.Go(func() {
				for n := 0; ; n++ {
					late := closed.Load()
					st := sendSomehow(d, message(s, n), n)
					if st == OK && late {
						t.Error("sent after close")
					}
					if st != OK {
						if st != Closed {
							t.Errorf("send: status %d", st)
						}
						return
					}
					sent.Add(1)
				}
			})
			wg.Go(func() {
				for n := 0; ; n++ {
					switch _, st := recvSomehow(r, n, n%7 == 0); st {
					case OK:
						got.Add(1)
					case Closed:
						return
					case Empty, Full:
						runtime.Gosched()
					default:
						t.Errorf("receive: status %d", st)
						return
					}
				}
			})
			if s > 0 {
				wg.Go(func() {
					for range round % 40 {
						runtime.Gosched()
					}
					st := c.Close()
					closed.Store(true)
					if st == OK {
						firsts.Add(1)
					}
				})
			}
		}
		wg.Wait()
		if sent.Load() != got.Load() || firsts.Load() != 1 {
			t.Fatalf("round %d: %d sent, %d received, %d closed it", round, sent.Load(), got.Load(), firsts.Load())
		}
		audit(t, w, nil)
	}
}

// TestClosedChannelWithoutSpace: a sender for whose message bytes are short is told
// that the channel is closed all the same.
func TestClosedChannelWithoutSpace(t *testing.T) {
	w := newWorld(t, packed(3, 64, 64))
	d := w.desk(w.process())
	if st := trySend(d, 1); st != OK {
		t.Fatal(st)
	}
	if _, st := d.Reserve(64); st != NoSpace {
		t.Fatalf("status %d", st)
	}
	if st := d.Close(); st != OK {
		t.Fatal(st)
	}
	if st := trySend(d, 2); st != Closed {
		t.Errorf("send: status %d", st)
	}
	if _, st := d.Reserve(64); st != Closed {
		t.Errorf("reserve: status %d", st)
	}
}

// TestAReturnedMessageIsFoundWhateverTheCountSays: whoever gave it back died before
// it counted it, on a channel that is closed and drained.
func TestAReturnedMessageIsFoundWhateverTheCountSays(t *testing.T) {
	watchdog(t, time.Minute)
	w := newWorld(t, elems(2))
	d := w.desk(w.process())
	if st := trySend(d, 7); st != OK {
		t.Fatal(st)
	}
	h, st := d.Hold()
	if st != OK {
		t.Fatal(st)
	}
	if st := d.Close(); st != OK {
		t.Fatal(st)
	}
	if _, st := tryRecv(d); st != Empty {
		t.Fatalf("while it is held: status %d", st)
	}
	if st := d.Return(&h); st != OK {
		t.Fatal(st)
	}
	*u32(d.q.base, offReturned) = 0
	if v, st := tryRecv(d); st != OK || v != 7 {
		t.Fatalf("%d, status %d", v, st)
	}
	if _, st := tryRecv(d); st != Closed {
		t.Fatalf("status %d", st)
	}
}

// addAnyhow is add; the order is not checked where messages come back.
func (c *tally) addAnyhow(got []uint64, order bool) {
	if order {
		c.add(got)
		return
	}
	for _, v := range got {
		c.add([]uint64{v})
	}
}
