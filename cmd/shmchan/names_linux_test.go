package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

func TestKeepLeavesTheNameAndTheNextSendReplacesIt(t *testing.T) {
	name := newName(t)
	quick(t, "one", "send", name).ends(0)
	r := quick(t, "", "recv", "--keep", name)
	r.ends(0)
	assert.Equal(t, "one", r.Out.String())
	require.True(t, exists(name))

	r = quick(t, "", "recv", "--keep", name)
	r.ends(0)
	assert.Empty(t, r.Out.String(), "the end, at once")
	require.True(t, exists(name))

	quick(t, "two", "send", name).ends(0)
	r = quick(t, "", "recv", name)
	r.ends(0)
	assert.Equal(t, "two", r.Out.String())
	assert.False(t, exists(name))
}

func TestAStreamIsNotMixedWithOneThatWaits(t *testing.T) {
	name := newName(t)
	quick(t, "one", "send", name).ends(0)
	quick(t, "two", "send", name).ends(1, name, "waits for a receiver", "shmchan recv", "shmchan rm", "--wait")
	quick(t, "two", "send", "--mpmc", name).ends(1, "mode")
	r := quick(t, "", "recv", name)
	r.ends(0)
	assert.Equal(t, "one", r.Out.String())

	// An empty stream is one, too.
	quick(t, "", "send", name).ends(0)
	quick(t, "two", "send", name).ends(1, "waits for a receiver")
	quick(t, "", "rm", name).ends(0)
	quick(t, "two", "send", name).ends(0)
	r = quick(t, "", "recv", name)
	r.ends(0)
	assert.Equal(t, "two", r.Out.String())
}

func TestWaitWaitsForTheEarlierStreamToBeGone(t *testing.T) {
	name := newName(t)
	quick(t, "one", "send", name).ends(0)
	two := start(t, strings.NewReader("two"), "send", "--wait", name)
	r := quick(t, "", "recv", name)
	r.ends(0)
	assert.Equal(t, "one", r.Out.String())
	two.ends(0)
	r = quick(t, "", "recv", name)
	r.ends(0)
	assert.Equal(t, "two", r.Out.String())

	quick(t, "one", "send", name).ends(0)
	two = start(t, strings.NewReader("two"), "send", "--wait", name)
	seen(t, name, func(s channel.Stats) bool { return s.Members > 1 }) // it has looked
	two.Signal(syscall.SIGINT)
	two.ends(130)
	quick(t, "", "rm", name).ends(0)
}

func TestStreamsFollowEachOtherUnderOneName(t *testing.T) {
	name := newName(t)
	const streams = 30
	p := shell(t, fmt.Sprintf(`i=0; while [ $i -lt %d ]; do i=$((i+1)); echo stream $i | $SEND --wait %s; done &
		i=0; while [ $i -lt %d ]; do i=$((i+1)); $RECV %s || echo status $?; done; wait`, streams, name, streams, name))
	p.ends(0)
	var want strings.Builder
	for i := range streams {
		fmt.Fprintf(&want, "stream %d\n", i+1)
	}
	assert.Equal(t, want.String(), p.Out.String())
}

func TestRmForgetsNames(t *testing.T) {
	name := newName(t)
	quick(t, "x", "send", name).ends(0)
	quick(t, "x", "send", name+"2").ends(0)
	quick(t, "", "rm", name, name+"2").ends(0)
	assert.False(t, exists(name))
	assert.False(t, exists(name+"2"))
	quick(t, "", "rm", name).ends(1, name, "no such file")
	quick(t, "", "rm", "--force", name).ends(0)
	quick(t, "", "rm", "-f", "a/b").ends(1, "slash")
}

func TestRmWhileInUseLetsTheStreamGoOn(t *testing.T) {
	name := newName(t)
	stdin := newPipe(t)
	s := start(t, stdin.r, "send", name)
	r := start(t, nil, "recv", name)
	stdin.write("before ")
	seen(t, name, func(s channel.Stats) bool { return s.Receivers > 0 && s.Sent > 0 })
	quick(t, "", "rm", name).ends(0)
	stdin.write("after")
	stdin.close()
	s.ends(0)
	r.ends(0)
	assert.Equal(t, "before after", r.Out.String())
}

func TestANameThatBreaksTheRulesIsAnError(t *testing.T) {
	for _, name := range []string{"", "/", ".", "..", "a/b", strings.Repeat("x", 256)} {
		for _, command := range []string{"send", "recv", "rm"} {
			quick(t, "", command, "--", name).ends(1, "name")
		}
	}
}
