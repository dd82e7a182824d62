package fallback

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"
)

func init() {
	checks = append(checks,
		check{name: "a process is killed while it is idle", run: checkKilledIdle, needs: needsGive},
		check{name: "a process is killed while it sends", run: checkKilledSending, needs: needsGive},
		check{name: "a process is killed while it receives", run: checkKilledReceiving, needs: needsGive},
		check{name: "one of several senders is killed", run: checkKilledSender, needs: needsGive},
		check{name: "one of several receivers is killed", run: checkKilledReceiver, needs: needsGive},
	)
}

func checkKilledIdle(t testing.TB, c carrier) {
	caps := c.givenCapabilities(t)
	a, files, arg, release := c.giveTo(t)
	p := start(t, c, files, arg, task{Do: "idle"})
	if !caps.EndOfFile {
		p.kill()
		requireSuccessor(t, c, a, files, arg)
		return
	}
	release()
	if !caps.Receive {
		p.kill()
		requireBroken(t, a)
		return
	}
	r := beginReceive(forever, a)
	r.awaitBlocked(t, "Receive")
	p.kill()
	if _, err := r.wait(t, "Receive while the other process is killed"); !errors.Is(err, io.EOF) {
		t.Fatalf("Receive while the other process is killed: %v, want io.EOF", err)
	}
	if caps.Send {
		requireBroken(t, a)
	}
}

// requireSuccessor says that a carrier that does not notice its processes' ends serves
// another process after one was killed.
func requireSuccessor(t testing.TB, c carrier, a Conn, files []*os.File, arg string) {
	t.Helper()
	l := newLedger()
	switch caps := c.givenCapabilities(t); {
	case !caps.Reliable:
	case caps.Receive:
		p := start(t, c, files, arg, task{Do: "send", Sender: 1, Count: 20})
		collect(t, l, a, 1, 20)
		p.succeed(t)
	default:
		p := start(t, c, files, arg, task{Do: "receive"})
		within(t, "sending to a process", func() { stream(l, a, 1, 20) })
		dismiss(t, a, 1)
		l.received(t, p.succeed(t))
	}
	l.audit(t, true)
}

// killSoon kills p at a random instant of what it does.
func killSoon(p *process) *call {
	return begin(func() ([]byte, error) {
		time.Sleep(time.Duration(rand.IntN(4000)) * time.Microsecond)
		p.kill()
		return nil, nil
	})
}

// remainder receives until there is no more, and checks that it is the rest of one sender's
// stream: whole messages in order, from first on.
func remainder(t testing.TB, a Conn, l *ledger, next uint32, gone *call) {
	t.Helper()
	caps := a.Capabilities()
	within(t, "Receive of what a killed process has sent", func() {
		var buf []byte
		for quiet := 0; ; {
			var err error
			dead := gone.returned()
			if caps.EndOfFile {
				buf, err = a.Receive(forever, buf[:0])
			} else {
				buf, err = a.TryReceive(buf[:0])
			}
			switch {
			case errors.Is(err, io.EOF):
				if !caps.EndOfFile {
					l.wrong("Receive: io.EOF without the capability EndOfFile")
				}
				return
			case errors.Is(err, ErrWouldBlock):
				if dead {
					if quiet++; !caps.Network || quiet == 5 {
						return
					}
				}
				time.Sleep(200 * time.Microsecond)
				continue
			case err != nil:
				l.wrong("Receive of what a killed process has sent: %v", err)
				return
			}
			sender, seq, err := readMessage(buf)
			switch {
			case err != nil:
				l.wrong("from a killed process: %v", err)
			case caps.Reliable && caps.Ordered && seq != next || sender != 1:
				l.wrong("from a killed process: message %d came, %d is the next", seq, next)
			}
			next = seq + 1
		}
	})
	gone.wait(t, "a killed process's end")
	l.audit(t, false)
}

func checkKilledSending(t testing.TB, c carrier) {
	for round := range rounds(12) {
		scope(t, func(t testing.TB) {
			caps := c.givenCapabilities(t)
			if !caps.Receive {
				t.Skip("the child does not send")
			}
			a, files, arg, release := c.giveTo(t)
			filled := round%2 == 1 && caps.Reliable // then it is in mid-frame, mostly
			p := start(t, c, files, arg, task{Do: "send", Sender: 1, Large: 50_000 + rand.IntN(400_000), Full: filled})
			if caps.EndOfFile {
				release()
			}
			if filled {
				if line := p.line(t); line != "full" {
					t.Fatalf("a child that fills the carrier: %s", line)
				}
				p.kill()
			}
			gone := killSoon(p)
			if filled {
				gone.wait(t, "a killed process's end")
			}
			remainder(t, a, newLedger(), 0, gone)
			switch {
			case !caps.EndOfFile:
				requireSuccessor(t, c, a, files, arg)
			case caps.Send:
				requireBroken(t, a)
			}
		})
	}
}

func checkKilledReceiving(t testing.TB, c carrier) {
	for range rounds(8) {
		scope(t, func(t testing.TB) {
			caps := c.givenCapabilities(t)
			if !caps.Send || !caps.EndOfFile {
				t.Skip("the child does not receive, or its end is not noticed")
			}
			a, files, arg, release := c.giveTo(t)
			p := start(t, c, files, arg, task{Do: "receive"})
			release()
			gone := killSoon(p)
			_, err := begin(func() ([]byte, error) {
				for seq := uint32(0); ; seq++ {
					size := sizeOf(a, int(seq))
					if seq%3 == 2 {
						size = min(300_000, a.MaxMessage())
					}
					if err := a.Send(forever, message(1, seq, size)); err != nil {
						return nil, err
					}
				}
			}).wait(t, "Send to a killed process")
			if !errors.Is(err, syscall.EPIPE) {
				t.Errorf("Send to a killed process: %v, want EPIPE", err)
			}
			gone.wait(t, "a killed process's end")
			requireBroken(t, a)
			if caps.Receive {
				if _, err := beginReceive(forever, a).wait(t, "Receive from a killed process"); !errors.Is(err, io.EOF) {
					t.Errorf("Receive from a killed process: %v, want io.EOF", err)
				}
			}
		})
	}
}

// checkKilledSender: the messages of the others come, whatever the killed one was about.
func checkKilledSender(t testing.TB, c carrier) {
	for range rounds(8) {
		scope(t, func(t testing.TB) {
			if caps := c.givenCapabilities(t); !caps.ManySenders || !caps.Receive || !caps.Reliable {
				t.Skip("not several senders, or they may lose messages")
			}
			a, files, arg, release := c.giveTo(t)
			const doomed = 9
			n := rounds(60)
			p := start(t, c, files, arg, task{Do: "send", Sender: doomed, Large: 50_000 + rand.IntN(300_000)})
			others := []*process{
				start(t, c, files, arg, task{Do: "send", Sender: 1, Count: n, Large: 100_000}),
				start(t, c, files, arg, task{Do: "send", Sender: 2, Count: n}),
			}
			release()
			gone := killSoon(p)
			l := newLedger()
			for seq := range uint32(n) {
				l.send(1, seq, nil)
				l.send(2, seq, nil)
			}
			within(t, "receiving while one of the senders is killed", func() {
				next := map[uint32]uint32{}
				var buf []byte
				for got := 0; got < 2*n; {
					var err error
					if buf, err = a.Receive(forever, buf[:0]); err != nil {
						l.wrong("Receive while one of the senders is killed: %v", err)
						return
					}
					sender, seq, err := readMessage(buf)
					if err != nil || seq != next[sender] {
						l.wrong("Receive while one of the senders is killed: message %d of %d, %v; %d is next", seq, sender, err, next[sender])
						return
					}
					if next[sender]++; sender != doomed {
						l.receive(buf)
						got++
					}
				}
			})
			gone.wait(t, "a killed process's end")
			l.audit(t, true)
			for _, p := range others {
				p.succeed(t)
			}
		})
	}
}

// checkKilledReceiver: the killed one may take with it what it has received, and one
// message that it was about to; all others come.
func checkKilledReceiver(t testing.TB, c carrier) {
	for range rounds(6) {
		scope(t, func(t testing.TB) {
			if caps := c.givenCapabilities(t); !caps.ManyReceivers || !caps.Send || !caps.Reliable {
				t.Skip("not several receivers, or they may lose messages")
			}
			a, files, arg, release := c.giveTo(t)
			p := start(t, c, files, arg, task{Do: "receive"})
			others := []*process{
				start(t, c, files, arg, task{Do: "receive"}),
				start(t, c, files, arg, task{Do: "receive"}),
			}
			release()
			gone := killSoon(p)
			l := newLedger()
			within(t, "sending while one of the receivers is killed", func() { stream(l, a, 1, rounds(300)) })
			gone.wait(t, "a killed process's end")
			within(t, "sending after one of the receivers was killed", func() { stream(l, a, 2, rounds(100)) })
			dismiss(t, a, len(others))
			for _, p := range others {
				l.received(t, p.succeed(t))
			}
			for seq := range uint32(rounds(300)) {
				if l.got[entry{1, seq}] == 0 {
					delete(l.sent, entry{1, seq}) // it may have been the killed one's
				}
			}
			l.audit(t, true)
		})
	}
}
