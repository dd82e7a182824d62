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

// offer writes v into the desk and offers it.
func offer(d *Desk, v uint64, wait bool) (Ticket, uint64, Status) {
	q := d.q
	if !q.Packed() {
		store(d.Block(), v)
		t, st := d.Offer(0, wait)
		return t, 0, st
	}
	n := packedSize(q, v)
	u, st := d.Alloc(n)
	if st != OK {
		return Ticket{}, 0, st
	}
	writeMessage(q.Extent(u, n), v)
	d.Written(u, n)
	t, st := d.Offer(u, wait)
	if st != OK {
		q.Release(u)
	}
	return t, u, st
}

// sendMeet sends v as a blocking Send does. Full: withdrawn, after giveUp said so.
func sendMeet(d *Desk, v uint64, giveUp func() bool) Status {
	q := d.q
	for {
		t, u, st := offer(d, v, true)
		if st == Full || st == NoSpace {
			if giveUp() {
				return Full
			}
			runtime.Gosched()
			continue
		}
		if st != OK {
			return st
		}
		for !q.Settled(t) {
			if (q.IsClosed() || giveUp()) && q.Withdraw(t) {
				st = Full
				if q.IsClosed() {
					st = Closed
				}
				break
			}
			runtime.Gosched()
		}
		if q.Packed() {
			q.Release(u)
		}
		return st
	}
}

// recvMeet receives as a blocking Recv does.
func recvMeet(d *Desk, giveUp func() bool) (v uint64, st Status) {
	q := d.q
	take := func(h *Held) (uint64, Status) {
		v := uint64(0)
		if q.Packed() {
			v = readMessage(unsafe.Slice((*byte)(h.Data), h.Size))
		} else {
			v = load(h.Data)
		}
		return v, q.Settle(h)
	}
	for {
		h, st := d.Meet()
		if st == OK {
			return take(&h)
		}
		if st != Empty {
			return 0, st
		}
		t, st := d.Want()
		switch st {
		case OK:
		case Busy, Full:
			if giveUp() {
				return 0, Empty
			}
			runtime.Gosched()
			continue
		default:
			return 0, st
		}
		for {
			h, st := q.Got(t)
			if st == OK {
				return take(&h)
			}
			if st == Busy {
				break
			}
			if st != Empty {
				return 0, st
			}
			if (q.IsClosed() || giveUp() || q.Offers()) && q.Withdraw(t) {
				if giveUp() {
					return 0, Empty
				}
				break
			}
			runtime.Gosched()
		}
	}
}

func never() bool { return false }

func TestRendezvous(t *testing.T) {
	for name, p := range map[string]Params{"elements": elems(0), "packed": packed(0, 200, 1000)} {
		for _, n := range [][2]int{{1, 1}, {4, 4}, {1, 6}, {6, 1}} {
			t.Run(fmt.Sprintf("%s/senders=%d/receivers=%d", name, n[0], n[1]), func(t *testing.T) {
				watchdog(t, time.Minute)
				w := newWorld(t, p)
				each := 12000 / n[0]
				if testing.Short() {
					each /= 10
				}
				count := newTally(t)
				var out, in sync.WaitGroup
				for s := range n[0] {
					d := w.desk(w.process())
					out.Go(func() {
						for i := range each {
							// Every third is given up at some moment, and tried again.
							polls := 0
							giveUp := func() bool { polls++; return i%3 == 0 && polls%5 == 0 }
							for st := Full; st != OK; {
								if st = sendMeet(d, message(s, i), giveUp); st != OK && st != Full {
									t.Errorf("send: status %d", st)
									return
								}
							}
						}
					})
				}
				for range n[1] {
					d := w.desk(w.process())
					in.Go(func() {
						var got []uint64
						defer func() { count.add(got) }()
						for i := 0; ; i++ {
							polls := 0
							giveUp := func() bool { polls++; return i%4 == 0 && polls%7 == 0 }
							v, st := recvMeet(d, giveUp)
							switch st {
							case OK:
								got = append(got, v)
							case Empty:
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
				if st := w.desk(w.process()).CloseMeeting(); st != OK {
					t.Errorf("close: status %d", st)
				}
				in.Wait()
				count.want(n[0], each)
				audit(t, w, nil)
			})
		}
	}
}

// TestRendezvousNeedsBoth: nobody can send where nobody waits to receive, and the
// other way round.
func TestRendezvousNeedsBoth(t *testing.T) {
	w := newWorld(t, elems(0))
	s, r := w.desk(w.process()), w.desk(w.process())
	if _, _, st := offer(s, 1, false); st != Full {
		t.Fatalf("status %d", st)
	}
	if _, st := r.Meet(); st != Empty {
		t.Fatalf("status %d", st)
	}
	ask, st := r.Want()
	if st != OK {
		t.Fatal(st)
	}
	if _, st := r.q.Got(ask); st != Empty {
		t.Fatalf("status %d", st)
	}
	ticket, _, st := offer(s, 2, false)
	if st != OK || s.q.Settled(ticket) {
		t.Fatalf("status %d", st)
	}
	h, st := r.q.Got(ask)
	if st != OK || load(h.Data) != 2 {
		t.Fatalf("status %d", st)
	}
	if s.q.Settled(ticket) {
		t.Fatal("settled before the receiver had it")
	}
	if s.q.Withdraw(ticket) {
		t.Fatal("withdrawn from a receiver that has it")
	}
	if st := r.q.Settle(&h); st != OK || !s.q.Settled(ticket) {
		t.Fatalf("status %d", st)
	}
	if _, _, st := offer(s, 3, false); st != Full {
		t.Fatalf("status %d", st)
	}
	audit(t, w, nil)
}

func TestRendezvousHasSoManySlots(t *testing.T) {
	w := newWorld(t, elems(0))
	q := w.process()
	var tickets []Ticket
	for i := range MeetingSlots + 1 {
		ticket, _, st := offer(w.desk(q), uint64(i+1), true)
		if want := OK; i < MeetingSlots && st != want || i == MeetingSlots && st != Full {
			t.Fatalf("offer %d: status %d", i, st)
		}
		tickets = append(tickets, ticket)
	}
	if n := q.Offered(); n != MeetingSlots {
		t.Fatalf("%d offered", n)
	}
	r := w.desk(q)
	for i := range MeetingSlots / 2 {
		h, st := r.Meet()
		if st != OK || load(h.Data) != uint64(i+1) {
			t.Fatalf("meeting %d: status %d", i, st)
		}
		if st := q.Settle(&h); st != OK {
			t.Fatal(st)
		}
	}
	for i := MeetingSlots / 2; i < MeetingSlots; i++ {
		if !q.Withdraw(tickets[i]) {
			t.Fatalf("offer %d: not withdrawn", i)
		}
	}
	for range MeetingSlots {
		if _, st := r.Want(); st != OK {
			t.Fatal(st)
		}
	}
	if _, st := r.Want(); st != Full {
		t.Fatalf("status %d", st)
	}
}

// TestNobodySendsAfterClose: once somebody was told that a rendezvous is closed,
// nobody can send, not even to a receiver that waits still.
func TestNobodySendsAfterClose(t *testing.T) {
	w := newWorld(t, elems(0))
	s, r := w.desk(w.process()), w.desk(w.process())
	ask, st := r.Want()
	if st != OK {
		t.Fatal(st)
	}
	if st := w.desk(w.process()).CloseMeeting(); st != OK {
		t.Fatal(st)
	}
	if _, _, st := offer(s, 1, false); st != Closed {
		t.Errorf("status %d", st)
	}
	if _, st := r.q.Got(ask); st != Empty {
		t.Errorf("status %d", st)
	}
	if !r.q.Withdraw(ask) {
		t.Error("not withdrawn")
	}
	if _, st := r.Meet(); st != Closed {
		t.Errorf("status %d", st)
	}
	if st := s.CloseMeeting(); st != Closed {
		t.Errorf("status %d", st)
	}
}

// TestCloseAgainstRendezvous: a send that succeeds was received, and only those.
func TestCloseAgainstRendezvous(t *testing.T) {
	watchdog(t, time.Minute)
	rounds := 1000
	if testing.Short() || RaceEnabled {
		rounds = 150
	}
	for round := range rounds {
		w := newWorld(t, elems(0))
		var sent, got atomic.Int64
		var wg sync.WaitGroup
		for s := range 3 {
			d := w.desk(w.process())
			wg.Go(func() {
				for n := 0; sendMeet(d, message(s, n), never) == OK; n++ {
					sent.Add(1)
				}
			})
			r := w.desk(w.process())
			wg.Go(func() {
				for {
					if _, st := recvMeet(r, never); st != OK {
						return
					}
					got.Add(1)
				}
			})
		}
		c := w.desk(w.process())
		wg.Go(func() {
			for range round % 20 {
				runtime.Gosched()
			}
			c.CloseMeeting()
		})
		wg.Wait()
		if sent.Load() != got.Load() {
			t.Fatalf("round %d: %d sent, %d received", round, sent.Load(), got.Load())
		}
		audit(t, w, nil)
	}
}
