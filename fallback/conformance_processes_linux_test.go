package fallback

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	checks = append(checks,
		check{name: "a process at the other end", run: checkProcess, needs: needsGive},
		check{name: "several processes send", run: checkSendingProcesses, needs: needsGive},
		check{name: "several processes receive", run: checkReceivingProcesses, needs: needsGive},
		check{name: "the kernel says which process is there", run: checkPeerProcess, needs: needsGive},
		check{name: "messages outlive all processes", run: checkOutlives, needs: needsGive},
		check{name: "signals interrupt nothing", run: checkSignals, needs: needsGive},
	)
}

// give opens a carrier for children; release closes this process's copy of their end.
func (c carrier) giveTo(t testing.TB) (a Conn, files []*os.File, arg string, release func()) {
	t.Helper()
	a, files, arg = c.give(t)
	t.Cleanup(func() {
		a.Close()
		closeFiles(files)
	})
	return a, files, arg, func() { closeFiles(files) }
}

var (
	givenMu sync.Mutex
	given   = map[string]Capabilities{}
)

// givenCapabilities are those of the end whose other end a child has. They are asked for
// once, with a child there: until then an end that is set up by a handshake knows nothing.
func (c carrier) givenCapabilities(t testing.TB) Capabilities {
	t.Helper()
	givenMu.Lock()
	defer givenMu.Unlock()
	if caps, known := given[c.name]; known {
		return caps
	}
	scope(t, func(t testing.TB) {
		a, files, arg, release := c.giveTo(t)
		start(t, c, files, arg, task{Do: "idle"})
		release()
		within(t, "Capabilities", func() { given[c.name] = a.Capabilities() })
	})
	return given[c.name]
}

// dismiss tells n receiving processes, by an end for each, that there are no more messages.
func dismiss(t testing.TB, a Conn, n int) {
	t.Helper()
	tries := n
	if !a.Capabilities().Reliable {
		tries *= 20 // what an end that is too many does is nothing
	}
	for i := range tries {
		_, err := beginSend(forever, a, message(endSender, uint32(i), headerSize)).wait(t, "Send of an end")
		if i < n && err != nil {
			t.Fatalf("Send of an end: %v", err)
		}
		if tries > n {
			time.Sleep(time.Millisecond)
		}
	}
}

func checkProcess(t testing.TB, c carrier) {
	a, files, arg, release := c.giveTo(t)
	caps := c.givenCapabilities(t)
	n := rounds(150)
	switch {
	case caps.Send && caps.Receive:
		p := start(t, c, files, arg, task{Do: "echo"})
		release()
		echoes(t, a, n)
		dismiss(t, a, 1)
		p.succeed(t)
	case caps.Send:
		p := start(t, c, files, arg, task{Do: "receive"})
		release()
		l := newLedger()
		within(t, "sending to a process", func() { stream(l, a, 1, n) })
		dismiss(t, a, 1)
		l.received(t, p.succeed(t))
		l.audit(t, caps.Reliable)
	default:
		p := start(t, c, files, arg, task{Do: "send", Sender: 1, Count: n})
		release()
		l := newLedger()
		collect(t, l, a, 1, n)
		p.succeed(t)
		l.audit(t, caps.Reliable)
	}
}

// echoes sends messages to an echoing process, the largest among them, and compares.
func echoes(t testing.TB, a Conn, n int) {
	t.Helper()
	for seq := range uint32(n) {
		size := sizeOf(a, int(seq))
		if seq == uint32(n)/2 {
			size = min(a.MaxMessage(), 1<<20)
		}
		msg := message(1, seq, size)
		s := beginSend(forever, a, msg)
		got, err := beginReceive(patient(t), a).wait(t, "Receive of an echo")
		if _, err := s.wait(t, "Send"); err != nil {
			t.Fatalf("Send of %d bytes: %v", size, err)
		}
		if err != nil && !a.Capabilities().Reliable {
			continue
		}
		if err != nil || !bytes.Equal(got, msg) {
			t.Fatalf("message %d of %d bytes comes back as %d bytes %s, %v", seq, size, len(got), describe(got), err)
		}
	}
}

// collect receives n messages of each of so many senders, who send them in order.
func collect(t testing.TB, l *ledger, a Conn, senders, n int) {
	t.Helper()
	for s := range uint32(senders) {
		for seq := range uint32(n) {
			l.send(s+1, seq, nil)
		}
	}
	within(t, "receiving from processes", func() {
		next := map[uint32]uint32{}
		var buf []byte
		for range senders * n {
			var err error
			ctx := forever
			if !a.Capabilities().Reliable {
				ctx = patient(t)
			}
			if buf, err = a.Receive(ctx, buf[:0]); err != nil {
				l.wrong("Receive: %v", err)
				return
			}
			sender, seq, _ := l.receive(buf)
			if a.Capabilities().Ordered && seq < next[sender] {
				l.wrong("process %d: message %d came after %d", sender, seq, next[sender]-1)
			}
			next[sender] = seq + 1
		}
	})
}

func checkSendingProcesses(t testing.TB, c carrier) {
	a, files, arg, release := c.giveTo(t)
	if caps := c.givenCapabilities(t); !caps.ManySenders || !caps.Receive || !caps.Reliable {
		t.Skip("not several senders, or they may lose messages")
	}
	const senders = 3
	n := rounds(200)
	var ps []*process
	for s := range uint32(senders) {
		ps = append(ps, start(t, c, files, arg, task{Do: "send", Sender: s + 1, Count: n, Large: 100_000}))
	}
	release()
	l := newLedger()
	collect(t, l, a, senders, n)
	l.audit(t, true)
	for _, p := range ps {
		p.succeed(t)
	}
	if a.Capabilities().EndOfFile {
		if _, err := beginReceive(patient(t), a).wait(t, "Receive after the last sender's end"); !errors.Is(err, io.EOF) {
			t.Fatalf("Receive after the last sender's end: %v, want io.EOF", err)
		}
	}
}

func checkReceivingProcesses(t testing.TB, c carrier) {
	a, files, arg, release := c.giveTo(t)
	if caps := c.givenCapabilities(t); !caps.ManyReceivers || !caps.Send || !caps.Reliable {
		t.Skip("not several receivers, or they may lose messages")
	}
	const receivers = 3
	var ps []*process
	for range receivers {
		ps = append(ps, start(t, c, files, arg, task{Do: "receive"}))
	}
	release()
	l := newLedger()
	within(t, "sending to processes", func() { stream(l, a, 1, rounds(500)) })
	dismiss(t, a, receivers)
	for _, p := range ps {
		l.received(t, p.succeed(t))
	}
	l.audit(t, true)
}

func checkPeerProcess(t testing.TB, c carrier) {
	a, files, arg, release := c.giveTo(t)
	if !c.givenCapabilities(t).Credentials {
		t.Skip("no credentials")
	}
	p := start(t, c, files, arg, task{Do: "idle"})
	release()
	got, err := a.Peer()
	// Whose they are depends on who made the end: this process, or the child by connecting.
	if err != nil || got.UID != os.Getuid() || got.GID != os.Getgid() || got.PID != os.Getpid() && got.PID != p.cmd.Process.Pid {
		t.Errorf("the peer is %+v, %v; this is process %d, the child is %d", got, err, os.Getpid(), p.cmd.Process.Pid)
	}
	p.stdin.Close()
	p.succeed(t)
}

func checkOutlives(t testing.TB, c carrier) {
	a, files, arg, _ := c.giveTo(t)
	if caps := c.givenCapabilities(t); !caps.Outlives || !caps.Send || len(files) > 0 {
		t.Skip("messages go with the processes")
	}
	l := newLedger()
	sendSome(t, l, a, 3)
	a.Close() // nobody has it open now
	p := start(t, c, nil, arg, task{Do: "receive"})
	b, err := c.remakeSender(t, arg)
	if err != nil {
		t.Skip("the other end cannot be made again here: ", err)
	}
	dismiss(t, b, 1)
	l.received(t, p.succeed(t))
	l.audit(t, true)
}

// remakeSender is the end that children get, if it can send to them as well.
func (c carrier) remakeSender(t testing.TB, arg string) (Conn, error) {
	b, err := c.remake(arg)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { b.Close() })
	if !b.Capabilities().Send {
		return nil, errors.New("it receives only")
	}
	return b, nil
}

// checkSignals lets signals rain on a process that transfers: each system call of it may
// be interrupted, in the middle too.
func checkSignals(t testing.TB, c carrier) {
	a, files, arg, release := c.giveTo(t)
	caps := c.givenCapabilities(t)
	if !caps.Reliable {
		t.Skip("messages may be lost")
	}
	n := rounds(100)
	k := task{Do: "send", Sender: 1, Count: n, Large: 200_000}
	switch {
	case caps.Send && caps.Receive:
		k = task{Do: "echo"}
	case caps.Send:
		k = task{Do: "receive"}
	}
	p := start(t, c, files, arg, k)
	release()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = p.cmd.Process.Signal(unix.SIGUSR1)
				time.Sleep(30 * time.Microsecond)
			}
		}
	}()
	var once bool
	rest := func() {
		if !once {
			once = true
			close(stop)
			<-stopped
		}
	}
	defer rest()
	l := newLedger()
	switch k.Do {
	case "echo":
		echoes(t, a, n)
		dismiss(t, a, 1)
	case "receive":
		within(t, "sending to a process", func() { stream(l, a, 1, n) })
		dismiss(t, a, 1)
	default:
		collect(t, l, a, 1, n)
	}
	rest()
	lines := p.succeed(t)
	if k.Do == "receive" {
		l.received(t, lines)
	}
	l.audit(t, true)
}
