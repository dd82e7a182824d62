package fallback

import (
	"errors"
	"testing"
	"time"
)

func init() {
	checks = append(checks,
		check{name: "TryReceive does not wait", run: checkTryReceive, needs: needsOpen},
		check{name: "TrySend does not wait, and what it takes arrives", run: checkTrySend, needs: needsOpen},
	)
}

func checkTryReceive(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		requireEmpty(t, to)
		for i := range 10 {
			mustCarry(t, from, to, uint32(i))
			requireEmpty(t, to)
		}
	})
}

const (
	fillSize  = 1000
	fillCount = 50_000 // a carrier that takes so many is taken to drop what it has no room for
)

// fill sends until there is no room. It returns how many messages that took, and whether
// it has come to an end: a carrier that loses messages may never say that it is full.
func fill(t testing.TB, l *ledger, c Conn, sender uint32) (n int, full bool) {
	t.Helper()
	msg := make([]byte, min(fillSize, c.MaxMessage()))
	within(t, "TrySend", func() {
		// Over a network stack what is sent may move on, and make room, a little later.
		for refusals := 0; refusals < 4; {
			stamp(msg, sender, uint32(n))
			switch err := c.TrySend(msg); {
			case err == nil:
				l.send(sender, uint32(n), nil)
				n++
				refusals = 0
				if n == fillCount {
					return
				}
			case errors.Is(err, ErrWouldBlock):
				if refusals++; c.Capabilities().Network {
					time.Sleep(5 * time.Millisecond)
				}
			default:
				l.wrong("TrySend: %v", err)
				return
			}
		}
		full = true
	})
	if !full && c.Capabilities().Reliable {
		l.audit(t, false)
		t.Fatalf("TrySend has taken %d messages, which nobody receives", n)
	}
	return n, full
}

// drain receives n messages, which may come in any order, and says that there are no more.
func drain(t testing.TB, l *ledger, c Conn, n int) {
	t.Helper()
	within(t, "Receive of what was sent", func() {
		var buf []byte
		for range n {
			var err error
			if buf, err = c.Receive(forever, buf[:0]); err != nil {
				l.wrong("Receive of what was sent: %v", err)
				return
			}
			l.receive(buf)
		}
	})
	l.audit(t, true)
	requireEmpty(t, c)
}

func checkTrySend(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		if !from.Capabilities().Reliable {
			fill(t, newLedger(), from, 0)
			t.Skip("what does not fit is lost")
		}
		for round := range uint32(3) {
			l := newLedger()
			n, _ := fill(t, l, from, round)
			if n == 0 && from.Kind() != KindCrossMemory {
				t.Fatalf("TrySend takes nothing")
			}
			drain(t, l, to, n)
			mustCarry(t, from, to, round)
		}
	})
}
