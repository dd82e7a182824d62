package fallback

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The reference with processes: a socket of package net with a length before each
// message, or one that keeps messages apart by itself. It has no open: it is for the
// checks with children and with hostile bytes, and the faults below are what these must find.

func init() {
	carriers = append(carriers, procCarrier("reference stream", unix.SOCK_STREAM, ""), procCarrier("reference packet", unix.SOCK_SEQPACKET, ""))
	golden["reference stream"] = goldenRow{kind: KindShared, a: "Send Receive Ordered Reliable EndOfFile"}
	golden["reference packet"] = goldenRow{kind: KindShared, a: "Send Receive Ordered Reliable ManySenders ManyReceivers Boundaries EndOfFile"}
	for _, f := range processFaults {
		brokenProcesses = append(brokenProcesses, procCarrier(f.fault, unix.SOCK_STREAM, f.fault))
	}
}

var brokenProcesses []carrier

var processFaults = []struct{ fault, check string }{
	{"mixes the bytes of several senders", "several processes send"},
	{"delivers what a killed process has begun", "a process is killed while it sends"},
	{"calls a killed process's last frame unsound", "a process is killed while it sends"},
	{"does not see that a process was killed", "a process is killed while it is idle"},
	{"sends to the dead", "a process is killed while it receives"},
	{"falls over a killed sender's frame", "one of several senders is killed"},
	{"lets several receivers share a stream", "several processes receive"},
	{"goes on after ErrFrame", "hostile bytes end in ErrFrame, io.EOF or a message"},
	{"returns the kernel's error for a bad frame", "hostile bytes end in ErrFrame, io.EOF or a message"},
	{"delivers more than MaxMessage", "hostile bytes end in ErrFrame, io.EOF or a message"},
	{"believes a length", "a promised length costs no memory"},
	{"has no credentials but says so", "the kernel says which process is there"},
}

func TestSuiteFindsWhatIsBrokenBetweenProcesses(t *testing.T) {
	for i, f := range processFaults {
		t.Run(f.fault, func(t *testing.T) {
			k := findCheck(f.check)
			if !k.alone {
				t.Parallel()
			}
			var failures []string
			for try := 0; try < 20 && len(failures) == 0; try++ { // the instant of a death is left to chance
				failures = observe(t, 2*time.Second, func(t testing.TB) { k.run(t, brokenProcesses[i]) })
			}
			if len(failures) == 0 {
				t.Fatalf("a Conn that %s passes %q", f.fault, f.check)
			}
			t.Logf("found: %s", failures[0])
		})
	}
}

// procMax is more than the kernel takes at once, so that a frame can be there in part: its
// part is under 208 KiB. A packet has to be less than that.
const procMax, packetMax = 300_000, 100_000

type procConn struct {
	*net.UnixConn
	packets   bool
	fault     string
	send, rec sync.Mutex
	broken    bool
	buf       []byte
}

func newProcConn(f *os.File, packets bool, fault string) (*procConn, error) {
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	f.Close()
	return &procConn{UnixConn: c.(*net.UnixConn), packets: packets, fault: fault, buf: make([]byte, procMax)}, nil
}

func procCarrier(name string, kind int, fault string) carrier {
	packets := kind == unix.SOCK_SEQPACKET
	pair := func(t testing.TB) (Conn, *os.File) {
		fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatalf("socketpair: %v", err)
		}
		a, err := newProcConn(os.NewFile(uintptr(fds[0]), name), packets, fault)
		if err != nil {
			t.Fatalf("%v", err)
		}
		t.Cleanup(func() { a.Close() })
		b := os.NewFile(uintptr(fds[1]), name)
		t.Cleanup(func() { b.Close() })
		return a, b
	}
	c := carrier{
		name: name,
		give: func(t testing.TB) (Conn, []*os.File, string) {
			a, b := pair(t)
			return a, []*os.File{b}, ""
		},
		remake: func(string) (Conn, error) { return newProcConn(os.NewFile(3, name), packets, fault) },
	}
	if !packets {
		c.raw = func(t testing.TB) (Conn, func([]byte) error) {
			a, b := pair(t)
			return a, func(p []byte) error {
				_, err := b.Write(p)
				return err
			}
		}
	}
	return c
}

// until lets ctx's end, now or never, be the deadline: enough for one call at a time.
func (c *procConn) until(ctx context.Context, wait bool, set func(time.Time) error) {
	var end time.Time
	if ctx != nil {
		end, _ = ctx.Deadline()
	}
	if !wait {
		end = time.Now().Add(2 * time.Millisecond)
	}
	_ = set(end)
}

func (c *procConn) Send(ctx context.Context, msg []byte) error {
	c.send.Lock()
	defer c.send.Unlock()
	c.until(ctx, true, c.SetWriteDeadline)
	frame := msg
	if !c.packets {
		frame = append(binary.LittleEndian.AppendUint32(nil, uint32(len(msg))), msg...)
	}
	_, err := c.Write(frame)
	if errors.Is(err, syscall.ECONNRESET) {
		err = syscall.EPIPE
	}
	if c.fault == "sends to the dead" && errors.Is(err, syscall.EPIPE) {
		time.Sleep(10 * time.Millisecond)
		return nil
	}
	return err
}

func (c *procConn) TrySend(msg []byte) error { return c.Send(forever, msg) }

func (c *procConn) Receive(ctx context.Context, dst []byte) ([]byte, error) {
	return c.receive(ctx, dst, true)
}

func (c *procConn) TryReceive(dst []byte) ([]byte, error) { return c.receive(forever, dst, false) }

func (c *procConn) receive(ctx context.Context, dst []byte, wait bool) ([]byte, error) {
	c.rec.Lock()
	defer c.rec.Unlock()
	if c.broken {
		return dst, ErrFrame
	}
	c.until(ctx, wait, c.SetReadDeadline)
	if c.packets {
		n, err := c.Read(c.buf)
		return append(dst, c.buf[:n]...), socketError(err)
	}
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		if c.fault == "does not see that a process was killed" && errors.Is(err, io.EOF) {
			time.Sleep(3 * time.Second)
		}
		return dst, socketError(err)
	}
	n := int(min(binary.LittleEndian.Uint32(head[:]), 1<<30)) // an int has 32 bits on some CPUs
	if c.fault == "believes a length" {
		dst = slices.Grow(dst, min(n, 1<<26))
	}
	if n > procMax && (c.fault != "delivers more than MaxMessage" || n > 2*procMax) {
		switch c.fault {
		case "returns the kernel's error for a bad frame":
			return dst, syscall.EMSGSIZE
		case "goes on after ErrFrame":
			return dst, ErrFrame
		}
		c.broken = true
		return dst, ErrFrame
	}
	if n > procMax { // that fault does not wait for it to come
		return make([]byte, n), nil
	}
	for n > 0 {
		part, err := c.Read(c.buf[:min(n, 4096)])
		dst = append(dst, c.buf[:part]...)
		if n -= part; err == nil {
			continue
		}
		switch {
		case c.fault == "delivers what a killed process has begun" && errors.Is(err, io.EOF):
			return dst, nil
		case c.fault == "calls a killed process's last frame unsound" && errors.Is(err, io.EOF):
			return dst, ErrFrame
		}
		return dst, socketError(err)
	}
	return dst, nil
}

// socketError is a socket's error as a Conn says it.
func socketError(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET):
		return io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrWouldBlock
	}
	return err
}

func (c *procConn) CloseSend() error { return Refuse(KindShared, "half-close") }
func (c *procConn) MaxMessage() int {
	if c.packets {
		return packetMax
	}
	return procMax
}

func (c *procConn) Kind() Kind { return KindShared }
func (c *procConn) Peer() (Credentials, error) {
	return Credentials{}, Refuse(KindShared, "credentials")
}

func (c *procConn) Capabilities() Capabilities {
	return Capabilities{
		Send: true, Receive: true, Ordered: true, Reliable: true, EndOfFile: true, Boundaries: c.packets,
		ManySenders:   c.packets || c.fault == "mixes the bytes of several senders" || c.fault == "falls over a killed sender's frame",
		ManyReceivers: c.packets || c.fault == "lets several receivers share a stream",
		Credentials:   c.fault == "has no credentials but says so",
	}
}
