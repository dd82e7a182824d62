//go:build linux

package channel_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Child processes are this test binary again: TestMain sees childEnv and runs
// the role that it names. A child hears lines on standard input and reports
// events, one JSON document a line, on standard output.

const (
	childEnv  = "SHMCHAN_CHILD"
	childArgs = "SHMCHAN_CHILD_ARGS"
	// watchdog ends a wait for something that must come, on a machine however
	// slow. It measures nothing.
	watchdog = 30 * time.Second
)

// children holds the roles that a child process can play. The argument is what
// the parent gave to spawn.
var children = map[string]func(c *child, args json.RawMessage){
	"nothing": func(*child, json.RawMessage) {},
}

// role registers what a child does. Called from variable declarations.
func role[A any](name string, run func(c *child, args A)) string {
	if _, dup := children[name]; dup {
		panic("two roles " + name)
	}
	children[name] = func(c *child, raw json.RawMessage) {
		var args A
		if len(raw) > 0 {
			c.must(json.Unmarshal(raw, &args))
		}
		run(c, args)
	}
	return name
}

func runChild(name string) {
	run, ok := children[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "child: no role %q\n", name)
		os.Exit(3)
	}
	run(&child{in: bufio.NewReader(os.Stdin)}, json.RawMessage(os.Getenv(childArgs)))
	os.Exit(0)
}

// child is a child process's own side.
type child struct {
	in *bufio.Reader
	mu sync.Mutex
}

type event struct {
	Name string
	Data json.RawMessage `json:",omitempty"`
}

// say reports an event to the parent.
func (c *child) say(name string, data any) {
	raw, err := json.Marshal(data)
	if err == nil {
		raw, err = json.Marshal(event{name, raw})
	}
	if err != nil {
		c.fatalf("say %s: %v", name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	os.Stdout.Write(append(raw, '\n'))
}

// hear waits for the parent's next line. A parent that is gone ends the child.
func (c *child) hear() string {
	line, err := c.in.ReadString('\n')
	if err != nil {
		os.Exit(4)
	}
	return line[:len(line)-1]
}

func (c *child) fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "child %d (%s): %s\n", os.Getpid(), os.Getenv(childEnv), fmt.Sprintf(format, args...))
	os.Exit(1)
}

func (c *child) must(err error) {
	if err != nil {
		c.fatalf("%v", err)
	}
}

// spawnJobs is served by one goroutine locked to a thread that never ends:
// Pdeathsig is sent when the *thread* that forked ends, not the process.
var spawnJobs = make(chan func())

func startSpawner() {
	go func() {
		runtime.LockOSThread()
		for job := range spawnJobs {
			job()
		}
	}()
}

func spawnerRun(job func()) {
	done := make(chan struct{})
	spawnJobs <- func() { defer close(done); job() }
	<-done
}

// proc is a child process as its parent sees it.
type proc struct {
	t      testing.TB
	role   string
	cmd    *exec.Cmd
	in     io.WriteCloser
	stderr bytes.Buffer
	events chan event    // closed at end of output
	done   chan struct{} // closed after Wait
	err    error         // of Wait, valid after done
}

type (
	execCmd     = exec.Cmd
	spawnOption func(*execCmd)
)

func withFiles(files ...*os.File) spawnOption {
	return func(cmd *exec.Cmd) { cmd.ExtraFiles = append(cmd.ExtraFiles, files...) }
}

func withSys(set func(*syscall.SysProcAttr)) spawnOption {
	return func(cmd *exec.Cmd) { set(cmd.SysProcAttr) }
}

// start runs a child in role. It dies with this process, and at the latest with the test.
func start(t testing.TB, role string, args any, opts ...spawnOption) (*proc, error) {
	t.Helper()
	if _, ok := children[role]; !ok {
		t.Fatalf("no role %q", role)
	}
	raw, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+role, childArgs+"="+string(raw))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for _, o := range opts {
		o(cmd)
	}
	p := &proc{t: t, role: role, cmd: cmd, events: make(chan event, 1<<16), done: make(chan struct{})}
	cmd.Stderr = &p.stderr
	if p.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	spawnerRun(func() { err = cmd.Start() })
	if err != nil {
		return nil, err
	}
	go p.serve(out)
	t.Cleanup(p.kill)
	return p, nil
}

func spawn(t testing.TB, role string, args any, opts ...spawnOption) *proc {
	t.Helper()
	p, err := start(t, role, args, opts...)
	if errors.Is(err, syscall.ENOEXEC) {
		t.Skip("this binary cannot start itself: emulated, and the emulator is not registered with binfmt_misc")
	}
	if err != nil {
		t.Fatalf("starting child %s: %v", role, err)
	}
	return p
}

func (p *proc) serve(out io.Reader) {
	r := bufio.NewReaderSize(out, 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			break
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			e = event{Name: "noise", Data: line}
		}
		p.events <- e
	}
	p.err = p.cmd.Wait()
	close(p.events)
	close(p.done)
}

// tell sends the child a line.
func (p *proc) tell(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatalf("telling child %s %q: %v%s", p.role, line, err, p.story())
	}
}

// next waits for the child's next event; ok is false when it ended without one.
func (p *proc) next() (e event, ok bool) {
	p.t.Helper()
	select {
	case e, ok = <-p.events:
		return e, ok
	case <-time.After(watchdog):
		p.hang("an event")
		return e, false
	}
}

// expect waits for the event of that name, which must be the next, and decodes
// its data into the pointers given.
func (p *proc) expect(name string, into ...any) {
	p.t.Helper()
	e, ok := p.next()
	if !ok {
		<-p.done
		p.t.Fatalf("child %s ended (%v) before %q%s", p.role, p.err, name, p.story())
	}
	if e.Name != name {
		p.t.Fatalf("child %s reports %q %s, want %q", p.role, e.Name, e.Data, name)
	}
	for _, v := range into {
		if err := json.Unmarshal(e.Data, v); err != nil {
			p.t.Fatalf("child %s, event %s: %v", p.role, name, err)
		}
	}
}

// wait waits for the child's end, which must be a good one.
func (p *proc) wait() {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(watchdog):
		p.hang("its end")
	}
	if p.err != nil {
		p.t.Fatalf("child %s: %v%s", p.role, p.err, p.story())
	}
}

// hang fails the test, with the child's goroutines where it still can say them.
func (p *proc) hang(waitingFor string) {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGCONT)
	p.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		p.kill()
	}
	p.t.Fatalf("child %s hangs: waited %v for %s%s", p.role, watchdog, waitingFor, p.story())
}

// story ends the child and says what it wrote to standard error.
func (p *proc) story() string {
	p.kill()
	s := p.stderr.String()
	if s == "" {
		return ""
	}
	if len(s) > 12000 {
		s = s[:8000] + "\n…\n" + s[len(s)-4000:]
	}
	return "\n" + s
}

// kill ends the child with SIGKILL, and returns when it is gone.
func (p *proc) kill() {
	p.in.Close()
	p.signal(syscall.SIGKILL)
	for {
		select {
		case <-p.events: // make room for serve
		case <-p.done:
			return
		}
	}
}

func (p *proc) signal(s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("signal %v to child %s: %v", s, p.role, err)
	}
}

// within runs f and fails the test if it does not end. f may fail the test with
// Error, not with Fatal.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	var hangs atomic.Bool
	go func() {
		defer close(done)
		defer func() { // f may come to an end, and to t.Errorf, long after the test
			if p := recover(); p != nil && !hangs.Load() {
				panic(p)
			}
		}()
		f()
	}()
	select {
	case <-done:
	case <-time.After(watchdog):
		hangs.Store(true)
		buf := make([]byte, 1<<20)
		t.Fatalf("%s: no end in %v\n%s", what, watchdog, buf[:runtime.Stack(buf, true)])
	}
}
