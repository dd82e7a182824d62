package ring

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func sendSPSC(s *Sender, v uint64) Status {
	q := s.q
	if q.Packed() {
		n := packedSize(q, v)
		b, st := s.Bytes(n)
		if st != OK {
			return st
		}
		writeMessage(b, v)
		s.PublishBytes(n)
	} else {
		p, st := s.Slot()
		if st != OK {
			return st
		}
		store(p, v)
		s.Publish()
	}
	if q.RecvAttention()&EventClosing != 0 && s.Sent(1) == 0 {
		return Closed
	}
	return OK
}

func recvSPSC(r *Recver) (v uint64, st Status) {
	if r.q.Packed() {
		b, st := r.FrontBytes()
		if st != OK {
			return 0, st
		}
		r.Received()
		v = readMessage(b)
	} else {
		p, st := r.Front()
		if st != OK {
			return 0, st
		}
		v = load(p)
	}
	r.Advance()
	return v, OK
}

func claim(t testing.TB, sendQ, recvQ *Queue) (*Sender, *Recver) {
	t.Helper()
	s, st := sendQ.ClaimSender()
	if st != OK {
		t.Fatal(st)
	}
	r, st := recvQ.ClaimRecver()
	if st != OK {
		t.Fatal(st)
	}
	return s, r
}

func TestOneSenderOneReceiver(t *testing.T) {
	for _, capacity := range []uint64{1, 2, 3, 7, 64, 1000, 4096} {
		for name, p := range map[string]Params{
			"elements": spscElems(capacity),
			"packed":   spscPacked(capacity, 200, min(capacity*200, 4096)),
		} {
			t.Run(fmt.Sprintf("%s/capacity=%d", name, capacity), func(t *testing.T) {
				watchdog(t, time.Minute)
				w := newWorld(t, p)
				s, r := claim(t, w.process(), w.process())
				each := 50000
				if testing.Short() {
					each /= 10
				}
				var got []uint64
				var done sync.WaitGroup
				done.Go(func() {
					for {
						v, st := recvSPSC(r)
						switch st {
						case OK:
							got = append(got, v)
						case Empty:
							runtime.Gosched()
						case Closed:
							return
						default:
							t.Errorf("receive: status %d", st)
							return
						}
					}
				})
				for n := range each {
					for {
						st := sendSPSC(s, message(0, n))
						if st == OK {
							break
						}
						if st != Full && st != NoSpace {
							t.Fatalf("send: status %d", st)
						}
						runtime.Gosched()
					}
				}
				if st := s.q.CloseSPSC(); st != OK {
					t.Errorf("close: status %d", st)
				}
				done.Wait()
				count := newTally(t)
				count.add(got)
				count.want(1, each)
			})
		}
	}
}

// TestCloseAgainstSPSCSender closes while the sender is sending: what counts as
// sent is received, in order, and nothing else (P4).
func TestCloseAgainstSPSCSender(t *testing.T) {
	watchdog(t, time.Minute)
	rounds := 3000
	if testing.Short() || RaceEnabled {
		rounds = 300
	}
	for round := range rounds {
		p := spscElems(8)
		if round%2 == 1 {
			p = spscPacked(8, 64, 256)
		}
		w := newWorld(t, p)
		s, r := claim(t, w.process(), w.process())
		closers := []*Queue{w.process(), w.process()}
		var sent, got, firsts atomic.Int64
		var wg sync.WaitGroup
		wg.Go(func() {
			for n := 0; ; {
				switch sendSPSC(s, message(0, n)) {
				case OK:
					n++
					sent.Store(int64(n))
				case Closed:
					return
				default:
					if s.q.Closing() {
						return
					}
					runtime.Gosched()
				}
			}
		})
		wg.Go(func() {
			for n := 0; ; {
				v, st := recvSPSC(r)
				switch st {
				case OK:
					if v != message(0, n) {
						t.Errorf("message %#x, want %#x", v, message(0, n))
						return
					}
					n++
					got.Store(int64(n))
				case Closed:
					return
				default:
					runtime.Gosched()
				}
			}
		})
		for _, q := range closers {
			wg.Go(func() {
				for range round % 50 {
					runtime.Gosched()
				}
				if q.CloseSPSC() == OK {
					firsts.Add(1)
				}
			})
		}
		wg.Wait()
		if sent.Load() != got.Load() || firsts.Load() != 1 {
			t.Fatalf("round %d: %d sent, %d received, %d closed it", round, sent.Load(), got.Load(), firsts.Load())
		}
		if n, st := r.q.LenSPSC(); n != 0 || st != OK {
			t.Fatalf("round %d: length %d, status %d", round, n, st)
		}
	}
}

func TestSPSCIsExactlyFullAndEmpty(t *testing.T) {
	for _, capacity := range []uint64{1, 2, 3, 7, 64} {
		for _, p := range []Params{spscElems(capacity), spscPacked(capacity, 8, 16*capacity)} {
			w := newWorld(t, p)
			s, r := claim(t, w.process(), w.process())
			for lap := range 5 {
				for n := range capacity {
					if _, st := recvSPSC(r); n == 0 && st != Empty {
						t.Fatalf("capacity %d lap %d: empty is %d", capacity, lap, st)
					} else if n == 0 {
						sendSPSC(s, 1)
					} else if st := sendSPSC(s, n+1); st != OK {
						t.Fatal(st)
					}
					if n > 0 {
						continue
					}
				}
				_ = lap
				for {
					if st := sendSPSC(s, 9); st != OK {
						if st != Full {
							t.Fatalf("capacity %d: full is %d", capacity, st)
						}
						break
					}
				}
				if n, st := s.q.LenSPSC(); n != int(capacity) || st != OK {
					t.Fatalf("capacity %d: length %d, status %d", capacity, n, st)
				}
				for n := range capacity {
					if _, st := recvSPSC(r); st != OK {
						t.Fatalf("capacity %d message %d: %d", capacity, n, st)
					}
				}
			}
		}
	}
}

// TestSPSCEmptyMessageBeforeALargeOne: a message of no bytes has a place in the
// order of the bytes too.
func TestSPSCEmptyMessageBeforeALargeOne(t *testing.T) {
	w := newWorld(t, spscPacked(4, 56, 64))
	s, r := claim(t, w.process(), w.process())
	send := func(n int) Status {
		b, st := s.Bytes(n)
		if st == OK {
			clear(b)
			s.PublishBytes(n)
		}
		return st
	}
	recv := func(n int) {
		t.Helper()
		b, st := r.FrontBytes()
		if st != OK || len(b) != n {
			t.Fatalf("%d bytes, status %d; want %d", len(b), st, n)
		}
		r.Advance()
	}
	for range 20 {
		if st := send(40); st != OK {
			t.Fatal(st)
		}
		recv(40)
		if st := send(0); st != OK {
			t.Fatal(st)
		}
		for st := send(56); st != OK; st = send(56) {
			if st != NoSpace {
				t.Fatalf("status %d", st)
			}
			recv(0)
		}
		if _, st := s.Bytes(56); st != OK && st != NoSpace {
			t.Fatalf("status %d", st)
		}
		if n, _ := s.q.LenSPSC(); n == 2 {
			recv(0)
		}
		recv(56)
	}
}

// TestSPSCSeatsAreGivenOutAgain: a new sender and receiver go on where the others
// were, at every fill level.
func TestSPSCSeatsAreGivenOutAgain(t *testing.T) {
	for _, p := range []Params{spscElems(3), spscPacked(3, 40, 100)} {
		w := newWorld(t, p)
		var next, want uint64 = 1, 1
		for round := range 60 {
			sq, rq := w.attach(), w.attach()
			w.join(sq, 0)
			w.join(rq, 1)
			s, st := sq.ClaimSender()
			if st != OK {
				t.Fatalf("round %d: sender: %d", round, st)
			}
			r, st := rq.ClaimRecver()
			if st != OK {
				t.Fatalf("round %d: receiver: %d", round, st)
			}
			third := w.queueOn(5)
			if _, st := third.ClaimSender(); st != Busy {
				t.Fatalf("round %d: a second sender: %d", round, st)
			}
			if _, st := third.ClaimRecver(); st != Busy {
				t.Fatalf("round %d: a second receiver: %d", round, st)
			}
			third.Leave()
			for range round % 5 {
				if sendSPSC(s, next) == OK {
					next++
				}
			}
			for range (round + 1) % 3 {
				v, st := recvSPSC(r)
				if st == OK && v != want {
					t.Fatalf("round %d: %d, want %d", round, v, want)
				}
				if st == OK {
					want++
				}
			}
			w.kill(sq)
			w.kill(rq)
			sweeper := w.queueOn(5)
			if n := sweeper.Sweep(); n != 2 {
				t.Fatalf("round %d: %d swept", round, n)
			}
			sweeper.Leave()
		}
	}
}
