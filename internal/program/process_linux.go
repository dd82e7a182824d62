package program

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// signalled and the signal's number is the status of a process that a signal has ended, as
// shells have it.
const signalled = 128

// Process is a program that runs, or that Start will start. Until then the fields of
// its Cmd may be set. It leads a process group of its own.
type Process struct {
	*exec.Cmd
	Out, Err *Output // unless Stdout or Stderr is set to something else

	t      testing.TB
	ctx    context.Context // the watchdog's
	cancel context.CancelFunc
	ended  chan struct{} // closed when it is
	failed error         // of Wait; to be looked at when it has ended
}

// New is a process that is still to be started.
func New(t testing.TB, path string, args ...string) *Process {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	p := &Process{
		Cmd: exec.CommandContext(ctx, path, args...), Out: newOutput(), Err: newOutput(),
		t: t, ctx: ctx, cancel: cancel, ended: make(chan struct{}),
	}
	p.Stdout, p.Stderr = p.Out, p.Err
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.Cancel = func() error { return syscall.Kill(-p.Process.Pid, syscall.SIGKILL) }
	p.WaitDelay = time.Second // for what still has its output open
	return p
}

// Start starts it and returns p.
func (p *Process) Start() *Process {
	p.t.Helper()
	if err := p.Cmd.Start(); err != nil {
		p.cancel()
		p.t.Fatal(err)
	}
	go func() {
		p.failed = p.Cmd.Wait()
		close(p.ended)
	}()
	p.t.Cleanup(func() {
		p.cancel()
		<-p.ended
	})
	return p
}

// Start starts a program.
func Start(t testing.TB, path string, args ...string) *Process {
	t.Helper()
	return New(t, path, args...).Start()
}

// Run runs a program to its end, which must be a good one, and returns what it printed.
func Run(t testing.TB, path string, args ...string) string {
	t.Helper()
	p := Start(t, path, args...)
	p.Ends(0)
	return p.Out.String()
}

// Status waits for the end and returns the exit status, as a shell would say it.
func (p *Process) Status() int {
	p.t.Helper()
	<-p.ended
	if errors.Is(p.ctx.Err(), context.DeadlineExceeded) {
		p.t.Errorf("%v was killed after %v", p.Args[1:], Patience)
	}
	var exit *exec.ExitError
	if p.failed != nil && !errors.As(p.failed, &exit) && !errors.Is(p.failed, exec.ErrWaitDelay) {
		p.t.Errorf("%v: %v", p.Args[1:], p.failed)
	}
	status := p.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return signalled + int(status.Signal())
	}
	return status.ExitStatus()
}

// Ends waits for the end, which must have this status, and said must be what, among other
// things, stands on the standard error then.
func (p *Process) Ends(status int, said ...string) {
	p.t.Helper()
	if got := p.Status(); got != status {
		p.t.Fatalf("%v ended with status %d, want %d: %s", p.Args[1:], got, status, p.Err)
	}
	text := p.Err.String()
	for _, part := range said {
		if !strings.Contains(text, part) {
			p.t.Fatalf("%v said %q, want something with %q", p.Args[1:], text, part)
		}
	}
	for _, trace := range []string{"panic: ", "fatal error: ", "goroutine "} {
		if strings.Contains(text, trace) {
			p.t.Fatalf("%v: %s", p.Args[1:], text)
		}
	}
}

// Signal sends it a signal. One that has just ended does not mind.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// Line waits for the next line that it prints, and returns it without its end.
func (p *Process) Line() string {
	p.t.Helper()
	return p.line(p.Out)
}

// ErrLine does so for the standard error.
func (p *Process) ErrLine() string {
	p.t.Helper()
	return p.line(p.Err)
}

func (p *Process) line(o *Output) string {
	p.t.Helper()
	for ended := false; ; {
		if line, ok := o.next(); ok {
			return line
		}
		if ended {
			p.t.Fatalf("%v has ended and printed no further line: %s", p.Args[1:], p.Err)
		}
		select {
		case <-o.more:
		case <-p.ended:
			ended = true
		}
	}
}

// Output is what a process has printed so far. Its methods may be called at any time.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
	seen int           // bytes that next has returned
	more chan struct{} // holds an item when something may have come
}

func newOutput() *Output { return &Output{more: make(chan struct{}, 1)} }

func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	select {
	case o.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

// next is the first line that was not returned yet, if it is whole.
func (o *Output) next() (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	line, _, ok := bytes.Cut(o.text.Bytes()[o.seen:], []byte{'\n'})
	if ok {
		o.seen += len(line) + 1
	}
	return string(line), ok
}

// Len is how many bytes that is.
func (o *Output) Len() int { return len(o.String()) }

// String is all of it, also what Line has returned.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
