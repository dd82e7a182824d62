package ring

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestHeldExtentsHoldUpNobody: a message in RecvFunc and a loan that is out, wherever
// they lie, keep from the others their own bytes and no more.
func TestHeldExtentsHoldUpNobody(t *testing.T) {
	for _, before := range []int{0, 1, 3, 5} {
		for _, held := range []string{"hold", "loan", "hold and loan"} {
			t.Run(fmt.Sprintf("%s/after=%d", held, before), func(t *testing.T) {
				w := newWorld(t, packed(8, 200, 8*200))
				holder, d := w.desk(w.process()), w.desk(w.process())
				send := func(v uint64) {
					t.Helper()
					if st := trySend(d, v); st != OK {
						t.Fatalf("send %d: status %d", v, st)
					}
				}
				recv := func(want uint64) {
					t.Helper()
					if v, st := tryRecv(d); st != OK || v != want {
						t.Fatalf("received %d, status %d, want %d", v, st, want)
					}
				}
				for i := range before {
					send(uint64(i))
					recv(uint64(i))
				}
				var h Held
				var l Loan
				if held != "loan" {
					send(1000)
					var st Status
					if h, st = holder.Hold(); st != OK {
						t.Fatalf("hold: status %d", st)
					}
				}
				if held != "hold" {
					var st Status
					if l, st = holder.Reserve(150); st != OK {
						t.Fatalf("reserve: status %d", st)
					}
					writeMessage(holder.q.Extent(l.block, 150), 2000)
				}
				for i := uint64(1); i < 5000; i++ {
					send(i)
					if i%3 == 0 { // some wait in between
						send(i + 1)
						recv(i)
						recv(i + 1)
						continue
					}
					recv(i)
				}
				if held != "loan" {
					if v := readHeld(holder.q, &h); v != 1000 {
						t.Fatalf("the held message is %d now", v)
					}
					if st := holder.Free(&h); st != OK {
						t.Fatalf("free: status %d", st)
					}
				}
				if held != "hold" {
					if st := holder.Commit(&l, 150); st != OK {
						t.Fatalf("commit: status %d", st)
					}
					recv(2000)
				}
				audit(t, w, nil)
			})
		}
	}
}

// TestDeadHoldersExtentIsFreed: the extent of one that died with a message that had
// been carried meanwhile comes back, with the message.
func TestDeadHoldersExtentIsFreed(t *testing.T) {
	w := newWorld(t, packed(4, 200, 4*200))
	q := w.process()
	holder, d := w.desk(q), w.desk(w.process())
	for round := range uint64(50) {
		if st := trySend(d, 1000+round); st != OK {
			t.Fatalf("send: status %d", st)
		}
		if _, st := holder.Hold(); st != OK {
			t.Fatalf("hold: status %d", st)
		}
		for i := range uint64(40) {
			if st := trySend(d, i); st != OK {
				t.Fatalf("send %d: status %d", i, st)
			}
			if v, st := tryRecv(d); st != OK || v != i {
				t.Fatalf("received %d, status %d", v, st)
			}
		}
		w.kill(q)
		d.q.Sweep()
		if v, st := tryRecv(d); st != OK || v != 1000+round {
			t.Fatalf("received %d, status %d, after the holder's death", v, st)
		}
		audit(t, w, nil)
		q = w.process()
		holder = w.desk(q)
	}
}

// TestCarryingInTraffic: senders and receivers race for a Space that is mostly full,
// while some messages are held for thousands of others.
func TestCarryingInTraffic(t *testing.T) {
	const senders, takers, holders = 3, 2, 3
	watchdog(t, time.Minute)
	each := 30000
	if testing.Short() {
		each = 3000
	}
	for _, space := range []uint64{800, 1500, 5000} {
		t.Run(fmt.Sprint(space), func(t *testing.T) {
			w := newWorld(t, packed(32, 200, space))
			var sent, got atomic.Int64
			var out, in sync.WaitGroup
			for s := range senders {
				d := w.desk(w.process())
				out.Go(func() {
					for i := range each {
						for {
							st := trySend(d, uint64(s)<<32|uint64(i))
							if st == OK {
								break
							}
							if st != Full && st != NoSpace {
								t.Errorf("send: status %d", st)
								return
							}
							runtime.Gosched()
						}
						sent.Add(1)
					}
				})
			}
			var done atomic.Bool
			for range takers {
				d := w.desk(w.process())
				in.Go(func() {
					for {
						last := done.Load()
						switch v, st := tryRecv(d); {
						case st == OK && v == ^uint64(0):
							t.Error("a message is not whole")
							return
						case st == OK:
							got.Add(1)
						case st != Empty:
							t.Errorf("receive: status %d", st)
							return
						case last:
							return
						default:
							runtime.Gosched()
						}
					}
				})
			}
			for i := range holders {
				d := w.desk(w.process())
				r := rand.New(rand.NewPCG(uint64(i), space))
				in.Go(func() {
					for {
						last := done.Load()
						h, st := d.Hold()
						if st == Empty && last {
							return
						}
						if st == Empty {
							runtime.Gosched()
							continue
						}
						if st != OK {
							t.Errorf("hold: status %d", st)
							return
						}
						v := readHeld(d.q, &h)
						for n := got.Load() + r.Int64N(2000); !done.Load() && got.Load() < n && sent.Load()-got.Load() > holders; {
							runtime.Gosched()
						}
						if again := readHeld(d.q, &h); v == ^uint64(0) || again != v {
							t.Errorf("the held message was %#x and is %#x", v, again)
							return
						}
						if st := d.Free(&h); st != OK {
							t.Errorf("free: status %d", st)
							return
						}
						got.Add(1)
					}
				})
			}
			out.Wait()
			done.Store(true)
			in.Wait()
			if got.Load() != senders*int64(each) {
				t.Errorf("%d received of %d", got.Load(), senders*each)
			}
			audit(t, w, nil)
		})
	}
}
