//go:build linux

package channel_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/fallback"
)

// overEnd says what a child does at its end of a carrier, which is descriptor 3.
type overEnd struct {
	Carrier string // "pipe", "stream"
	Do      string // "send": 0, 1, 2 … until it ends; "close": three, then Close; "receive"; "echo"
}

var overChild = role("over-end", func(c *child, e overEnd) {
	var conn fallback.Conn
	var err error
	if e.Carrier == "pipe" {
		conn, err = fallback.PipeEnd(3)
	} else {
		conn, err = fallback.UnixStreamFromFile(os.NewFile(3, "socket"))
	}
	c.must(err)
	ch, err := channel.Over[uint64](conn)
	c.must(err)
	c.say("ready", nil)
	switch e.Do {
	case "send":
		for i := uint64(0); ch.Send(i) == nil; i++ {
			if i == 1000 {
				c.say("at work", nil)
			}
		}
	case "close":
		for i := range uint64(3) {
			c.must(ch.Send(i))
		}
		c.must(ch.Close())
		c.must(ch.Detach())
	case "receive":
		for range ch.All() {
		}
		c.must(ch.Err())
		c.say("ended", nil)
	case "stand":
		c.hear()
	case "echo":
		for v := range ch.All() {
			c.must(ch.Send(v))
		}
		c.must(ch.Err())
		c.say("ended", nil)
	}
})

// overWithChild gives the parent's end; dir "in": the child sends.
func overWithChild(t *testing.T, e overEnd, in bool) (*channel.Chan[uint64], *proc) {
	var mine fallback.Conn
	var theirs *os.File
	if e.Carrier == "pipe" {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		if theirs = r; in {
			theirs = w
			mine, err = fallback.PipeConn(r, nil)
		} else {
			mine, err = fallback.PipeConn(nil, w)
		}
		require.NoError(t, err)
	} else {
		a, b, err := fallback.UnixStreamPair()
		require.NoError(t, err)
		mine = a
		theirs, err = fallback.StreamFile(b)
		require.NoError(t, err)
		require.NoError(t, b.Close())
	}
	p := spawn(t, overChild, e, withFiles(theirs))
	require.NoError(t, theirs.Close())
	p.expect("ready")
	return semOver[uint64](t, mine), p
}

func TestOverAKilledSenderLeavesWhatItSentThenErrPeerLost(t *testing.T) {
	for _, carrier := range []string{"pipe", "stream"} {
		t.Run(carrier, func(t *testing.T) {
			c, p := overWithChild(t, overEnd{carrier, "send"}, true)
			for i := range uint64(2000) {
				v, ok := c.Recv()
				require.True(t, ok)
				require.Equal(t, i, v)
			}
			p.expect("at work")
			p.kill()
			next := uint64(2000)
			for v := range c.All() {
				require.Equal(t, next, v)
				next++
			}
			require.ErrorIs(t, c.Err(), channel.ErrPeerLost)
		})
	}
}

func TestOverACloseByAProcessThatThenEnds(t *testing.T) {
	for _, carrier := range []string{"pipe", "stream"} {
		t.Run(carrier, func(t *testing.T) {
			c, p := overWithChild(t, overEnd{carrier, "close"}, true)
			p.wait()
			for i := range uint64(3) {
				v, ok := c.Recv()
				require.True(t, ok)
				require.Equal(t, i, v)
			}
			semEnded(t, c, nil)
			if carrier == "stream" {
				require.ErrorIs(t, c.Send(1), channel.ErrClosed)
			}
		})
	}
}

func TestOverAReceiverThatIsKilledEndsABlockedSend(t *testing.T) {
	for _, carrier := range []string{"pipe", "stream"} {
		t.Run(carrier, func(t *testing.T) {
			c, p := overWithChild(t, overEnd{carrier, "stand"}, false)
			sender := semStart(func() error { return overSendUntil(c) })
			for c.Stats().Sleeps == 0 { // it is full
				sender.blocks(t, "Send")
			}
			p.kill()
			require.ErrorIs(t, sender.wait(), channel.ErrPeerLost)
		})
	}
}

func TestOverAProcessEchoesUntilClose(t *testing.T) {
	c, p := overWithChild(t, overEnd{"stream", "echo"}, false)
	for i := range uint64(1000) {
		require.NoError(t, c.Send(i))
		v, ok := c.Recv()
		require.True(t, ok)
		require.Equal(t, i, v)
	}
	require.NoError(t, c.Close())
	p.expect("ended")
	p.wait()
	c, p = overWithChild(t, overEnd{"pipe", "receive"}, false)
	for i := range uint64(10_000) {
		require.NoError(t, c.Send(i))
	}
	require.NoError(t, c.Close())
	require.NoError(t, c.Detach())
	p.expect("ended")
	p.wait()
}
