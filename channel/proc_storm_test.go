//go:build linux

package channel_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/shmchan/shmchan/channel"
)

// Cancellation storms: contexts end at random moments, in every process. What
// SendContext reported as sent arrives once, what it reported as an error never.

var (
	roleStormSend = role("storm-send", func(c *child, a trafficArgs) { traffics[a.Kind].stormSend(c, a) })
	roleStormRecv = role("storm-recv", func(c *child, a trafficArgs) { traffics[a.Kind].stormRecv(c, a) })
)

// stormContext ends soon, or has ended already.
func stormContext(r *rand.Rand) (context.Context, context.CancelFunc) {
	d := time.Duration(r.IntN(200)) * time.Microsecond
	switch r.IntN(4) {
	case 0: // a deadline
		return context.WithTimeout(bg, d)
	case 1: // ended before the call
		ctx, cancel := context.WithCancel(bg)
		cancel()
		return ctx, cancel
	default: // cancelled by another goroutine
		ctx, cancel := context.WithCancel(bg)
		time.AfterFunc(d, cancel)
		return ctx, cancel
	}
}

func contextEnded(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// stormSend tries each of Count messages once, and reports those that were sent.
func (p payload[T]) stormSend(c *child, a trafficArgs) {
	ch, err := join[T](a.chanArgs)
	c.must(err)
	r := rand.New(rand.NewPCG(a.Seed, uint64(a.From)))
	var sent []uint64
	cancelled := 0
	for seq := range a.Count {
		s := stamp{a.From, seq}
		ctx, cancel := stormContext(r)
		switch err := ch.SendContext(ctx, p.pack(s)); {
		case err == nil:
			sent = append(sent, s.word())
		case contextEnded(err) && ctx.Err() != nil:
			cancelled++
		default:
			c.fatalf("SendContext: %v, its context: %v", err, ctx.Err())
		}
		cancel()
	}
	c.must(ch.Detach())
	c.say("cancelled", cancelled)
	c.say("sent", sent)
}

// stormRecv receives until the channel's end.
func (p payload[T]) stormRecv(c *child, a trafficArgs) {
	ch, err := join[T](a.chanArgs)
	c.must(err)
	c.say("ready", nil)
	r := rand.New(rand.NewPCG(a.Seed, 1<<32+uint64(a.From)))
	var got []uint64
	cancelled := 0
	for {
		ctx, cancel := stormContext(r)
		v, err := ch.RecvContext(ctx)
		ended := ctx.Err()
		cancel()
		if errors.Is(err, channel.ErrClosed) {
			break
		}
		if contextEnded(err) && ended != nil {
			cancelled++
			continue
		}
		c.must(err)
		s, err := p.read(v)
		c.must(err)
		got = append(got, s.word())
	}
	c.say("cancelled", cancelled)
	c.say("got", got)
}

func TestCancellationStormAcrossProcesses(t *testing.T) {
	for i, kind := range []string{"line", "bytes"} {
		bothModes(t, []int{0, 1, 4, 100}, func(t *testing.T, spsc bool, capacity int) {
			t.Run(kind, func(t *testing.T) {
				a := chanArgs{Kind: kind, Name: uniqueName(t), Cap: capacity, SPSC: spsc, Space: 1 << 18}
				storm(t, a, uint64(i+10*capacity))
			})
		})
	}
}

func storm(t *testing.T, a chanArgs, seed uint64) {
	n := 3
	if a.SPSC {
		n = 1
	}
	ch := traffics[a.Kind].openAny(t, a)
	var sends, recvs []*proc
	for i := range n {
		args := trafficArgs{chanArgs: a, From: uint32(i), Count: uint32(times(1500, 30000)), Seed: seed}
		recvs = append(recvs, spawn(t, roleStormRecv, args))
		sends = append(sends, spawn(t, roleStormSend, args))
	}
	for _, p := range recvs {
		p.expect("ready")
	}
	want := map[uint64]bool{}
	cancelled := [2]int{}
	for _, p := range sends {
		var k int
		var sent []uint64
		p.expect("cancelled", &k)
		p.expect("sent", &sent)
		p.wait()
		cancelled[0] += k
		for _, w := range sent {
			want[w] = true
		}
	}
	if err := ch.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	for _, p := range recvs {
		var k int
		var got []uint64
		p.expect("cancelled", &k)
		p.expect("got", &got)
		p.wait()
		cancelled[1] += k
		last := map[uint32]uint32{}
		for _, w := range got {
			s := stampOf(w)
			if !want[w] {
				t.Errorf("%v came: twice, or its SendContext had reported an error", s)
			}
			delete(want, w)
			if before, ok := last[s.From]; ok && s.Seq <= before {
				t.Errorf("%v came after %d", s, before)
			}
			last[s.From] = s.Seq
		}
	}
	if len(want) > 0 {
		t.Errorf("%d messages lost", len(want))
	}
	if n := ch.Len(); n != 0 {
		t.Errorf("Len %d at the end", n)
	}
	t.Logf("cancelled: %d sends, %d receives", cancelled[0], cancelled[1])
}
