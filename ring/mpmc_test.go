package ring

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
)

// traffic sends each messages from each of senders processes to receivers
// processes, until the channel is closed after the last, and checks them.
func traffic(t *testing.T, p Params, senders, receivers, each int) {
	t.Helper()
	watchdog(t, 2*time.Minute)
	trafficIn(t, newWorld(t, p), senders, receivers, each)
}

func trafficIn(t *testing.T, w *world, senders, receivers, each int) {
	t.Helper()
	count := newTally(t)
	var out, in sync.WaitGroup
	for s := range senders {
		d := w.desk(w.process())
		out.Add(1)
		go func() {
			defer out.Done()
			for n := range each {
				for {
					st := trySend(d, message(s, n))
					if st == OK {
						break
					}
					if st != Full && st != NoSpace {
						t.Errorf("send: status %d", st)
						return
					}
					runtime.Gosched()
				}
			}
		}()
	}
	for range receivers {
		d := w.desk(w.process())
		in.Add(1)
		go func() {
			defer in.Done()
			var got []uint64
			defer func() { count.add(got) }()
			for {
				v, st := tryRecv(d)
				switch st {
				case OK:
					got = append(got, v)
				case Closed:
					return
				case Empty:
					runtime.Gosched()
				default:
					t.Errorf("receive: status %d", st)
					return
				}
			}
		}()
	}
	out.Wait()
	d := w.desk(w.process())
	if st := d.Close(); st != OK {
		t.Errorf("close: status %d", st)
	}
	in.Wait()
	count.want(senders, each)
	audit(t, w, nil)
}

func TestManySendersAndReceivers(t *testing.T) {
	for _, capacity := range []uint64{1, 2, 3, 7, 64, 1000, 4096} {
		for _, kind := range []string{"elements", "packed"} {
			for _, n := range [][2]int{{1, 1}, {4, 4}, {1, 6}, {6, 1}} {
				t.Run(fmt.Sprintf("%s/capacity=%d/senders=%d/receivers=%d", kind, capacity, n[0], n[1]), func(t *testing.T) {
					each := 12000 / n[0]
					if testing.Short() {
						each /= 10
					}
					p := elems(capacity)
					if kind == "packed" {
						p = packed(capacity, 200, min(capacity*200, 4096))
					}
					traffic(t, p, n[0], n[1], each)
				})
			}
		}
	}
}
