package fallback

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A broken Conn is the reference with one fault. The suite must find each: a test that
// passes whatever it is given says nothing.
type broken struct {
	*refConn
	fault string

	mu   sync.Mutex
	n    int
	held []byte
	all  context.CancelFunc
	ctx  context.Context
	// released ends what a fault has left hanging, at the end of the test.
	released chan struct{}
}

// faults are the names of broken ones, and the check that must find it.
var faults = []struct{ fault, check string }{
	{"drops a message", "many goroutines on both ends: each message once"},
	{"doubles a message", "many goroutines on both ends: each message once"},
	{"reorders two messages", "what one sends is received in that order"},
	{"merges two messages", "what one sends is received in that order"},
	{"cuts a message", "messages of every size come as they were sent"},
	{"changes a bit", "messages of every size come as they were sent"},
	{"drops empty messages", "messages of every size come as they were sent"},
	{"keeps msg", "msg is not kept"},
	{"takes what is too large", "a message that is too large is refused and nothing is sent"},
	{"sends what it refuses as too large", "a message that is too large is refused and nothing is sent"},
	{"forgets dst", "Receive appends to dst"},
	{"has its own array", "Receive appends to dst"},
	{"allocates", "a message costs no allocation"},
	{"does not look at the context of Receive", "a context that ends wakes a blocked Receive"},
	{"does not look at the context of Send", "a context that ends wakes a blocked Send"},
	{"does not look at a context that has ended", "a context that has ended: nothing is sent or taken"},
	{"sends with a context that has ended", "a context that has ended: nothing is sent or taken"},
	{"takes with a context that has ended", "a context that has ended: nothing is sent or taken"},
	{"sends later what it reports as failed", "a storm of contexts loses nothing and sends nothing that it reports as failed"},
	{"loses what came while the context ended", "a storm of contexts loses nothing and sends nothing that it reports as failed"},
	{"ends all Receives with one", "contexts of two Receives do not meet"},
	{"ends all Sends with one", "contexts of two Sends do not meet"},
	{"passes no deadline", "a deadline passes"},
	{"waits in TryReceive", "TryReceive does not wait"},
	{"waits in TrySend", "TrySend does not wait, and what it takes arrives"},
	{"drops what TrySend has no room for", "TrySend does not wait, and what it takes arrives"},
	{"sends where TrySend says that it would block", "TrySend does not wait, and what it takes arrives"},
	{"does not wake Receive at Close", "Close wakes blocked Receives"},
	{"does not wake Send at Close", "Close wakes blocked Sends"},
	{"says io.EOF at its own Close", "Close wakes blocked Receives"},
	{"may be closed twice", "after Close every call says so"},
	{"sends after Close", "after Close every call says so"},
	{"panics not, but returns nothing, after Close", "after Close every call says so"},
	{"never says io.EOF", "Close: the other side drains, then io.EOF, and cannot send"},
	{"says io.EOF before the last message", "Close: the other side drains, then io.EOF, and cannot send"},
	{"sends to nobody", "Close: the other side drains, then io.EOF, and cannot send"},
	{"closes both ways at CloseSend", "CloseSend: the other side drains, then io.EOF, and the way back stays"},
	{"sends after CloseSend", "CloseSend: the other side drains, then io.EOF, and the way back stays"},
	{"pretends priorities", "higher priorities overtake"},
	{"pretends descriptors", "files are passed on"},
	{"pretends to be pollable", "poll says when there is a message"},
	{"pretends to half-close", "CloseSend: the other side drains, then io.EOF, and the way back stays"},
	{"pretends to know its peer", "the kernel says who is there"},
	{"has an ability that it denies", "what a carrier cannot do it refuses by name"},
	{"refuses under another's name", "what a carrier cannot do it refuses by name"},
	{"refuses without a name", "what a carrier cannot do it refuses by name"},
	{"is always readable", "poll says when there is a message"},
	{"reads ahead behind poll's back", "poll says when there is a message"},
	{"gives files to the wrong message", "files are passed on"},
	{"lets files be inherited", "files are passed on"},
	{"leaks files that nobody wants", "plain Receive closes the files that come along"},
	{"takes any number of files", "as many files as the kernel permits, no more"},
	{"leaks a goroutine", "goroutines and descriptors are given back"},
	{"leaks a descriptor", "goroutines and descriptors are given back"},
	{"changes its capabilities", "after Close every call says so"},
}

func TestSuiteFindsWhatIsBroken(t *testing.T) {
	for _, f := range faults {
		t.Run(strings.ReplaceAll(f.fault, " ", "_"), func(t *testing.T) {
			if raceEnabled && (f.fault == "allocates" || f.fault == "keeps msg") {
				t.Skip("the race detector allocates, and finds by itself that msg is kept")
			}
			k := findCheck(f.check)
			if !k.alone {
				t.Parallel()
			}
			released := make(chan struct{})
			c := carrier{name: "broken", open: func(t testing.TB) (Conn, Conn) {
				a, b := openReference(t)
				return newBroken(t, a, f.fault, released), newBroken(t, b, f.fault, released)
			}}
			failures := observe(t, 300*time.Millisecond, func(t testing.TB) { k.run(t, c) })
			close(released)
			if len(failures) == 0 {
				t.Fatalf("a Conn that %s passes %q", f.fault, f.check)
			}
			t.Logf("found: %s", strings.SplitN(failures[0], "\n", 2)[0])
		})
	}
}

func newBroken(t testing.TB, c *refConn, fault string, released chan struct{}) *broken {
	b := &broken{refConn: c, fault: fault, released: released}
	b.ctx, b.all = context.WithCancel(context.Background())
	t.Cleanup(b.all)
	return b
}

// turn is true at every n-th call.
func (b *broken) turn(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	return b.n%n == 0
}

func (b *broken) Send(ctx context.Context, msg []byte) error {
	dead := ctx != nil && ctx.Err() != nil
	switch b.fault {
	case "drops a message":
		if b.turn(20) && len(msg) != headerSize {
			return nil
		}
	case "doubles a message":
		if b.turn(20) {
			if err := b.refConn.Send(ctx, msg); err != nil {
				return err
			}
		}
	case "reorders two messages", "merges two messages":
		b.mu.Lock()
		defer b.mu.Unlock()
		b.n++
		switch {
		case b.n%20 == 5:
			b.held = append([]byte{}, msg...)
			return nil
		case b.held != nil:
			held := b.held
			b.held = nil
			if b.fault == "merges two messages" {
				return b.refConn.Send(ctx, append(held, msg...))
			}
			if err := b.refConn.Send(ctx, msg); err != nil {
				return err
			}
			return b.refConn.Send(ctx, held)
		}
	case "cuts a message":
		if len(msg) > 65536 {
			msg = msg[:65536]
		}
	case "changes a bit":
		if len(msg) > 4096 {
			msg = append([]byte{}, msg...)
			msg[4096] ^= 1
		}
	case "drops empty messages":
		if len(msg) == 0 {
			return nil
		}
	case "keeps msg":
		go func() {
			time.Sleep(5 * time.Millisecond)
			b.refConn.Send(ctx, msg)
		}()
		return nil
	case "takes what is too large":
		if len(msg) > refMax {
			msg = msg[:refMax]
		}
	case "sends what it refuses as too large":
		if len(msg) > refMax {
			b.refConn.Send(ctx, msg[:refMax])
			return ErrTooLarge
		}
	case "allocates":
		b.mu.Lock()
		b.held = make([]byte, 64)
		b.mu.Unlock()
	case "does not look at the context of Send":
		ctx = nil
	case "does not look at a context that has ended":
		if dead {
			ctx = nil
		}
	case "sends with a context that has ended":
		if dead {
			b.refConn.Send(forever, msg)
			return ctx.Err()
		}
	case "sends later what it reports as failed":
		err := b.refConn.Send(ctx, msg)
		if byContext(err) {
			go b.refConn.Send(forever, append([]byte{}, msg...))
		}
		return err
	case "ends all Sends with one":
		err := b.together(ctx, func(ctx context.Context) error { return b.refConn.Send(ctx, msg) })
		return err
	case "passes no deadline":
		return b.refConn.Send(noDeadline{ctx}.orNil(), msg)
	case "does not wake Send at Close":
		err := b.refConn.Send(ctx, msg)
		if errors.Is(err, os.ErrClosed) {
			<-b.released
		}
		return err
	case "sends after Close":
		if b.isClosed() {
			return nil
		}
	case "sends to nobody":
		if err := b.refConn.Send(ctx, msg); !errors.Is(err, syscall.EPIPE) {
			return err
		}
		return nil
	case "sends after CloseSend":
		if err := b.refConn.Send(ctx, msg); !errors.Is(err, os.ErrClosed) {
			return err
		}
		return nil
	}
	return b.refConn.Send(ctx, msg)
}

func (b *broken) isClosed() bool {
	b.in.mu.Lock()
	defer b.in.mu.Unlock()
	return b.closed
}

// together is a call that ends when any other's context does.
func (b *broken) together(ctx context.Context, call func(context.Context) error) error {
	stop := func() bool { return true }
	if ctx != nil {
		stop = context.AfterFunc(ctx, b.all)
	}
	defer stop()
	return call(b.ctx)
}

// noDeadline is a context without its deadline.
type noDeadline struct{ context.Context }

func (n noDeadline) orNil() context.Context {
	if n.Context == nil {
		return nil
	}
	if _, has := n.Context.Deadline(); has {
		return nil
	}
	return n.Context
}

func (b *broken) TrySend(msg []byte) error {
	switch b.fault {
	case "takes what is too large", "sends after Close":
		return b.Send(forever, msg)
	case "waits in TrySend":
		return b.refConn.Send(forever, msg)
	case "drops what TrySend has no room for":
		if err := b.refConn.TrySend(msg); !errors.Is(err, ErrWouldBlock) {
			return err
		}
		return nil
	case "sends where TrySend says that it would block":
		err := b.refConn.TrySend(msg)
		if err == nil && b.turn(30) {
			return ErrWouldBlock
		}
		return err
	}
	return b.refConn.TrySend(msg)
}

func (b *broken) Receive(ctx context.Context, dst []byte) ([]byte, error) {
	switch b.fault {
	case "forgets dst":
		return b.refConn.Receive(ctx, dst[:0])
	case "has its own array":
		return b.refConn.Receive(ctx, append([]byte{}, dst...))
	case "does not look at the context of Receive":
		ctx = nil
	case "does not look at a context that has ended":
		if ctx != nil && ctx.Err() != nil {
			ctx = nil
		}
	case "takes with a context that has ended":
		if ctx != nil && ctx.Err() != nil {
			b.refConn.TryReceive(nil)
			return dst, ctx.Err()
		}
	case "loses what came while the context ended":
		got, err := b.refConn.Receive(ctx, dst)
		if err == nil && ctx != nil && b.turn(50) {
			return dst, context.Canceled
		}
		return got, err
	case "ends all Receives with one":
		err := b.together(ctx, func(ctx context.Context) (err error) {
			dst, err = b.refConn.Receive(ctx, dst)
			return err
		})
		return dst, err
	case "passes no deadline":
		return b.refConn.Receive(noDeadline{ctx}.orNil(), dst)
	case "does not wake Receive at Close":
		got, err := b.refConn.Receive(ctx, dst)
		if errors.Is(err, os.ErrClosed) {
			<-b.released
		}
		return got, err
	case "says io.EOF at its own Close":
		got, err := b.refConn.Receive(ctx, dst)
		if errors.Is(err, os.ErrClosed) {
			err = io.EOF
		}
		return got, err
	case "panics not, but returns nothing, after Close":
		if b.isClosed() {
			return dst, nil
		}
	case "never says io.EOF":
		got, err := b.refConn.Receive(ctx, dst)
		if errors.Is(err, io.EOF) {
			<-b.released
		}
		return got, err
	case "says io.EOF before the last message":
		got, err := b.refConn.Receive(ctx, dst)
		b.in.mu.Lock()
		defer b.in.mu.Unlock()
		if b.in.ended && len(b.in.msgs) == 0 {
			return dst, io.EOF
		}
		return got, err
	case "leaks files that nobody wants":
		got, _, err := b.refConn.ReceiveFiles(ctx, dst)
		return got, err
	case "leaks a goroutine":
		go func() { <-b.released }()
	}
	return b.refConn.Receive(ctx, dst)
}

func (b *broken) TryReceive(dst []byte) ([]byte, error) {
	switch b.fault {
	case "waits in TryReceive":
		return b.refConn.Receive(forever, dst)
	case "reads ahead behind poll's back":
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.held != nil {
			dst = append(dst, b.held...)
			b.held = nil
			return dst, nil
		}
		got, err := b.refConn.TryReceive(dst)
		if ahead, err := b.refConn.TryReceive(nil); err == nil {
			b.held = ahead
		}
		return got, err
	}
	return b.refConn.TryReceive(dst)
}

func (b *broken) SendPriority(ctx context.Context, msg []byte, priority uint) error {
	if b.fault == "pretends priorities" {
		priority = 0
	}
	return b.refConn.SendPriority(ctx, msg, priority)
}

func (b *broken) SendFiles(ctx context.Context, msg []byte, files ...*os.File) error {
	switch b.fault {
	case "pretends descriptors":
		files = nil
	case "takes any number of files":
		files = files[:min(len(files), refFiles)]
	case "gives files to the wrong message":
		if len(files) == 3 {
			if err := b.refConn.SendFiles(ctx, msg, files[:2]...); err != nil {
				return err
			}
			return b.refConn.SendFiles(ctx, nil, files[2])
		}
	}
	return b.refConn.SendFiles(ctx, msg, files...)
}

func (b *broken) ReceiveFiles(ctx context.Context, dst []byte) ([]byte, []*os.File, error) {
	msg, files, err := b.refConn.ReceiveFiles(ctx, dst)
	for _, f := range files {
		if b.fault == "lets files be inherited" {
			unix.FcntlInt(f.Fd(), unix.F_SETFD, 0)
		}
	}
	return msg, files, err
}

func (b *broken) Capabilities() Capabilities {
	caps := b.refConn.Capabilities()
	switch b.fault {
	case "has an ability that it denies":
		caps.Descriptors = false
	case "refuses under another's name", "refuses without a name":
		caps.Credentials = false
	case "changes its capabilities":
		caps.Send = !b.isClosed()
	}
	return caps
}

func (b *broken) Peer() (Credentials, error) {
	switch b.fault {
	case "pretends to know its peer":
		return Credentials{PID: 1}, nil
	case "refuses under another's name":
		return Credentials{}, Refuse(KindUDP, "credentials")
	case "refuses without a name":
		return Credentials{}, errors.ErrUnsupported
	}
	return b.refConn.Peer()
}

func (b *broken) SyscallConn() (syscall.RawConn, error) {
	switch b.fault {
	case "pretends to be pollable":
		return nil, errors.ErrUnsupported
	case "is always readable":
		b.in.mu.Lock()
		b.in.raise(1)
		b.in.mu.Unlock()
	}
	return b.refConn.SyscallConn()
}

func (b *broken) CloseSend() error {
	switch b.fault {
	case "pretends to half-close":
		return nil
	case "closes both ways at CloseSend":
		return b.Close()
	}
	return b.refConn.CloseSend()
}

func (b *broken) Close() error {
	err := b.refConn.Close()
	switch b.fault {
	case "may be closed twice":
		return nil
	case "leaks a descriptor":
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err == nil {
			go func() {
				<-b.released
				unix.Close(fd)
			}()
		}
	}
	return err
}
