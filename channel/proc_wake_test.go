//go:build linux

package channel_test

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/shmchan/shmchan/channel"
)

// A wake-up that goes to a process which is killed before it acts on it must
// reach another sleeper. Each round lets three processes sleep, gives occasion
// for one to go on, and kills one of the three at that moment.

// spinFor lets a random moment pass, busily: sleeping would be too coarse.
func spinFor(longest time.Duration, r *rand.Rand) {
	for end := time.Now().Add(time.Duration(r.Int64N(int64(longest)))); time.Now().Before(end); {
	}
}

// sleepers keeps three puppets asleep in one call.
type sleepers struct {
	t    *testing.T
	args chanArgs
	call string
	ch   *channel.Chan[uint64]
	rng  *rand.Rand
	all  [3]*proc
}

func newSleepers(t *testing.T, a chanArgs, call string) *sleepers {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := &sleepers{t: t, args: a, call: call, ch: mustJoin[uint64](t, a), rng: rand.New(rand.NewPCG(seed, 0))}
	for i := range s.all {
		s.lay(i)
	}
	return s
}

func (s *sleepers) lay(i int) {
	s.t.Helper()
	s.all[i] = puppet(s.t, s.args)
	s.all[i].tell(s.call)
}

// occasion does act and kills one of the sleepers, in either order, and says
// which one is dead and which ones have gone on.
func (s *sleepers) occasion(act func()) {
	s.t.Helper()
	spinFor(time.Millisecond, s.rng) // the last one may be asleep now, or on its way
	victim := s.rng.IntN(len(s.all))
	if s.rng.IntN(2) == 0 {
		act()
		spinFor(100*time.Microsecond, s.rng)
		s.all[victim].signal(syscall.SIGKILL)
	} else {
		s.all[victim].signal(syscall.SIGKILL)
		act()
	}
	s.all[victim].kill()
	s.lay(victim)
}

// refresh tells those that went on to sleep again; n counts them.
func (s *sleepers) refresh() (n int) {
	for _, p := range s.all {
		select {
		case e := <-p.events:
			if e.Name != "ok" {
				s.t.Errorf("%s in a child: %s", s.call, e.Name)
			}
			p.tell(s.call)
			n++
		default:
		}
	}
	return n
}

func TestKilledReceiverPassesOnItsWake(t *testing.T) {
	for _, capacity := range []int{0, 1, 4} {
		t.Run(chanArgs{Cap: capacity}.String(), func(t *testing.T) {
			s := newSleepers(t, chanArgs{Name: uniqueName(t), Cap: capacity}, "recv")
			for range times(25, 1000) {
				within(t, "Send", func() {
					s.occasion(func() {
						if err := s.ch.Send(1); err != nil {
							t.Errorf("Send: %v", err)
						}
					})
				})
				// a survivor takes it, or the dead one has taken it
				eventually(t, "the message to be taken", func() bool { return s.ch.Len() == 0 })
				s.refresh()
			}
		})
	}
}

func TestKilledSenderPassesOnItsWake(t *testing.T) {
	for _, capacity := range []int{0, 1, 4} {
		t.Run(chanArgs{Cap: capacity}.String(), func(t *testing.T) {
			s := newSleepers(t, chanArgs{Name: uniqueName(t), Cap: capacity}, "send")
			s.ch.Stats()
			full := func() bool { s.refresh(); return s.ch.Len() == capacity }
			for range times(25, 1000) {
				eventually(t, "senders to fill the channel", full)
				within(t, "Recv", func() {
					s.occasion(func() {
						if _, ok := s.ch.Recv(); !ok {
							t.Errorf("Recv: %v", s.ch.Err())
						}
					})
				})
			}
			eventually(t, "senders to fill the channel", full)
		})
	}
}
