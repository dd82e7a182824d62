package fallback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func init() {
	checks = append(checks,
		check{name: "messages of every size come as they were sent", run: checkSizes, needs: needsOpen},
		check{name: "a message that is too large is refused and nothing is sent", run: checkTooLarge, needs: needsOpen},
		check{name: "Receive appends to dst", run: checkAppend, needs: needsOpen},
		check{name: "msg is not kept", run: checkNotKept, needs: needsOpen},
		check{name: "a message costs no allocation", run: checkAllocations, needs: needsOpen, alone: true},
	)
}

// largest that the suite sends: a carrier may permit more than is worth the time.
const largest = 16 << 20

func sizesOf(c Conn) []int {
	sizes := []int{0, 1, 2, 3, 63, 64, 65, 4095, 4096, 4097, 65535, 65536, 65537, 1 << 20}
	most := c.MaxMessage()
	if most > largest {
		most = largest
	}
	sizes = slices.DeleteFunc(sizes, func(n int) bool { return n >= most })
	return append(sizes, most-1, most)
}

// pattern is n bytes that differ from those of another salt.
func pattern(n int, salt byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7+i>>8*13) ^ salt
	}
	return p
}

// carry sends msg and returns what is received, appended to dst. On a carrier that may
// lose messages it tries again.
func carry(t testing.TB, from, to Conn, msg, dst []byte) []byte {
	t.Helper()
	for try := 1; ; try++ {
		s := beginSend(forever, from, msg)
		ctx, cancel := forever, func() {}
		if !from.Capabilities().Reliable && try < 5 {
			ctx, cancel = context.WithTimeout(context.Background(), time.Second)
		}
		got, err := begin(func() ([]byte, error) { return to.Receive(ctx, dst) }).wait(t, "Receive")
		cancel()
		if _, err := s.wait(t, "Send"); err != nil {
			t.Fatalf("Send of %d bytes: %v", len(msg), err)
		}
		if ctx != nil && errors.Is(err, context.DeadlineExceeded) {
			continue
		}
		if err != nil {
			t.Fatalf("Receive of %d bytes: %v", len(msg), err)
		}
		return got
	}
}

// mustCarry is carry of a small message, and a check that it is that one.
func mustCarry(t testing.TB, from, to Conn, seq uint32) {
	t.Helper()
	msg := message(1, seq, 100)
	if got := carry(t, from, to, msg, nil); !bytes.Equal(got, msg) {
		t.Fatalf("sent message %d, received %s", seq, describe(got))
	}
}

func describe(m []byte) string {
	if len(m) > 24 {
		return fmt.Sprintf("%q…", m[:24])
	}
	return fmt.Sprintf("%q", m)
}

func checkSizes(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		for i, n := range sizesOf(from) {
			want := pattern(n, byte(i))
			if got := carry(t, from, to, want, nil); !bytes.Equal(got, want) {
				t.Fatalf("%d bytes sent, %d received, the same: false", n, len(got))
			}
		}
		requireEmpty(t, to)
	})
}

// requireEmpty says that there is nothing to receive.
func requireEmpty(t testing.TB, c Conn) {
	t.Helper()
	tryReceive := begin(func() ([]byte, error) { return c.TryReceive(nil) })
	if got, err := tryReceive.wait(t, "TryReceive"); !errors.Is(err, ErrWouldBlock) {
		t.Fatalf("TryReceive where nothing is to come: %d bytes %s, error %v", len(got), describe(got), err)
	}
}

func checkTooLarge(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		if from.MaxMessage() > 1<<30 {
			t.Skip("too large is more than this test wants to allocate")
		}
		msg := make([]byte, from.MaxMessage()+1)
		for what, send := range map[string]func() error{
			"Send":    func() error { return from.Send(forever, msg) },
			"TrySend": func() error { return from.TrySend(msg) },
			"Send with a context": func() error {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				return from.Send(ctx, msg)
			},
		} {
			_, err := begin(func() ([]byte, error) { return nil, send() }).wait(t, what)
			if !errors.Is(err, ErrTooLarge) {
				t.Fatalf("%s of MaxMessage+1 bytes: %v, want ErrTooLarge", what, err)
			}
		}
		requireEmpty(t, to)
		mustCarry(t, from, to, 1)
	})
}

func checkAppend(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		for _, n := range []int{0, 1, 100, min(5000, from.MaxMessage()), min(200_000, from.MaxMessage())} {
			msg := pattern(n, 5)
			for _, capacity := range []int{0, 3, 3 + n/2, 3 + n, 3 + n + 1, 3 + n + 5000} {
				dst := append(make([]byte, 0, capacity), "abc"[:min(3, capacity)]...)
				prefix := slices.Clone(dst)
				got := carry(t, from, to, msg, dst)
				if !bytes.Equal(got, append(prefix, msg...)) {
					t.Fatalf("%d bytes received behind %q in capacity %d: %s", n, prefix, capacity, describe(got))
				}
				if capacity >= len(got) && cap(dst) > 0 && &got[:1][0] != &dst[:1][0] {
					t.Fatalf("%d bytes received into capacity %d: another array", n, capacity)
				}
			}
		}
	})
}

func checkNotKept(t testing.TB, c carrier) {
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		for n := range 20 {
			msg := message(1, uint32(n), 1000)
			// A carrier may need its receiver for Send to return.
			r := beginReceive(patient(t), to)
			s := begin(func() ([]byte, error) {
				err := from.Send(forever, msg)
				clear(msg)
				return nil, err
			})
			if _, err := s.wait(t, "Send"); err != nil {
				t.Fatalf("Send: %v", err)
			}
			got, err := r.wait(t, "Receive")
			if err != nil {
				t.Fatalf("Receive: %v", err)
			}
			if _, _, err := readMessage(got); err != nil {
				t.Fatalf("message %d was changed after Send had returned: %v", n, err)
			}
		}
	})
}

func checkAllocations(t testing.TB, c carrier) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	eachWay(t, c, func(t testing.TB, from, to Conn) {
		msg, buf := message(1, 1, 64), make([]byte, 0, 256)
		got, stop := make(chan error), make(chan struct{})
		defer close(stop)
		go func() {
			for {
				_, err := to.Receive(forever, buf)
				select {
				case got <- err:
				case <-stop:
					return
				}
				if err != nil {
					return
				}
			}
		}()
		var failed error
		step := func() {
			if err := from.Send(forever, msg); err != nil {
				failed = err
				return
			}
			if err := <-got; err != nil {
				failed = err
			}
		}
		for range 100 {
			step()
		}
		most := float64(golden[c.name].allocs)
		if n := testing.AllocsPerRun(500, step); n > most {
			t.Errorf("%v allocations for each message, at most %v are expected", n, most)
		}
		if failed != nil {
			t.Errorf("while counting allocations: %v", failed)
		}
		from.Close()
		to.Close()
	})
}
