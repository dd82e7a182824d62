package fallback

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func init() {
	checks = append(checks,
		check{name: "a context that has ended: nothing is sent or taken", run: checkEndedContext, needs: needsOpen},
		check{name: "a context that ends wakes a blocked Receive", run: checkCancelReceive, needs: needsOpen},
		check{name: "a context that ends wakes a blocked Send", run: checkCancelSend, needs: needsOpen},
		check{name: "a deadline passes", run: checkDeadline, needs: needsOpen},
		check{name: "contexts of two Receives do not meet", run: checkTwoReceives, needs: needsOpen},
		check{name: "contexts of two Sends do not meet", run: checkTwoSends, needs: needsOpen},
		check{name: "a storm of contexts loses nothing and sends nothing that it reports as failed", run: checkStorm, needs: needsOpen},
	)
}

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func checkEndedContext(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		for _, size := range []int{headerSize, 1000, min(100_000, from.MaxMessage())} {
			s := beginSend(ended(), from, message(1, 99, size))
			if _, err := s.wait(t, "Send"); !errors.Is(err, context.Canceled) {
				t.Fatalf("Send of %d bytes with a context that has ended: %v", size, err)
			}
		}
		requireEmpty(t, to)
		past, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
		defer cancel()
		if _, err := beginSend(past, from, message(1, 99, 50)).wait(t, "Send"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Send with a deadline that has passed: %v", err)
		}
		if _, err := beginReceive(past, to).wait(t, "Receive"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Receive with a deadline that has passed: %v", err)
		}
		msg := message(1, 1, 200)
		s := beginSend(forever, from, msg)
		if holds(from) {
			s.wait(t, "Send")
		}
		for range 3 {
			if _, err := beginReceive(ended(), to).wait(t, "Receive"); !errors.Is(err, context.Canceled) {
				t.Fatalf("Receive with a context that has ended: %v", err)
			}
		}
		got, err := beginReceive(patient(t), to).wait(t, "Receive")
		if err != nil || !bytes.Equal(got, msg) {
			t.Fatalf("Receive after some with a context that had ended: %s, %v", describe(got), err)
		}
		s.wait(t, "Send")
	})
}

func checkCancelReceive(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		for i := range uint32(5) {
			ctx, cancel := context.WithCancel(context.Background())
			r := beginReceive(ctx, to)
			r.awaitBlocked(t, "Receive")
			cancel()
			if _, err := r.wait(t, "Receive whose context ends"); !errors.Is(err, context.Canceled) {
				t.Fatalf("Receive whose context ends: %v", err)
			}
			mustCarry(t, from, to, i)
		}
	})
}

func checkCancelSend(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		for i, size := range []int{500, min(100_000, from.MaxMessage())} {
			l := newLedger()
			if _, full := fill(t, l, from, 1); !full {
				t.Skip("it is never full")
			}
			for sender, canceled := uint32(2), 0; canceled < 3; sender++ {
				ctx, cancel := context.WithCancel(context.Background())
				s, e := beginBlockedSend(t, l, ctx, from, sender, size)
				cancel()
				_, err := s.wait(t, "Send whose context ends")
				l.send(e.sender, e.seq, err)
				switch {
				case errors.Is(err, context.Canceled):
					canceled++
				case err != nil || !from.Capabilities().Network: // there, room may come at any time
					t.Fatalf("Send of %d bytes whose context ends: %v", size, err)
				}
			}
			if from.Capabilities().Reliable {
				drain(t, l, to)
				mustCarry(t, from, to, uint32(i))
			}
		}
	})
}

func checkDeadline(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if _, err := beginReceive(ctx, to).wait(t, "Receive with a deadline"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Receive with a deadline: %v", err)
		}
		mustCarry(t, from, to, 1)
		l := newLedger()
		if _, full := fill(t, l, from, 1); full {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			for seq := uint32(0); ; seq++ {
				_, err := beginSend(ctx, from, message(2, seq, 500)).wait(t, "Send with a deadline")
				l.send(2, seq, err)
				if errors.Is(err, context.DeadlineExceeded) {
					break
				}
				if err != nil || !from.Capabilities().Network {
					t.Fatalf("Send with a deadline, where there is no room: %v", err)
				}
			}
			if from.Capabilities().Reliable {
				drain(t, l, to)
			}
		}
	})
}

func checkTwoReceives(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		for i := range uint32(4) {
			ctx, cancel := context.WithCancel(context.Background())
			other := forever
			if i%2 == 1 {
				other = patient(t)
			}
			ending, staying := beginReceive(ctx, to), beginReceive(other, to)
			ending.awaitBlocked(t, "Receive")
			staying.awaitBlocked(t, "Receive")
			cancel()
			if _, err := ending.wait(t, "Receive whose context ends"); !errors.Is(err, context.Canceled) {
				t.Fatalf("Receive whose context ends: %v", err)
			}
			staying.awaitBlocked(t, "Receive beside one whose context has ended")
			msg := message(1, i, 300)
			s := beginSend(forever, from, msg)
			got, err := staying.wait(t, "Receive beside one whose context has ended")
			if err != nil || !bytes.Equal(got, msg) {
				t.Fatalf("Receive beside one whose context has ended: %s, %v", describe(got), err)
			}
			s.wait(t, "Send")
		}
	})
}

func checkTwoSends(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		for i := range uint32(3) {
			l := newLedger()
			if _, full := fill(t, l, from, 1); !full || !from.Capabilities().Reliable {
				t.Skip("it is never full, or loses what does not fit")
			}
			ctx, cancel := context.WithCancel(context.Background())
			other := forever
			if i%2 == 1 {
				other = patient(t)
			}
			size := min(fillSize, from.MaxMessage())
			ending, e := beginBlockedSend(t, l, ctx, from, 2, size)
			staying, _ := beginBlockedSend(t, l, other, from, 3, size)
			cancel()
			_, err := ending.wait(t, "Send whose context ends")
			if !errors.Is(err, context.Canceled) && (err != nil || !from.Capabilities().Network) {
				t.Fatalf("Send whose context ends: %v", err)
			}
			l.send(e.sender, e.seq, err)
			if !staying.rests(t, "Send beside one whose context has ended") && !from.Capabilities().Network {
				t.Fatalf("Send beside one whose context has ended: %v", staying.err)
			}
			drain(t, l, to)
			if _, err := staying.wait(t, "Send beside one whose context has ended"); err != nil {
				t.Fatalf("Send beside one whose context has ended: %v", err)
			}
		}
	})
}

// whim is a context that ends soon, by its deadline or without one; or with its parent.
func whim(parent context.Context) (context.Context, context.CancelFunc) {
	after := time.Duration(rand.IntN(1500)) * time.Microsecond
	switch rand.IntN(4) {
	case 0:
		return context.WithTimeout(parent, after)
	case 1:
		return context.WithTimeout(parent, time.Hour)
	default:
		ctx, cancel := context.WithCancel(parent)
		timer := time.AfterFunc(after, cancel)
		return ctx, func() { timer.Stop(); cancel() }
	}
}

func byContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func checkStorm(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		const senders, receivers = 3, 3
		l := newLedger()
		end := time.Now().Add(span())
		var calls, failed atomic.Int64
		sending, sent := context.WithCancel(context.Background()) // ends when all senders have returned
		defer sent()

		send := func(sender uint32) {
			for seq := uint32(0); time.Now().Before(end); seq++ {
				ctx, cancel := whim(context.Background())
				msg := message(sender, seq, sizeOf(from, int(seq)))
				l.send(sender, seq, nil)
				err := from.Send(ctx, msg)
				cancel()
				calls.Add(1)
				if err != nil {
					l.send(sender, seq, err)
					failed.Add(1)
					if !byContext(err) {
						l.wrong("Send: %v", err)
						return
					}
				}
			}
		}
		receive := func(lazy bool) {
			for sending.Err() == nil {
				ctx, cancel := whim(sending)
				msg, err := to.Receive(ctx, nil)
				cancel()
				switch {
				case err == nil:
					l.receive(msg)
				case !byContext(err):
					l.wrong("Receive: %v", err)
					return
				}
				if lazy { // so that senders find no room
					time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
				}
			}
		}
		var wg sync.WaitGroup
		for s := range uint32(senders) {
			wg.Go(func() { send(s) })
		}
		var rs []*call
		for i := range receivers {
			rs = append(rs, begin(func() ([]byte, error) { receive(i > 0); return nil, nil }))
		}
		time.Sleep(time.Until(end)) // patience begins then
		within(t, "Send whose context ends", wg.Wait)
		sent()
		for _, r := range rs {
			r.wait(t, "Receive whose context ends")
		}
		last := begin(func() ([]byte, error) { gather(l, unordered{to}); return nil, nil })
		finish(t, from, []*call{last})
		l.audit(t, from.Capabilities().Reliable)
		t.Logf("%d calls of Send, %d ended by their contexts, %d messages", calls.Load(), failed.Load(), l.count())
	})
}

// unordered is a Conn from which order is not asked.
type unordered struct{ Conn }

func (u unordered) Capabilities() Capabilities {
	caps := u.Conn.Capabilities()
	caps.Ordered = false
	return caps
}
