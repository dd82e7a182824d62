package fallback

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A recorder is a testing.TB that keeps failures to itself, so that the suite can be
// shown to fail; and one whose cleanups run when its function ends.
type recorder struct {
	testing.TB // the test's own, for names and directories
	patience   time.Duration

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

// observe runs f, then its cleanups, and returns what f complained of.
func observe(t testing.TB, patience time.Duration, f func(t testing.TB)) (failures []string) {
	r := &recorder{TB: t, patience: patience}
	r.apart(func() { f(r) })
	for {
		r.mu.Lock()
		n := len(r.cleanups)
		if n == 0 {
			defer r.mu.Unlock()
			return r.failures
		}
		last := r.cleanups[n-1]
		r.cleanups = r.cleanups[:n-1]
		r.mu.Unlock()
		r.apart(last)
	}
}

// apart runs f on a goroutine of its own, which FailNow may end.
func (r *recorder) apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// scope runs f with a TB whose cleanups run at the end of f, not of the test.
func scope(t testing.TB, f func(t testing.TB)) {
	t.Helper()
	failures := observe(t, patienceOf(t), f)
	for _, s := range failures {
		t.Errorf("%s", s)
	}
	if len(failures) > 0 {
		t.FailNow()
	}
}

func (r *recorder) note(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, s)
}

func (r *recorder) Helper()                   {}
func (r *recorder) Error(args ...any)         { r.note(fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, a ...any) { r.note(fmt.Sprintf(f, a...)) }
func (r *recorder) Fatal(args ...any)         { r.Error(args...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...); runtime.Goexit() }
func (r *recorder) FailNow()                  { r.Fail(); runtime.Goexit() }

func (r *recorder) Fail() {
	if !r.Failed() {
		r.note("failed")
	}
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failures) > 0
}

// Skip ends f; the carrier has nothing to show here.
func (r *recorder) Skip(args ...any)         { r.Log(args...); runtime.Goexit() }
func (r *recorder) Skipf(f string, a ...any) { r.Logf(f, a...); runtime.Goexit() }
func (r *recorder) SkipNow()                 { runtime.Goexit() }

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// patienceOf is how long the test waits for what must happen, before it says that it
// does not. It times nothing: what works takes a fraction of it.
func patienceOf(t testing.TB) time.Duration {
	if r, ok := t.(*recorder); ok && r.patience > 0 {
		return r.patience
	}
	return 30 * time.Second
}

// patient is a context that ends when patience does.
func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patienceOf(t))
	t.Cleanup(cancel)
	return ctx
}

// within runs f, which must not use t, and fails if it does not return.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	begin(func() ([]byte, error) { f(); return nil, nil }).wait(t, what)
}

// A call is a method of a Conn at work on a goroutine of its own.
type call struct {
	id   chan int // the goroutine's number, once
	num  int
	done chan struct{}
	msg  []byte
	err  error
}

func begin(f func() ([]byte, error)) *call {
	c := &call{id: make(chan int, 1), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.id <- goroutineNumber()
		c.msg, c.err = f()
	}()
	return c
}

func beginSend(ctx context.Context, c Conn, msg []byte) *call {
	return begin(func() ([]byte, error) { return nil, c.Send(ctx, msg) })
}

func beginReceive(ctx context.Context, c Conn) *call {
	return begin(func() ([]byte, error) { return c.Receive(ctx, nil) })
}

// wait returns what the call did.
func (c *call) wait(t testing.TB, what string) ([]byte, error) {
	t.Helper()
	timer := time.NewTimer(patienceOf(t))
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		t.Fatalf("%s does not return", what)
	}
	return c.msg, c.err
}

func (c *call) returned() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// settle returns when the call's goroutine waits for something (true), has returned (false),
// or time is over (false). The runtime's own account of it is the event. A state that passes
// (a system call that does not block) is told from one that stays by looking several times.
func (c *call) settle(end time.Time) bool {
	if c.num == 0 {
		c.num = <-c.id
	}
	for seen, before := 0, ""; seen < 3; time.Sleep(time.Millisecond) {
		if c.returned() || time.Now().After(end) {
			return false
		}
		switch state := goroutineState(c.num); {
		case state == "" || state == "running" || state == "runnable":
			seen = 0
		case state == before:
			seen++
		default:
			seen, before = 1, state
		}
	}
	return true
}

// rests is settle, with patience.
func (c *call) rests(t testing.TB, what string) bool {
	t.Helper()
	rests := c.settle(time.Now().Add(patienceOf(t)))
	if !rests && !c.returned() {
		t.Fatalf("%s neither returns nor comes to rest", what)
	}
	return rests
}

// awaitBlocked is rests of a call that must not return.
func (c *call) awaitBlocked(t testing.TB, what string) {
	t.Helper()
	if !c.rests(t, what) {
		t.Fatalf("%s has to wait, but has returned: %v", what, c.err)
	}
}

func goroutineNumber() int {
	var buf [64]byte
	n := runtime.Stack(buf[:], false)
	num, _, _ := bytes.Cut(bytes.TrimPrefix(buf[:n], []byte("goroutine ")), []byte(" "))
	id, err := strconv.Atoi(string(num))
	if err != nil {
		panic(err)
	}
	return id
}

// goroutineState is what a stack dump has in brackets: "IO wait", "chan receive" …
func goroutineState(id int) string {
	buf := make([]byte, 1<<16)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	head := []byte("goroutine " + strconv.Itoa(id) + " [")
	i := bytes.Index(buf, head)
	if i < 0 {
		return ""
	}
	rest := buf[i+len(head):]
	if j := bytes.IndexAny(rest, "],"); j >= 0 {
		rest = rest[:j]
	}
	return string(rest)
}
