//go:build linux

package channel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/fallback"
)

// The sem_ tests look at a channel's meaning from inside one process. What a
// test blocks on is an event; semGrace is only how long a call that must block
// is watched before the test believes it: too short a watch can miss a fault,
// but never invent one.
const (
	semGrace    = 3 * time.Millisecond
	semPatience = 20 * time.Second
)

// semGuard is a test's watchdog. When the test stands still it fails the test
// with all goroutines' stacks and detaches every handle, which frees what is
// blocked; when even that does not help, it ends the process.
type semGuard struct {
	mu     sync.Mutex
	ended  bool
	detach []func() error
}

var semGuards sync.Map // testing.TB → *semGuard

func semWatch(t testing.TB) *semGuard {
	if g, ok := semGuards.Load(t); ok {
		return g.(*semGuard)
	}
	g := &semGuard{}
	semGuards.Store(t, g)
	timer := time.AfterFunc(semPatience, func() { g.bark(t) })
	t.Cleanup(func() {
		timer.Stop()
		g.mu.Lock()
		g.ended = true
		g.mu.Unlock()
		semGuards.Delete(t)
	})
	return g
}

func (g *semGuard) bark(t testing.TB) {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	g.mu.Lock()
	if g.ended {
		g.mu.Unlock()
		return
	}
	t.Errorf("watchdog: no end after %v\n%s", semPatience, buf)
	for _, detach := range g.detach {
		go detach()
	}
	g.mu.Unlock()
	time.Sleep(semPatience)
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ended {
		panic(fmt.Sprintf("%s: no end %v after every handle was detached", t.Name(), semPatience))
	}
}

// semOwn takes a constructor's results, which must be good, and sees to it that
// the handle is detached when the test ends.
func semOwn[T any](t testing.TB, c *channel.Chan[T], err error) *channel.Chan[T] {
	t.Helper()
	g := semWatch(t)
	require.NoError(t, err)
	require.NotNil(t, c)
	g.mu.Lock()
	g.detach = append(g.detach, c.Detach)
	g.mu.Unlock()
	t.Cleanup(func() {
		if err := c.Detach(); err != nil && !errors.Is(err, channel.ErrDetached) {
			t.Errorf("detach at the end: %v", err)
		}
	})
	return c
}

func semNew[T any](t testing.TB, capacity int, opts ...channel.Option) *channel.Chan[T] {
	t.Helper()
	c, err := channel.New[T](capacity, opts...)
	return semOwn(t, c, err)
}

func semOpen[T any](t testing.TB, name string, capacity int, opts ...channel.Option) *channel.Chan[T] {
	t.Helper()
	c, err := channel.Open[T](name, capacity, opts...)
	return semOwn(t, c, err)
}

func semCreate[T any](t testing.TB, name string, capacity int, opts ...channel.Option) *channel.Chan[T] {
	t.Helper()
	c, err := channel.Create[T](name, capacity, opts...)
	return semOwn(t, c, err)
}

func semAttach[T any](t testing.TB, name string, opts ...channel.Option) *channel.Chan[T] {
	t.Helper()
	c, err := channel.Attach[T](name, opts...)
	return semOwn(t, c, err)
}

func semOver[T any](t testing.TB, conn fallback.Conn, opts ...channel.Option) *channel.Chan[T] {
	t.Helper()
	c, err := channel.Over[T](conn, opts...)
	return semOwn(t, c, err)
}

// semOther is a second handle on c's object, by way of its file.
func semOther[T any](t testing.TB, c *channel.Chan[T], opts ...channel.Option) *channel.Chan[T] {
	t.Helper()
	f, err := c.File()
	require.NoError(t, err)
	defer f.Close()
	other, err := channel.FromFile[T](f, opts...)
	return semOwn(t, other, err)
}

// semWays are the ways for one process to get hold of both ends of a channel:
// through one handle, or through two.
var semWays = []string{"New", "Create", "Open", "Open+Open", "Create+Attach", "New+FromFile", "Create+FromFile", "Over", "Over+Over"}

// semTwoHandles are those of semWays that give two handles.
var semTwoHandles = semWays[3:]

// semConnect gives the sending and the receiving end. They may be one handle.
func semConnect[T any](t testing.TB, way string, capacity int, opts ...channel.Option) (tx, rx *channel.Chan[T]) {
	t.Helper()
	switch way {
	case "New":
		tx = semNew[T](t, capacity, opts...)
		rx = tx
	case "Create":
		tx = semCreate[T](t, uniqueName(t), capacity, opts...)
		rx = tx
	case "Open":
		tx = semOpen[T](t, uniqueName(t), capacity, opts...)
		rx = tx
	case "Open+Open":
		name := uniqueName(t)
		tx = semOpen[T](t, name, capacity, opts...)
		rx = semOpen[T](t, name, capacity, opts...)
	case "Create+Attach":
		name := uniqueName(t)
		tx = semCreate[T](t, name, capacity, opts...)
		rx = semAttach[T](t, name, opts...)
	case "New+FromFile":
		tx = semNew[T](t, capacity, opts...)
		rx = semOther(t, tx, opts...)
	case "Create+FromFile":
		tx = semCreate[T](t, uniqueName(t), capacity, opts...)
		rx = semOther(t, tx, opts...)
	case "Over":
		tx = semOver[T](t, memShared(1, capacity, 1<<24)[0], opts...)
		rx = tx
	case "Over+Over":
		ends := memShared(2, capacity, 1<<24)
		tx = semOver[T](t, ends[0], opts...)
		rx = semOver[T](t, ends[1], opts...)
	default:
		t.Fatalf("no way %q", way)
	}
	return tx, rx
}

type semMode struct {
	name string
	opt  channel.Option
}

var (
	semMPMC  = semMode{"MPMC", channel.MPMC()}
	semSPSC  = semMode{"SPSC", channel.SPSC()}
	semModes = []semMode{semMPMC, semSPSC}
)

// semShape is one cell of the table that most tests run over.
type semShape struct {
	way      string
	mode     semMode
	capacity int
}

// over says that the channel runs over a Conn.
func (s semShape) over() bool { return strings.HasPrefix(s.way, "Over") }

var semCapacities = []int{0, 1, 10, 1000, 4096}

// semEach runs f for every way, mode and capacity.
func semEach(t *testing.T, modes []semMode, capacities []int, f func(t *testing.T, s semShape)) {
	for _, way := range semWays {
		for _, mode := range modes {
			for _, capacity := range capacities {
				if strings.HasPrefix(way, "Over") && (mode.name == semSPSC.name || capacity == 0) {
					continue // a carrier has neither seats nor rendezvous
				}
				t.Run(fmt.Sprintf("%s/%s/cap=%d", way, mode.name, capacity), func(t *testing.T) {
					f(t, semShape{way, mode, capacity})
				})
			}
		}
	}
}

// semEachMode runs f for both modes.
func semEachMode(t *testing.T, f func(t *testing.T, mode channel.Option)) {
	for _, mode := range semModes {
		t.Run(mode.name, func(t *testing.T) { f(t, mode.opt) })
	}
}

func semMake[T any](t testing.TB, s semShape, opts ...channel.Option) (tx, rx *channel.Chan[T]) {
	t.Helper()
	return semConnect[T](t, s.way, s.capacity, append([]channel.Option{s.mode.opt}, opts...)...)
}

// semTask is a call under way in a goroutine of its own.
type semTask[R any] struct {
	done   chan struct{}
	result R
}

func semStart[R any](f func() R) *semTask[R] {
	k := &semTask[R]{done: make(chan struct{})}
	go func() {
		defer close(k.done)
		k.result = f()
	}()
	return k
}

// wait returns what the call returned. The watchdog ends it at the latest.
func (k *semTask[R]) wait() R {
	<-k.done
	return k.result
}

// blocks fails the test if the call ends while it is watched.
func (k *semTask[R]) blocks(t testing.TB, what string) {
	t.Helper()
	select {
	case <-k.done:
		t.Fatalf("%s: returned %v, and had to block", what, k.result)
	case <-time.After(semGrace):
	}
}

// semGot is what a receiving call gave.
type semGot[T any] struct {
	v   T
	err error
}

// semGate keeps an f of RecvFunc inside until it is opened, at the latest when
// the test has ended.
type semGate struct {
	once sync.Once
	ch   chan struct{}
}

func semNewGate(t testing.TB) *semGate {
	g := &semGate{ch: make(chan struct{})}
	t.Cleanup(g.open)
	return g
}

func (g *semGate) open() { g.once.Do(func() { close(g.ch) }) }
func (g *semGate) pass() { <-g.ch }

func semSend[T any](c *channel.Chan[T], v T) *semTask[error] {
	return semStart(func() error { return c.Send(v) })
}

func semRecv[T any](c *channel.Chan[T]) *semTask[semGot[T]] {
	return semStart(func() (g semGot[T]) {
		g.v, g.err = c.RecvContext(context.Background())
		return g
	})
}

// semIs checks what an error is and, without regard to case, what its text has.
func semIs(t testing.TB, err, target error, words ...string) {
	t.Helper()
	require.ErrorIs(t, err, target)
	semSays(t, err, words...)
}

// semSays checks the text of an error. "a|b" is satisfied by either.
func semSays(t testing.TB, err error, words ...string) {
	t.Helper()
	require.Error(t, err)
	text := strings.ToLower(err.Error())
	for _, word := range words {
		has := func(w string) bool { return strings.Contains(text, strings.ToLower(w)) }
		if !slices.ContainsFunc(strings.Split(word, "|"), has) {
			t.Fatalf("error %q does not say %q", err, word)
		}
	}
}

// semWant fails unless the next message is v.
func semWant[T any](t testing.TB, c *channel.Chan[T], v T) {
	t.Helper()
	got, err := c.TryRecv()
	require.NoError(t, err)
	require.Equal(t, v, got)
}

// semFill sends vs, for which there must be room.
func semFill[T any](t testing.TB, c *channel.Chan[T], vs ...T) {
	t.Helper()
	for i, v := range vs {
		require.NoError(t, c.TrySend(v), "message %d", i)
	}
}

// semDrained fails unless nothing is there.
func semDrained[T any](t testing.TB, c *channel.Chan[T]) {
	t.Helper()
	_, err := c.TryRecv()
	require.ErrorIs(t, err, channel.ErrEmpty)
	require.Zero(t, c.Len())
}

// semEnded fails unless every receiving call says that the channel has ended
// for the reason why: nil from Err means closed.
func semEnded[T any](t testing.TB, c *channel.Chan[T], why error) {
	t.Helper()
	var zero T
	calls := why
	if why == nil {
		calls = channel.ErrClosed
	}
	v, ok := c.Recv()
	require.False(t, ok)
	require.Equal(t, zero, v)
	if why == nil {
		require.NoError(t, c.Err())
	} else {
		require.ErrorIs(t, c.Err(), why)
	}
	_, err := c.TryRecv()
	require.ErrorIs(t, err, calls)
	_, err = c.RecvContext(context.Background())
	require.ErrorIs(t, err, calls)
	n, err := c.RecvBatch(make([]T, 3))
	require.ErrorIs(t, err, calls)
	require.Zero(t, n)
	err = c.RecvFunc(func(*T) error { t.Error("RecvFunc ran after the end"); return nil })
	require.ErrorIs(t, err, calls)
	for range c.All() {
		t.Fatal("All gave a message after the end")
	}
}

// semID names a message: who sent it, and which of his it is.
func semID(sender, i int) uint64 { return uint64(sender)<<32 | uint64(i) }

// semExact fails unless what was received, by receiver, is what was sent, by
// sender: each message once, and one sender's in its order at every receiver.
func semExact(t testing.TB, sent, got [][]uint64) {
	t.Helper()
	missing := map[uint64]bool{}
	for _, vs := range sent {
		for _, v := range vs {
			missing[v] = true
		}
	}
	total := len(missing)
	count := 0
	for r, vs := range got {
		last := map[uint64]uint64{}
		for _, v := range vs {
			count++
			if !missing[v] {
				t.Fatalf("receiver %d got %#x, which was not sent or came before", r, v)
			}
			delete(missing, v)
			if prev, ok := last[v>>32]; ok && prev >= v {
				t.Fatalf("receiver %d got %#x after %#x", r, v, prev)
			}
			last[v>>32] = v
		}
	}
	if len(missing) > 0 {
		lost := make([]uint64, 0, len(missing))
		for v := range missing {
			lost = append(lost, v)
		}
		slices.Sort(lost)
		t.Fatalf("%d of %d messages were lost, the first is %#x", total-count, total, lost[0])
	}
}

// semForm is one way to send or receive a message.
type semForm[F any] struct {
	name string
	call F
}

// semSendForms are all the ways to send. Without tries, only those that block;
// loans only where T has them.
func semSendForms[T any](tries, loans bool) []semForm[func(c *channel.Chan[T], v T) error] {
	type form = semForm[func(c *channel.Chan[T], v T) error]
	forms := []form{
		{"Send", func(c *channel.Chan[T], v T) error { return c.Send(v) }},
		{"SendContext", func(c *channel.Chan[T], v T) error {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			return c.SendContext(ctx, v)
		}},
		{"SendBatch", func(c *channel.Chan[T], v T) error {
			n, err := c.SendBatch([]T{v})
			if (n == 1) != (err == nil) {
				return fmt.Errorf("SendBatch of one: %d, %w", n, err)
			}
			return err
		}},
	}
	if tries {
		forms = append(forms, form{"TrySend", func(c *channel.Chan[T], v T) error {
			for {
				err := c.TrySend(v)
				if !errors.Is(err, channel.ErrFull) {
					return err
				}
				runtime.Gosched()
			}
		}})
	}
	if loans {
		forms = append(forms, form{"Reserve", func(c *channel.Chan[T], v T) error {
			l, err := c.Reserve()
			if err != nil {
				return err
			}
			*l.Value = v
			return l.Commit()
		}})
	}
	return forms
}

// semRecvForms are all the ways to receive. Without tries, only those that block.
func semRecvForms[T any](tries bool) []semForm[func(c *channel.Chan[T]) (T, error)] {
	type form = semForm[func(c *channel.Chan[T]) (T, error)]
	forms := []form{
		{"Recv", func(c *channel.Chan[T]) (v T, err error) {
			v, ok := c.Recv()
			if !ok {
				if err = c.Err(); err == nil {
					err = channel.ErrClosed
				}
			}
			return v, err
		}},
		{"RecvContext", func(c *channel.Chan[T]) (T, error) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			return c.RecvContext(ctx)
		}},
		{"RecvBatch", func(c *channel.Chan[T]) (v T, err error) {
			var buf [1]T
			n, err := c.RecvBatch(buf[:])
			if (n == 1) != (err == nil) {
				err = fmt.Errorf("RecvBatch of one: %d, %w", n, err)
			}
			return buf[0], err
		}},
		{"RecvFunc", func(c *channel.Chan[T]) (v T, err error) {
			err = c.RecvFunc(func(p *T) error { v = *p; return nil })
			return v, err
		}},
		{"All", func(c *channel.Chan[T]) (v T, err error) {
			for v := range c.All() {
				return v, nil
			}
			if err = c.Err(); err == nil {
				err = channel.ErrClosed
			}
			return v, err
		}},
	}
	if tries {
		forms = append(forms, form{"TryRecv", func(c *channel.Chan[T]) (T, error) {
			for {
				v, err := c.TryRecv()
				if !errors.Is(err, channel.ErrEmpty) {
					return v, err
				}
				runtime.Gosched()
			}
		}})
	}
	return forms
}

// semFewer is n, or a part of it where the race detector slows everything down.
func semFewer(n int) int {
	if semRace {
		return max(n/8, 1)
	}
	return n
}

func semRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)) }

func semPath(name string) string { return filepath.Join(shmDir, name) }
