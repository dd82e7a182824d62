package fallback

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"
)

func init() {
	checks = append(checks,
		check{name: "what one sends is received in that order", run: checkOrder, needs: needsOpen},
		check{name: "many goroutines on both ends: each message once", run: checkMany, needs: needsOpen},
		check{name: "both directions at once", run: checkDuplex, needs: needsOpen},
	)
}

// stream sends n mixed messages, and reports how that went to l. On a carrier that may
// lose messages it waits for each one to come, or for a while.
func stream(l *ledger, c Conn, sender uint32, n int) {
	for seq := range uint32(n) {
		msg := message(sender, seq, sizeOf(c, int(seq)))
		before := l.count()
		l.send(sender, seq, nil) // entered first: it may arrive before Send returns
		if err := c.Send(forever, msg); err != nil {
			l.send(sender, seq, err)
			l.wrong("Send of %d bytes, the %d-th of sender %d: %v", len(msg), seq, sender, err)
			return
		}
		if !c.Capabilities().Reliable {
			for end := time.Now().Add(100 * time.Millisecond); l.count() == before && time.Now().Before(end); {
				time.Sleep(50 * time.Microsecond)
			}
		}
	}
}

// gather receives until an end, and checks that each sender's messages come in order.
func gather(l *ledger, c Conn) {
	next := map[uint32]uint32{}
	var buf []byte
	for {
		var err error
		if buf, err = c.Receive(forever, buf[:0]); err != nil {
			if !errors.Is(err, io.EOF) {
				l.wrong("Receive: %v", err)
			}
			return
		}
		sender, seq, end := l.receive(buf)
		if end {
			return
		}
		if c.Capabilities().Ordered && seq < next[sender] {
			l.wrong("sender %d: message %d came after %d", sender, seq, next[sender]-1)
		}
		next[sender] = seq + 1
	}
}

// finish sends an end for each gather, again on a carrier that may lose it, and waits for
// all of them.
func finish(t testing.TB, c Conn, receivers []*call) {
	t.Helper()
	for try := uint32(0); ; try++ {
		for range receivers {
			if _, err := beginSend(forever, c, message(endSender, try, headerSize)).wait(t, "Send of an end"); err != nil {
				t.Fatalf("Send of an end: %v", err)
			}
		}
		if !c.Capabilities().Reliable {
			time.Sleep(time.Millisecond)
		}
		if c.Capabilities().Reliable || !slices.ContainsFunc(receivers, func(r *call) bool { return !r.returned() }) || try == 1000 {
			break
		}
	}
	for _, r := range receivers {
		r.wait(t, "the last Receive")
	}
}

// transfer has several goroutines at each end.
func transfer(t testing.TB, from, to Conn, senders, receivers, n int) {
	t.Helper()
	l := newLedger()
	var rs []*call
	for range receivers {
		rs = append(rs, begin(func() ([]byte, error) { gather(l, to); return nil, nil }))
	}
	within(t, fmt.Sprintf("sending by %d goroutines to %d", senders, receivers), func() {
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() { stream(l, from, uint32(s), n) })
		}
		wg.Wait()
	})
	finish(t, from, rs)
	reliable := from.Capabilities().Reliable
	if n := l.count(); !reliable && n == 0 {
		t.Fatalf("not one message has come")
	}
	l.audit(t, reliable)
}

func checkOrder(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) { transfer(t, from, to, 1, 1, rounds(800)) })
}

func checkMany(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		transfer(t, from, to, 4, 3, rounds(300))
		if from.Capabilities().Reliable { // else an end may be left, of those sent again
			requireEmpty(t, to)
		}
	})
}

func checkDuplex(t testing.TB, c carrier) {
	a, b := c.open(t)
	w := waysOf(a, b)
	if len(w) < 2 {
		t.Skip("one direction")
	}
	var both []*call
	for _, w := range w {
		both = append(both, begin(func() ([]byte, error) {
			for _, s := range observe(t, patienceOf(t), func(t testing.TB) { transfer(t, w.from, w.to, 2, 2, rounds(200)) }) {
				t.Errorf("%s", s)
			}
			return nil, nil
		}))
	}
	for _, b := range both {
		<-b.done
	}
}
