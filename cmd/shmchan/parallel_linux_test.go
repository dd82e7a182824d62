package main

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

func TestASecondSenderOrReceiverIsToldSoAndDisturbsNobody(t *testing.T) {
	name, stdin := newName(t), newPipe(t)
	s := start(t, stdin.r, "send", name)
	r := start(t, nil, "recv", name)
	seen(t, name, func(s channel.Stats) bool { return s.Senders > 0 && s.Receivers > 0 })
	quick(t, "intruder", "send", name).ends(1, "busy", "--mpmc")
	quick(t, "", "recv", name).ends(1, "busy", "--mpmc")
	require.True(t, exists(name))
	stdin.write("x")
	stdin.close()
	s.ends(0)
	r.ends(0)
	assert.Equal(t, "x", r.Out.String())
}

func TestManySendersAndReceiversShareAChannel(t *testing.T) {
	const senders, receivers, each = 3, 3, 3000
	name := newName(t)
	var recv, send []*process
	for range receivers {
		recv = append(recv, start(t, nil, "recv", "--mpmc", "--lines", name))
	}
	seen(t, name, func(s channel.Stats) bool { return s.Receivers == receivers })
	var want []string
	var stdin []*pipe
	for i := range senders {
		stdin = append(stdin, newPipe(t))
		send = append(send, start(t, stdin[i].r, "send", "--lines", name)) // takes the channel as it is
	}
	seen(t, name, func(s channel.Stats) bool { return s.Senders == senders })
	for i := range senders {
		var text strings.Builder
		for j := range each {
			line := fmt.Sprintf("%d %06d", i, j)
			want = append(want, line)
			text.WriteString(line + "\n")
		}
		go func() {
			stdin[i].w.WriteString(text.String())
			stdin[i].w.Close()
		}()
	}
	for _, p := range send {
		p.ends(0)
	}
	var got []string
	for _, p := range recv {
		p.ends(0)
		lines := strings.Split(strings.TrimSuffix(p.Out.String(), "\n"), "\n")
		if p.Out.Len() == 0 {
			lines = nil
		}
		for i := range senders { // what one sender sent comes in that order
			var of []string
			for _, line := range lines {
				if strings.HasPrefix(line, fmt.Sprint(i)) {
					of = append(of, line)
				}
			}
			assert.True(t, slices.IsSorted(of))
		}
		got = append(got, lines...)
	}
	slices.Sort(got)
	assert.True(t, slices.Equal(want, got), "each line once: %d of %d", len(got), len(want))
	assert.False(t, exists(name))
}

func TestTheLastOfManySendersEndsTheStream(t *testing.T) {
	name := newName(t)
	stdin := newPipe(t)
	last := start(t, stdin.r, "send", "--mpmc", name)
	seen(t, name, sending)
	for range 5 {
		quick(t, "x", "send", name).ends(0)
	}
	stdin.write("y")
	stdin.close()
	last.ends(0)
	r := quick(t, "", "recv", name)
	r.ends(0)
	assert.Equal(t, "xxxxxy", r.Out.String())
}

func TestAReceiverThatDiesLeavesTheRestToTheOthers(t *testing.T) {
	name, stdin, stuck, out := newName(t), newPipe(t), newPipe(t), &signs{}
	one := startTo(t, nil, stuck.w, "recv", "--mpmc", "--lines", name)
	seen(t, name, receiving)
	s := start(t, stdin.r, "send", "--lines", name)
	seen(t, name, sending)
	two := startTo(t, nil, out, "recv", "--lines", name)
	seen(t, name, func(s channel.Stats) bool { return s.Receivers == 2 })
	one.Signal(syscall.SIGKILL)
	one.ends(137)
	stdin.write("a\nb\n")
	stdin.close()
	s.ends(0)
	two.ends(0)
	assert.Equal(t, "a\nb\n", out.String())
}

func TestSendersThatEndAtTheSameMomentCloseTheChannelOnce(t *testing.T) {
	name := newName(t)
	for range 10 {
		r := start(t, nil, "recv", "--mpmc", "--lines", name)
		var stdin []*pipe
		var send []*process
		for range 4 {
			in := newPipe(t)
			stdin = append(stdin, in)
			send = append(send, start(t, in.r, "send", "--mpmc", "--lines", name))
		}
		seen(t, name, func(s channel.Stats) bool { return s.Senders == 4 })
		for _, in := range stdin {
			in.write("x")
			in.close()
		}
		for _, s := range send {
			s.ends(0)
		}
		r.ends(0)
		assert.Equal(t, "x\nx\nx\nx\n", r.Out.String())
		for _, in := range stdin {
			in.r.Close()
		}
	}
}
