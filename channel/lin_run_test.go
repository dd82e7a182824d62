//go:build linux

package channel_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shmchan/shmchan/channel"
)

// plays runs one session with goroutines as actors on the given channels, one
// for each actor, and returns the histories of its rounds.
func (p linPlan) play(seed uint64, chans []linChan) [][]linRecord {
	var arrived atomic.Uint32
	results := make([][][]linRecord, p.Actors)
	var wg sync.WaitGroup
	for i := range p.Actors {
		wg.Go(func() {
			results[i] = p.actor(i, seed, chans[i]).session(&linBarrier{arrived: &arrived, actors: uint32(p.Actors)})
		})
	}
	wg.Wait()
	return p.merge(results)
}

// merge puts the actors' records of each round together.
func (p linPlan) merge(results [][][]linRecord) [][]linRecord {
	rounds := make([][]linRecord, p.Rounds)
	for _, actor := range results {
		for r, history := range actor {
			rounds[r] = append(rounds[r], history...)
		}
	}
	return rounds
}

// checkRounds fails the test at the first round that no order explains.
func checkRounds(t testing.TB, p linPlan, seed uint64, rounds [][]linRecord) {
	t.Helper()
	for r, history := range rounds {
		if !linearizable(p.Cap, history) {
			t.Errorf("seed %d, round %d of %d: not linearizable (%s), %+v", seed, r, p.Rounds, verdict(p.Cap, history), p)
			logHistory(t, history)
			t.FailNow()
		}
	}
}

func linPlans(inPlace bool) (plans []linPlan) {
	for _, kind := range []string{"uint64", "bytes"} {
		for _, spsc := range []bool{false, true} {
			for _, capacity := range []int{0, 1, 2, 3, 4} {
				if inPlace && (spsc || capacity == 0) {
					continue // a rendezvous with loans is tested by example, not by history
				}
				plans = append(plans, linPlan{Kind: kind, SPSC: spsc, Cap: capacity, InPlace: inPlace, Rounds: 4})
			}
		}
	}
	return plans
}

func (p linPlan) name() string {
	name := chanArgs{Kind: p.Kind, Cap: p.Cap, SPSC: p.SPSC}.String()
	if p.InPlace {
		name += "/inplace"
	}
	return name
}

// goroutines runs many sessions of a plan within this process, on one handle,
// or on several handles of one channel.
func (p linPlan) goroutines(t *testing.T, sessions int) {
	for s := range sessions {
		seed := p.Seed + uint64(s)
		p.Actors = 2
		if !p.SPSC {
			p.Actors = 2 + s%3
		}
		main, err := linKinds[p.Kind].create(p.Cap, p.options()...)
		if err != nil {
			t.Fatal(err)
		}
		handles := []linHandle{main}
		chans := []linChan{main}
		for len(chans) < p.Actors {
			h := main
			if s%2 == 1 {
				if h, err = main.twin(p.options()...); err != nil {
					t.Fatal(err)
				}
				handles = append(handles, h)
			}
			chans = append(chans, h)
		}
		var rounds [][]linRecord
		within(t, fmt.Sprintf("session with seed %d", seed), func() { rounds = p.play(seed, chans) })
		for _, h := range handles {
			if err := h.Detach(); err != nil {
				t.Errorf("Detach: %v", err)
			}
		}
		checkRounds(t, p, seed, rounds)
	}
}

func linSeed(t *testing.T) uint64 {
	seed := rand.Uint64() >> 16
	t.Logf("seed %d", seed)
	return seed
}

func TestLinearizableGoroutines(t *testing.T) {
	for _, inPlace := range []bool{false, true} {
		for _, p := range linPlans(inPlace) {
			t.Run(p.name(), func(t *testing.T) {
				p.Seed = linSeed(t)
				p.goroutines(t, times(60, 2000))
			})
		}
	}
}

type linChildArgs struct {
	linPlan
	ID   int
	Name string
	Dir  string // of the tally whose word is the barrier
}

var roleLin = role("lin", func(c *child, a linChildArgs) {
	y, err := openTally(a.Dir)
	c.must(err)
	barrier := &linBarrier{arrived: y.sent(0), actors: uint32(a.Actors)}
	for s := range a.Sessions {
		name := fmt.Sprintf("%s.%d", a.Name, s)
		ch, err := linKinds[a.Kind].open(name, a.Cap, a.options()...)
		c.must(err)
		c.say("rounds", a.actor(a.ID, a.Seed+uint64(s), ch).session(barrier)) // all have opened it
		if a.ID == 0 {
			c.must(channel.Unlink(name))
		}
		c.must(ch.Detach())
	}
})

// processes runs a plan with each actor a process of its own.
func (p linPlan) processes(t *testing.T, sessions int) {
	p.Actors = 2
	if !p.SPSC {
		p.Actors = 2 + int(p.Seed%3)
	}
	p.Sessions = sessions
	name := uniqueName(t)
	y := newTally(t)
	var procs []*proc
	for i := range p.Actors {
		procs = append(procs, spawn(t, roleLin, linChildArgs{p, i, name, y.dir}))
	}
	t.Cleanup(func() {
		for s := range sessions {
			forget(fmt.Sprintf("%s.%d", name, s))
		}
	})
	for s := range sessions {
		results := make([][][]linRecord, p.Actors)
		for i, proc := range procs {
			proc.expect("rounds", &results[i])
		}
		checkRounds(t, p, p.Seed+uint64(s), p.merge(results))
	}
	for _, proc := range procs {
		proc.wait()
	}
}

func TestLinearizableProcesses(t *testing.T) {
	for _, inPlace := range []bool{false, true} {
		for _, p := range linPlans(inPlace) {
			t.Run(p.name(), func(t *testing.T) {
				p.Seed = linSeed(t)
				p.processes(t, times(20, 1000))
			})
		}
	}
}
