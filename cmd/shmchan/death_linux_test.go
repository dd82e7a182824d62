package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/internal/program"
)

// pipe is a standard input, or output, that the test holds the other end of.
type pipe struct {
	t *testing.T
	r *os.File
	w *os.File
}

func newPipe(t *testing.T) *pipe {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	return &pipe{t, r, w}
}

func (p *pipe) write(text string) {
	p.t.Helper()
	_, err := p.w.WriteString(text)
	require.NoError(p.t, err)
}

func (p *pipe) close() { require.NoError(p.t, p.w.Close()) }

// signs is an output that can be waited for.
type signs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *signs) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *signs) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func (s *signs) shows(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(s.String(), text) }, program.Patience, time.Millisecond)
}

func TestASenderThatBreaksOffLeavesTheReceiverWhatItSent(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		status int
	}{{syscall.SIGKILL, 137}, {syscall.SIGINT, 130}, {syscall.SIGTERM, 143}, {syscall.SIGHUP, 129}} {
		t.Run(c.signal.String(), func(t *testing.T) {
			name, stdin, out := newName(t), newPipe(t), &signs{}
			s := start(t, stdin.r, "send", name)
			r := startTo(t, nil, out, "recv", name)
			stdin.write("half a")
			out.shows(t, "half a")
			s.Signal(c.signal)
			s.ends(c.status)
			r.ends(3, "without closing")
			assert.Equal(t, "half a", out.String())
			assert.False(t, exists(name))
		})
	}
}

func TestAReceiverWhoseSenderDiedBeforeItCame(t *testing.T) {
	name, stdin := newName(t), newPipe(t)
	s := start(t, stdin.r, "send", name)
	stdin.write("half a")
	seen(t, name, func(s channel.Stats) bool { return s.Sent > 0 })
	s.Signal(syscall.SIGKILL)
	s.ends(137)

	quick(t, "x", "send", name).ends(1, "did not finish", "shmchan recv", "shmchan rm")
	r := quick(t, "", "recv", name)
	r.ends(3, "without closing")
	assert.Equal(t, "half a", r.Out.String())
	assert.False(t, exists(name))
}

func TestAReceiverThatDiesEndsTheSenderQuietly(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		status int
	}{{syscall.SIGKILL, 137}, {syscall.SIGINT, 130}, {syscall.SIGTERM, 143}} {
		t.Run(c.signal.String(), func(t *testing.T) {
			name, stdin, out := newName(t), newPipe(t), &signs{}
			s := start(t, stdin.r, "send", "--lines", name)
			r := startTo(t, nil, out, "recv", "--lines", name)
			stdin.write("a\n")
			out.shows(t, "a\n")
			r.Signal(c.signal)
			r.ends(c.status)
			for gone := false; !gone; { // as with a pipe, it notices when it sends
				_, err := stdin.w.WriteString("b\n")
				gone = errors.Is(err, syscall.EPIPE)
				stdin.r.Close() // only the sender reads
			}
			s.ends(141)
			assert.False(t, exists(name))
		})
	}
}

func TestAReceiverThatWasKilledBeforeASenderCameStopsNobody(t *testing.T) {
	name := newName(t)
	r := start(t, nil, "recv", name)
	seen(t, name, receiving)
	r.Signal(syscall.SIGKILL)
	r.ends(137)
	require.True(t, exists(name))
	quick(t, "x", "send", name).ends(0)
	r = quick(t, "", "recv", name)
	r.ends(0)
	assert.Equal(t, "x", r.Out.String())
}

func TestASenderBlockedOnAFullChannelSeesItsReceiverDie(t *testing.T) {
	name, out := newName(t), newPipe(t)
	s := start(t, newStream(1<<40), "send", "--capacity=4", name)
	r := startTo(t, nil, out.w, "recv", "--capacity=4", name) // nobody reads: it gets stuck
	seen(t, name, func(s channel.Stats) bool { return s.Receivers > 0 && s.Sent-s.Received >= 4 })
	r.Signal(syscall.SIGKILL)
	r.ends(137)
	s.ends(141)
	assert.False(t, exists(name))
}

func TestAnInterruptLeavesNothingBehind(t *testing.T) {
	name := newName(t)
	r := start(t, nil, "recv", name)
	seen(t, name, receiving)
	r.Signal(syscall.SIGINT)
	r.ends(130)
	assert.False(t, exists(name), "a receiver that no sender has joined")

	stdin := newPipe(t)
	s := start(t, stdin.r, "send", name)
	seen(t, name, sending)
	s.Signal(syscall.SIGINT)
	s.ends(130)
	assert.False(t, exists(name), "a sender that waits for input")

	s = start(t, newStream(1<<40), "send", "--capacity=4", name)
	seen(t, name, func(s channel.Stats) bool { return s.Sent == 4 })
	s.Signal(syscall.SIGTERM)
	s.ends(143)
	assert.False(t, exists(name), "a sender on a full channel")
}

func TestAnInterruptOfBothSidesAtOnceLeavesNothingBehind(t *testing.T) {
	name := newName(t)
	for range 20 {
		out := newPipe(t)
		s := start(t, newStream(1<<40), "send", name)
		r := startTo(t, nil, out.w, "recv", name)
		seen(t, name, func(s channel.Stats) bool { return s.Receivers > 0 && s.Senders > 0 })
		s.Signal(syscall.SIGINT)
		r.Signal(syscall.SIGINT)
		assert.Contains(t, []int{130, 141}, s.Status())
		assert.Contains(t, []int{130, 3}, r.Status())
		assert.False(t, exists(name))
		out.r.Close()
		out.w.Close()
	}
}

func TestAnInterruptedReceiverLeavesAFinishedStreamToTheNext(t *testing.T) {
	name, out := newName(t), newPipe(t)
	quick(t, strings.Repeat("x", 1<<20), "send", name).ends(0)
	r := startTo(t, nil, out.w, "recv", name) // gets stuck on the full pipe
	seen(t, name, func(s channel.Stats) bool { return s.Received > 0 })
	r.Signal(syscall.SIGINT)
	r.ends(130)
	require.True(t, exists(name))
	r = quick(t, "", "recv", name)
	r.ends(0)
	assert.NotEmpty(t, r.Out.String())
	assert.Less(t, r.Out.Len(), 1<<20)
	assert.False(t, exists(name))
}

func TestAnIgnoredInterruptStaysIgnored(t *testing.T) {
	name := newName(t)
	r := launch(t, nil, nil, "sh", "-c", `trap '' INT; exec $RECV `+name)
	seen(t, name, receiving)
	r.Signal(syscall.SIGINT)
	quick(t, "x", "send", name).ends(0)
	r.ends(0)
	assert.Equal(t, "x", r.Out.String())
}
