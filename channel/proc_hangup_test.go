//go:build linux

package channel_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/shmchan/shmchan/channel"
)

// puppet is a child that does one call at a time, as told, and reports how it
// went: "ok", or the name of the error.
var rolePuppet = role("puppet", func(c *child, a chanArgs) {
	ch, err := join[uint64](a)
	c.must(err)
	c.say("ready", nil)
	for n := uint64(0); ; n++ {
		switch cmd := c.hear(); cmd {
		case "send":
			c.say(errorName(ch.Send(n)), n)
		case "trysend":
			c.say(errorName(ch.TrySend(n)), n)
		case "recv":
			v, err := ch.RecvContext(bg)
			c.say(errorName(err), v)
		case "tryrecv":
			v, err := ch.TryRecv()
			c.say(errorName(err), v)
		case "recvfor": // as range does
			v, ok := ch.Recv()
			c.say(fmt.Sprintf("%v %s", ok, errorName(ch.Err())), v)
		case "hold": // takes a message and never finishes with it
			ch.RecvFunc(func(v *uint64) error {
				c.say("holding", *v)
				select {}
			})
		case "loan": // takes a place and never gives it back
			_, err := ch.Reserve()
			c.say(errorName(err), nil)
		case "detach":
			c.say(errorName(ch.Detach()), nil)
		case "exit":
			return
		default:
			c.fatalf("told %q", cmd)
		}
	}
})

func errorName(err error) string {
	for name, e := range map[string]error{
		"closed": channel.ErrClosed, "full": channel.ErrFull, "empty": channel.ErrEmpty, "lost": channel.ErrPeerLost,
		"busy": channel.ErrBusy, "detached": channel.ErrDetached,
	} {
		if errors.Is(err, e) {
			return name
		}
	}
	if err == nil {
		return "ok"
	}
	return err.Error()
}

// do tells a puppet what to do and says how it went.
func (p *proc) do(cmd string) string {
	p.t.Helper()
	p.tell(cmd)
	e, ok := p.next()
	if !ok {
		p.t.Fatalf("child ended at %q: %v%s", cmd, p.err, p.story())
	}
	return e.Name
}

func (p *proc) must(cmds ...string) {
	p.t.Helper()
	for _, cmd := range cmds {
		if got := p.do(cmd); got != "ok" {
			p.t.Fatalf("%s in a child: %s", cmd, got)
		}
	}
}

func puppet(t *testing.T, a chanArgs) *proc {
	t.Helper()
	p := spawn(t, rolePuppet, a)
	p.expect("ready")
	return p
}

var goodbyes = map[string]func(p *proc){
	"killed": func(p *proc) { p.kill() },
	"exited": func(p *proc) {
		p.tell("exit")
		p.wait()
	},
	"detached": func(p *proc) { p.must("detach") },
}

func eachGoodbye(t *testing.T, caps []int, f func(t *testing.T, a chanArgs, bye func(*proc))) {
	for how, bye := range goodbyes {
		t.Run(how, func(t *testing.T) {
			bothModes(t, caps, func(t *testing.T, spsc bool, capacity int) {
				f(t, chanArgs{Name: uniqueName(t), Cap: capacity, SPSC: spsc, HangUp: true}, bye)
			})
		})
	}
}

func TestHangUpReceiverDrainsThenPeerLost(t *testing.T) {
	eachGoodbye(t, []int{1, 8}, func(t *testing.T, a chanArgs, bye func(*proc)) {
		ch := mustJoin[uint64](t, a)
		p := puppet(t, a)
		for range a.Cap {
			p.must("send")
		}
		bye(p)
		within(t, "drain", func() {
			for want := range uint64(a.Cap) {
				if v, ok := ch.Recv(); !ok || v != want {
					t.Errorf("Recv = %d, %v, want %d; Err %v", v, ok, want, ch.Err())
				}
			}
			if v, ok := ch.Recv(); ok || !errors.Is(ch.Err(), channel.ErrPeerLost) {
				t.Errorf("Recv after the drain = %d, %v; Err %v", v, ok, ch.Err())
			}
			if _, err := ch.RecvContext(bg); !errors.Is(err, channel.ErrPeerLost) {
				t.Errorf("RecvContext: %v", err)
			}
			if _, err := ch.TryRecv(); !errors.Is(err, channel.ErrPeerLost) {
				t.Errorf("TryRecv: %v", err)
			}
		})
	})
}

// The receiver sleeps when the sender goes.
func TestHangUpWakesBlockedReceiver(t *testing.T) {
	eachGoodbye(t, []int{0, 1, 8}, func(t *testing.T, a chanArgs, bye func(*proc)) {
		ch := mustJoin[uint64](t, a)
		p := puppet(t, a)
		first := make(chan uint64, 1)
		last := make(chan error, 1)
		go func() {
			v, _ := ch.Recv()
			first <- v
			_, err := ch.RecvContext(bg)
			last <- err
		}()
		p.must("send")
		within(t, "the message", func() { <-first })
		eventually(t, "the receiver to sleep", func() bool { return ch.Stats().Sleeps > 0 })
		bye(p)
		within(t, "the end", func() {
			if err := <-last; !errors.Is(err, channel.ErrPeerLost) {
				t.Errorf("blocked RecvContext: %v", err)
			}
		})
	})
}

func TestHangUpWakesBlockedSender(t *testing.T) {
	eachGoodbye(t, []int{0, 1, 8}, func(t *testing.T, a chanArgs, bye func(*proc)) {
		ch := mustJoin[uint64](t, a)
		p := puppet(t, a)
		p.tell("recv")
		if err := ch.SendContext(soon(t), 1); err != nil {
			t.Fatal(err)
		}
		p.expect("ok")
		for range a.Cap {
			if err := ch.TrySend(2); err != nil {
				t.Fatal(err)
			}
		}
		last := make(chan error, 1)
		go func() { last <- ch.Send(3) }()
		eventually(t, "the sender to sleep", func() bool { return ch.Stats().Sleeps > 0 })
		bye(p)
		within(t, "the end", func() {
			if err := <-last; !errors.Is(err, channel.ErrPeerLost) {
				t.Errorf("blocked Send: %v", err)
			}
			if err := ch.TrySend(4); !errors.Is(err, channel.ErrPeerLost) {
				t.Errorf("TrySend: %v", err)
			}
		})
	})
}

// Only the last one's end is the other side's end.
func TestHangUpWaitsForTheLastSender(t *testing.T) {
	a := chanArgs{Name: uniqueName(t), Cap: 4, HangUp: true}
	ch := mustJoin[uint64](t, a)
	one, two := puppet(t, a), puppet(t, a)
	one.must("send")
	two.must("send")
	one.kill()
	within(t, "two messages", func() {
		for range 2 {
			if _, ok := ch.Recv(); !ok {
				t.Errorf("ended early: %v", ch.Err())
			}
		}
	})
	if _, err := ch.TryRecv(); !errors.Is(err, channel.ErrEmpty) {
		t.Errorf("TryRecv with one sender alive: %v", err)
	}
	two.must("send")
	if v, err := ch.TryRecv(); err != nil {
		t.Errorf("TryRecv: %d, %v", v, err)
	}
	two.kill()
	within(t, "the end", func() {
		if _, ok := ch.Recv(); ok || !errors.Is(ch.Err(), channel.ErrPeerLost) {
			t.Errorf("Recv ok=%v, Err %v", ok, ch.Err())
		}
	})
}

// Nobody has been there yet, or the handle did not ask for HangUp: one waits.
func TestNoHangUpWhereNobodyWas(t *testing.T) {
	for _, hangUp := range []bool{true, false} {
		bothModes(t, []int{0, 1, 8}, func(t *testing.T, spsc bool, capacity int) {
			a := chanArgs{Name: uniqueName(t), Cap: capacity, SPSC: spsc, HangUp: hangUp}
			ch := mustJoin[uint64](t, a)
			got := make(chan uint64, 1)
			go func() {
				v, _ := ch.Recv()
				got <- v
			}()
			eventually(t, "the receiver to sleep", func() bool { return ch.Stats().Sleeps > 0 })
			idler := puppet(t, a) // joins, sends nothing, dies
			idler.kill()
			if !hangUp {
				p := puppet(t, a)
				if capacity > 0 {
					p.must("send")
					within(t, "the first message", func() { <-got })
					go func() {
						v, _ := ch.Recv()
						got <- v
					}()
				}
				p.kill()
			}
			p := puppet(t, a)
			p.must("send")
			within(t, "the message", func() { <-got })
		})
	}
}

func TestSPSCSeatsAcrossProcesses(t *testing.T) {
	for how, bye := range goodbyes {
		t.Run(how, func(t *testing.T) {
			a := chanArgs{Name: uniqueName(t), Cap: 4, SPSC: true}
			ch := mustJoin[uint64](t, a)
			p := puppet(t, a)
			p.must("send")
			if err := ch.Send(1); !errors.Is(err, channel.ErrBusy) {
				t.Errorf("second sender's Send: %v", err)
			}
			if err := ch.TrySend(1); !errors.Is(err, channel.ErrBusy) {
				t.Errorf("second sender's TrySend: %v", err)
			}
			if n, err := ch.SendBatch([]uint64{1}); n != 0 || !errors.Is(err, channel.ErrBusy) {
				t.Errorf("second sender's SendBatch: %d, %v", n, err)
			}
			if err := ch.SendContext(bg, 1); !errors.Is(err, channel.ErrBusy) {
				t.Errorf("second sender's SendContext: %v", err)
			}
			if _, err := ch.Reserve(); !errors.Is(err, channel.ErrBusy) {
				t.Errorf("second sender's Reserve: %v", err)
			}
			if n := ch.Len(); n != 1 {
				t.Errorf("Len %d, want 1", n)
			}
			bye(p)
			if err := ch.SendContext(soon(t), 100); err != nil {
				t.Errorf("Send after the seat's holder %s: %v", how, err)
			}

			// the same for the receiver's seat
			q := puppet(t, a)
			q.must("recv")
			if _, err := ch.TryRecv(); !errors.Is(err, channel.ErrBusy) {
				t.Errorf("second receiver's TryRecv: %v", err)
			}
			if _, err := ch.RecvContext(bg); !errors.Is(err, channel.ErrBusy) {
				t.Errorf("second receiver's RecvContext: %v", err)
			}
			if n, err := ch.RecvBatch(make([]uint64, 2)); n != 0 || !errors.Is(err, channel.ErrBusy) {
				t.Errorf("second receiver's RecvBatch: %d, %v", n, err)
			}
			if err := ch.RecvFunc(func(*uint64) error { return nil }); !errors.Is(err, channel.ErrBusy) {
				t.Errorf("second receiver's RecvFunc: %v", err)
			}
			if _, ok := ch.Recv(); ok || !errors.Is(ch.Err(), channel.ErrBusy) {
				t.Errorf("second receiver's Recv: ok=%v, Err %v", ok, ch.Err())
			}
			bye(q)
			if v, err := ch.TryRecv(); err != nil || v != 100 {
				t.Errorf("TryRecv after the seat's holder %s: %d, %v", how, v, err)
			}
		})
	}
}

func TestStatsMembersFallAfterDeath(t *testing.T) {
	bothModes(t, []int{0, 4}, func(t *testing.T, spsc bool, capacity int) {
		a := chanArgs{Name: uniqueName(t), Cap: capacity, SPSC: spsc}
		ch := mustJoin[uint64](t, a)
		var procs []*proc
		for range 4 {
			procs = append(procs, puppet(t, a))
		}
		if s := ch.Stats(); s.Members != 5 {
			t.Errorf("with four children: %+v", s)
		}
		// one asleep in Recv, one stopped
		procs[0].tell("recv")
		procs[1].signal(syscall.SIGSTOP)
		for i, p := range procs {
			if s := ch.Stats(); s.Members != 5-i {
				t.Errorf("after %d deaths: %+v", i, s)
			}
			p.kill()
		}
		if s := ch.Stats(); s.Members != 1 || s.Receivers != 0 {
			t.Errorf("after all deaths: %+v", s)
		}
	})
}

// What a dead process had in hand comes back: the message in its RecvFunc, and
// the place of its loan.
func TestDeadHoldersGiveBack(t *testing.T) {
	bothModes(t, []int{1, 4}, func(t *testing.T, spsc bool, capacity int) {
		a := chanArgs{Name: uniqueName(t), Cap: capacity, SPSC: spsc}
		ch := mustJoin[uint64](t, a)
		p := puppet(t, a)
		p.must("loan")
		for range capacity - 1 {
			if err := ch.TrySend(7); !spsc && err != nil {
				t.Errorf("beside the loan: %v", err)
			}
		}
		if err := ch.TrySend(8); !errors.Is(err, map[bool]error{true: channel.ErrBusy, false: channel.ErrFull}[spsc]) {
			t.Errorf("while the loan holds a place: %v", err)
		}
		p.kill()
		for ch.TrySend(8) == nil {
		}
		if n := ch.Len(); n != capacity {
			t.Errorf("%d messages after the loan's owner died, want %d", n, capacity)
		}
		for range 3 { // redelivered as often as need be
			q := puppet(t, a)
			q.tell("hold")
			q.expect("holding")
			if err := ch.TrySend(9); !errors.Is(err, channel.ErrFull) {
				t.Errorf("while a message is in RecvFunc: %v", err)
			}
			q.kill()
		}
		got := 0
		for {
			v, err := ch.TryRecv()
			if err != nil {
				if !errors.Is(err, channel.ErrEmpty) {
					t.Error(err)
				}
				break
			}
			if v != 7 && v != 8 {
				t.Errorf("got %d", v)
			}
			got++
		}
		if got != capacity {
			t.Errorf("%d messages came, want %d", got, capacity)
		}
		if s := ch.Stats(); s.Redelivered < 3 || s.Loans != 0 {
			t.Errorf("%+v", s)
		}
	})
}
