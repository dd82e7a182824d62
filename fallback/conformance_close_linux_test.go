package fallback

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
)

func init() {
	checks = append(checks,
		check{name: "Close wakes blocked Receives", run: checkCloseReceive, needs: needsOpen},
		check{name: "Close wakes blocked Sends", run: checkCloseSendBlocked, needs: needsOpen},
		check{name: "after Close every call says so", run: checkClosed, needs: needsOpen},
		check{name: "Close in the middle of traffic", run: checkCloseTraffic, needs: needsOpen},
		check{name: "CloseSend: the other side drains, then io.EOF, and the way back stays", run: checkHalfClose, needs: needsOpen},
		check{name: "Close: the other side drains, then io.EOF, and cannot send", run: checkCloseOther, needs: needsOpen},
		check{name: "the other side's Close wakes a blocked Send", run: checkCloseOtherBlocked, needs: needsOpen},
		check{name: "Close does not lose what the other side has sent before", run: checkCloseUnread, needs: needsOpen},
	)
}

func checkCloseReceive(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, _, to Conn) {
		blocked := []*call{beginReceive(forever, to), beginReceive(patient(t), to), beginReceive(context.Background(), to)}
		for _, r := range blocked {
			r.awaitBlocked(t, "Receive")
		}
		if _, err := begin(func() ([]byte, error) { return nil, to.Close() }).wait(t, "Close"); err != nil {
			t.Fatalf("Close: %v", err)
		}
		for _, r := range blocked {
			if _, err := r.wait(t, "Receive while Close is called"); !errors.Is(err, os.ErrClosed) {
				t.Fatalf("Receive while Close is called: %v", err)
			}
		}
	})
}

func checkCloseSendBlocked(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		l := newLedger()
		if _, full := fill(t, l, from, 1); !full {
			t.Skip("it is never full")
		}
		one, e1 := beginBlockedSend(t, l, forever, from, 2, min(fillSize, from.MaxMessage()))
		two, e2 := beginBlockedSend(t, l, patient(t), from, 3, min(100_000, from.MaxMessage()))
		blocked, entries := []*call{one, two}, []entry{e1, e2}
		if _, err := begin(func() ([]byte, error) { return nil, from.Close() }).wait(t, "Close"); err != nil {
			t.Fatalf("Close: %v", err)
		}
		for i, s := range blocked {
			_, err := s.wait(t, "Send while Close is called")
			if !errors.Is(err, os.ErrClosed) && (err != nil || !from.Capabilities().Network) {
				t.Fatalf("Send while Close is called: %v", err)
			}
			l.send(entries[i].sender, entries[i].seq, err)
		}
		if to.Capabilities().EndOfFile && to.Capabilities().Reliable {
			drainToEnd(t, l, to)
		}
	})
}

// drainToEnd receives all that was sent, then io.EOF, and io.EOF again.
func drainToEnd(t testing.TB, l *ledger, c Conn) {
	t.Helper()
	within(t, "Receive until io.EOF", func() {
		for {
			msg, err := c.Receive(forever, nil)
			if err != nil {
				if !errors.Is(err, io.EOF) {
					l.wrong("Receive after the other side's end: %v", err)
				} else if _, err := c.Receive(forever, nil); !errors.Is(err, io.EOF) {
					l.wrong("Receive after io.EOF: %v", err)
				} else if _, err := c.TryReceive(nil); !errors.Is(err, io.EOF) {
					l.wrong("TryReceive after io.EOF: %v", err)
				}
				return
			}
			l.receive(msg)
		}
	})
	l.audit(t, c.Capabilities().Reliable)
}

func checkClosed(t testing.TB, c carrier) {
	a, b := c.open(t)
	for _, end := range []Conn{a, b} {
		caps := end.Capabilities()
		if err := end.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		_ = end.MaxMessage()
		_ = end.Kind()
		if end.Capabilities() != caps {
			t.Errorf("Close changes the capabilities")
		}
		for _, r := range []struct {
			has  bool
			what string
			call func() error
		}{
			{true, "Close", end.Close},
			{caps.Send, "Send", func() error { return end.Send(forever, []byte("x")) }},
			{caps.Send, "Send with a context", func() error { return end.Send(patient(t), []byte("x")) }},
			{caps.Send, "TrySend", func() error { return end.TrySend([]byte("x")) }},
			{caps.Receive, "Receive", func() error { _, err := end.Receive(forever, nil); return err }},
			{caps.Receive, "Receive with a context", func() error { _, err := end.Receive(patient(t), nil); return err }},
			{caps.Receive, "TryReceive", func() error { _, err := end.TryReceive(nil); return err }},
			{caps.HalfClose && caps.Send, "CloseSend", end.CloseSend},
			{caps.Priorities && caps.Send, "SendPriority", func() error { return SendPriority(forever, end, []byte("x"), 1) }},
			{caps.Priorities && caps.Receive, "ReceivePriority", func() error { _, _, err := ReceivePriority(forever, end, nil); return err }},
			{caps.Descriptors && caps.Send, "SendFiles", func() error { return SendFiles(forever, end, []byte("x"), os.Stdin) }},
			{caps.Descriptors && caps.Receive, "ReceiveFiles", func() error { _, _, err := ReceiveFiles(forever, end, nil); return err }},
		} {
			if !r.has {
				continue
			}
			_, err := begin(func() ([]byte, error) { return nil, r.call() }).wait(t, r.what+" after Close")
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("%s after Close: %v, want os.ErrClosed", r.what, err)
			}
		}
	}
}

func checkCloseTraffic(t testing.TB, c carrier) {
	for round := range rounds(20) {
		scope(t, func(t testing.TB) {
			a, b := c.open(t)
			var calls []*call
			for _, w := range waysOf(a, b) {
				for s := range uint32(2) {
					calls = append(calls, begin(func() ([]byte, error) {
						for seq := uint32(0); ; seq++ {
							if err := w.from.Send(forever, message(s, seq, sizeOf(w.from, int(seq)))); err != nil {
								return nil, err
							}
						}
					}), begin(func() ([]byte, error) {
						for {
							msg, err := w.to.Receive(forever, nil)
							if err != nil {
								return nil, err
							}
							if _, _, err := readMessage(msg); err != nil {
								return nil, err
							}
						}
					}))
				}
			}
			for range round * 20 {
				runtime.Gosched()
			}
			first, second := a, b
			if round%2 == 1 {
				first, second = b, a
			}
			within(t, "Close", func() {
				first.Close()
				second.Close()
			})
			for _, call := range calls {
				_, err := call.wait(t, "a call while Close is called")
				if !errors.Is(err, os.ErrClosed) && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EPIPE) {
					t.Errorf("a call while Close is called: %v", err)
				}
			}
		})
	}
}

// sendSome sends n messages, at most four, that nobody receives: few and small enough for any
// carrier that holds messages at all.
func sendSome(t testing.TB, l *ledger, c Conn, n int) {
	t.Helper()
	for seq := range uint32(n) {
		msg := message(1, seq, 50+int(seq))
		l.send(1, seq, nil)
		if _, err := beginSend(forever, c, msg).wait(t, "Send"); err != nil {
			t.Fatalf("Send: %v", err)
		}
	}
}

// holds says that Send does not need a receiver at the same time.
func holds(c Conn) bool { return c.Kind() != KindCrossMemory }

func checkHalfClose(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		if !from.Capabilities().HalfClose {
			t.Skip("no half-close")
		}
		const n = 4
		l := newLedger()
		if holds(from) {
			sendSome(t, l, from, n)
		}
		if err := from.CloseSend(); err != nil {
			t.Fatalf("CloseSend: %v", err)
		}
		for what, call := range map[string]func() error{
			"CloseSend": from.CloseSend,
			"Send":      func() error { return from.Send(forever, []byte("x")) },
			"TrySend":   func() error { return from.TrySend([]byte("x")) },
		} {
			if _, err := begin(func() ([]byte, error) { return nil, call() }).wait(t, what); !errors.Is(err, os.ErrClosed) {
				t.Errorf("%s after CloseSend: %v, want os.ErrClosed", what, err)
			}
		}
		drainToEnd(t, l, to)
		if to.Capabilities().Send && from.Capabilities().Receive {
			transfer(t, to, from, 2, 2, 50)
		}
	})
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		if !from.Capabilities().HalfClose {
			t.Skip("no half-close")
		}
		r := beginReceive(forever, to)
		r.awaitBlocked(t, "Receive")
		if err := from.CloseSend(); err != nil {
			t.Fatalf("CloseSend: %v", err)
		}
		if _, err := r.wait(t, "Receive while the other side calls CloseSend"); !errors.Is(err, io.EOF) {
			t.Fatalf("Receive while the other side calls CloseSend: %v, want io.EOF", err)
		}
	})
}

func checkCloseOther(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		const n = 4
		l := newLedger()
		if holds(from) {
			sendSome(t, l, from, n)
		}
		if err := from.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		if !to.Capabilities().EndOfFile {
			if from.Capabilities().Reliable {
				drain(t, l, to) // and then nothing, without an error
			}
			return
		}
		drainToEnd(t, l, to)
		if to.Capabilities().Send && from.Capabilities().Receive {
			requireBroken(t, to)
		}
	})
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		if !from.Capabilities().EndOfFile {
			t.Skip("the other side's end is not noticed")
		}
		r := beginReceive(forever, to)
		r.awaitBlocked(t, "Receive")
		from.Close()
		if _, err := r.wait(t, "Receive while the other side closes"); !errors.Is(err, io.EOF) {
			t.Fatalf("Receive while the other side closes: %v, want io.EOF", err)
		}
	})
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		if !from.Capabilities().EndOfFile {
			t.Skip("the other side's end is not noticed")
		}
		to.Close()
		requireBroken(t, from)
	})
}

// requireBroken sends until it fails, with EPIPE: the first one or few may go out before the
// other side's end is known here.
func requireBroken(t testing.TB, c Conn) {
	t.Helper()
	_, err := begin(func() ([]byte, error) {
		for {
			if err := c.Send(forever, []byte("anybody there?")); err != nil {
				return nil, err
			}
			time.Sleep(time.Millisecond)
		}
	}).wait(t, "an error from Send to nobody")
	if !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("Send to nobody: %v, want EPIPE", err)
	}
	for _, what := range []string{"Send", "TrySend"} {
		send := func() error { return c.Send(forever, []byte("x")) }
		if what == "TrySend" {
			send = func() error { return c.TrySend([]byte("x")) }
		}
		if _, err := begin(func() ([]byte, error) { return nil, send() }).wait(t, what); !errors.Is(err, syscall.EPIPE) {
			t.Fatalf("%s to nobody, again: %v, want EPIPE", what, err)
		}
	}
}

func checkCloseOtherBlocked(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		if !from.Capabilities().EndOfFile {
			t.Skip("the other side's end is not noticed")
		}
		l := newLedger()
		if _, full := fill(t, l, from, 1); !full {
			t.Skip("it is never full")
		}
		one, _ := beginBlockedSend(t, l, forever, from, 2, min(fillSize, from.MaxMessage()))
		two, _ := beginBlockedSend(t, l, patient(t), from, 3, min(100_000, from.MaxMessage()))
		to.Close()
		for _, s := range []*call{one, two} {
			if _, err := s.wait(t, "Send while the other side closes"); !errors.Is(err, syscall.EPIPE) && (err != nil || !from.Capabilities().Network) {
				t.Fatalf("Send while the other side closes: %v, want EPIPE", err)
			}
		}
	})
}

// checkCloseUnread closes an end that has not received all: what it has sent itself
// arrives nevertheless.
func checkCloseUnread(t testing.TB, c carrier) {
	a, b := c.open(t)
	w := waysOf(a, b)
	if len(w) < 2 || !a.Capabilities().EndOfFile || !holds(a) {
		t.Skip("one direction, or no end of file")
	}
	for i := range w {
		scope(t, func(t testing.TB) {
			a, b := c.open(t)
			from, to := waysOf(a, b)[i].from, waysOf(a, b)[i].to
			const n = 4
			l := newLedger()
			sendSome(t, newLedger(), to, n)
			sendSome(t, l, from, n)
			from.Close()
			drainToEnd(t, l, to)
		})
	}
}
