//go:build linux

package channel_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/shmchan/shmchan/channel"
)

// Select between processes: each of a circle has a Select that sends to the next one
// and receives from the one before, whichever comes first.

type circleArgs struct {
	Names    []string
	Me       int
	Capacity int
	Rounds   int  // 0: without end
	Random   bool // now and then a timeout, or another kind of call
}

// A circleValue says who sent it, and how many it had sent before.
type circleValue struct{ From, Seq uint64 }

var roleCircle = role("circle", func(c *child, a circleArgs) {
	out, err := channel.Open[circleValue](a.Names[a.Me], a.Capacity)
	c.must(err)
	in, err := channel.Open[circleValue](a.Names[(a.Me+len(a.Names)-1)%len(a.Names)], a.Capacity)
	c.must(err)
	c.say("ready", nil)
	c.hear()
	r := rand.New(rand.NewPCG(uint64(a.Me), uint64(os.Getpid())))
	var sent, got uint64
	last := map[uint64]uint64{} // by sender: the next one at least
	for a.Rounds == 0 || sent < uint64(a.Rounds) || got < uint64(a.Rounds) {
		var cases [2]channel.Case
		if a.Rounds == 0 || sent < uint64(a.Rounds) {
			cases[0] = channel.SendCase(out, circleValue{uint64(os.Getpid()), sent})
		}
		var v circleValue
		if a.Rounds == 0 || got < uint64(a.Rounds) {
			cases[1] = channel.RecvCase(in, &v, nil)
		}
		ctx, cancel := context.Background(), func() {}
		if a.Random && r.IntN(4) == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(200))*time.Microsecond)
		}
		i, err := channel.Select(ctx, cases[:]...)
		cancel()
		switch {
		case err != nil && ctx.Err() != nil:
			continue
		case err != nil:
			c.fatalf("select: %v", err)
		case i == 0:
			sent++
		default:
			if v.Seq < last[v.From] {
				c.fatalf("%d of %d came after %d", v.Seq, v.From, last[v.From])
			}
			last[v.From] = v.Seq + 1
			got++
			if a.Rounds > 0 && v.Seq != got-1 {
				c.fatalf("received %d as number %d", v.Seq, got-1)
			}
		}
		if a.Rounds == 0 && (sent+got)%256 == 0 {
			c.say("going", sent+got)
		}
	}
	c.say("done", [2]uint64{sent, got})
	c.hear()
	c.must(out.Detach())
	c.must(in.Detach())
})

func circle(t *testing.T, n int) (names []string) {
	for range n {
		name := uniqueName(t)
		names = append(names, name)
		t.Cleanup(func() { _ = channel.Unlink(name) })
	}
	return names
}

func TestProcessesMeetInACircleOfSelects(t *testing.T) {
	for _, n := range []int{2, 3} {
		for _, capacity := range []int{0, 1} {
			t.Run(fmt.Sprintf("processes=%d/capacity=%d", n, capacity), func(t *testing.T) {
				names := circle(t, n)
				var procs []*proc
				for i := range n {
					procs = append(procs, spawn(t, roleCircle, circleArgs{Names: names, Me: i, Capacity: capacity, Rounds: 500, Random: true}))
				}
				for _, p := range procs {
					p.expect("ready")
				}
				for _, p := range procs {
					p.tell("go")
				}
				for _, p := range procs {
					p.expect("done")
				}
				for _, p := range procs {
					p.tell("leave")
				}
				for _, p := range procs {
					p.wait()
				}
			})
		}
	}
}

// A process that is killed in a Select leaves the others able to choose: of a circle one
// after the other is killed and replaced.
func TestAProcessKilledInSelectHoldsUpNobody(t *testing.T) {
	kills := 30
	if testing.Short() {
		kills = 6
	}
	for _, capacity := range []int{0, 1} {
		t.Run(fmt.Sprintf("capacity=%d", capacity), func(t *testing.T) {
			const n = 3
			names := circle(t, n)
			begin := func(i int) *proc {
				p := spawn(t, roleCircle, circleArgs{Names: names, Me: i, Capacity: capacity, Random: true})
				p.expect("ready")
				p.tell("go")
				return p
			}
			var procs [n]*proc
			for i := range n {
				procs[i] = begin(i)
			}
			r := rand.New(rand.NewPCG(1, uint64(capacity)))
			for range kills {
				i := r.IntN(n)
				time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
				procs[i].kill()
				procs[i] = begin(i)
				for j := range n {
					procs[j].drain()
				}
				for j := range n {
					procs[j].expect("going") // all of them get on
				}
			}
		})
	}
}

// drain forgets the events that have come.
func (p *proc) drain() {
	for {
		select {
		case <-p.events:
		default:
			return
		}
	}
}
