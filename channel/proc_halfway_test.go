//go:build linux

package channel_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/shmchan/shmchan/channel"
)

// Processes killed while they create, join, leave or close.

var (
	// creates and unlinks without end
	roleMaker = role("maker", func(c *child, a chanArgs) {
		c.say("ready", nil)
		for {
			ch, err := channel.Create[line64](a.Name, a.Cap, a.options()...)
			c.must(err)
			c.must(ch.TrySend(packLine(stamp{1, 1})))
			c.must(ch.Detach())
			c.must(channel.Unlink(a.Name, a.options()...))
		}
	})
	// joins, passes a message through and leaves, without end
	roleGuest = role("guest", func(c *child, a chanArgs) {
		c.say("ready", nil)
		for {
			ch, err := channel.Attach[line64](a.Name, a.options()...)
			c.must(err)
			if err := ch.TrySend(packLine(stamp{1, 1})); err != nil && !errors.Is(err, channel.ErrFull) {
				c.fatalf("TrySend: %v", err)
			}
			v, err := ch.TryRecv()
			if err == nil {
				_, err = readLine(v)
			}
			if err != nil && !errors.Is(err, channel.ErrEmpty) {
				c.fatalf("TryRecv: %v", err)
			}
			c.must(ch.Detach())
		}
	})
	roleCloser = role("closer", func(c *child, a chanArgs) {
		ch, err := join[uint64](a)
		c.must(err)
		c.say("ready", nil)
		c.hear()
		c.must(ch.Close())
		c.say("closed", nil)
		c.hear()
	})
)

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A dead creator leaves a whole channel, or at most one object without that
// name, and the next creation sweeps it.
func TestKilledCreatorLeavesNothingHalf(t *testing.T) {
	inShm, err := os.MkdirTemp(shmDir, namePrefix)
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(inShm)
	for _, dir := range []string{inShm, t.TempDir()} {
		a := chanArgs{Name: "made", Cap: 3, Dir: dir}
		r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
		for range times(20, 1000) {
			p := spawn(t, roleMaker, a)
			p.expect("ready")
			spinFor(2*time.Millisecond, r)
			p.kill()
			left := namesIn(t, dir)
			if len(left) > 2 {
				t.Fatalf("left behind: %v", left)
			}
			ch, err := channel.Attach[line64](a.Name, a.options()...)
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				t.Fatalf("Attach after the creator's death: %v, in the directory: %v", err, left)
			default:
				if n := ch.Len(); n > 1 || ch.Cap() != a.Cap {
					t.Errorf("Len %d, Cap %d", n, ch.Cap())
				}
				ch.Detach()
				if err := channel.Unlink(a.Name, a.options()...); err != nil {
					t.Errorf("Unlink: %v", err)
				}
			}
			ch, err = channel.Create[line64](a.Name, a.Cap, a.options()...)
			if err != nil {
				t.Fatalf("Create after the creator's death: %v", err)
			}
			ch.Detach()
			if got := namesIn(t, dir); len(got) != 1 {
				t.Fatalf("after the next creation: %v; before it: %v", got, left)
			}
			if err := channel.Unlink(a.Name, a.options()...); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// More processes die in joining and leaving than could ever be members at once.
func TestKilledWhileJoiningAndLeaving(t *testing.T) {
	bothModes(t, []int{1, 4}, func(t *testing.T, spsc bool, capacity int) {
		a := chanArgs{Name: uniqueName(t), Cap: capacity, SPSC: spsc}
		ch := mustJoin[line64](t, a)
		r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
		for range times(20, 500) {
			p := spawn(t, roleGuest, a)
			q := p
			if !spsc {
				q = spawn(t, roleGuest, a)
				q.expect("ready")
			}
			p.expect("ready")
			spinFor(2*time.Millisecond, r)
			p.kill()
			q.kill()
			if s := ch.Stats(); s.Members != 1 {
				t.Fatalf("after a guest's death: %+v", s)
			}
		}
		for n := ch.Len(); n > 0; n-- {
			v, err := ch.TryRecv()
			if err == nil {
				_, err = readLine(v)
			}
			if err != nil {
				t.Error(err)
			}
		}
		for seq := range uint32(3 * capacity) {
			if err := ch.TrySend(packLine(stamp{2, seq})); err != nil {
				t.Fatalf("TrySend: %v, Len %d", err, ch.Len())
			}
			if v, err := ch.TryRecv(); err != nil || v != packLine(stamp{2, seq}) {
				t.Fatalf("TryRecv: %v", err)
			}
		}
	})
}

// Close has happened or it has not; when it has, all who sleep learn it.
func TestKilledWhileClosing(t *testing.T) {
	for _, capacity := range []int{0, 2} {
		t.Run(chanArgs{Cap: capacity}.String(), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
			halves := 0
			for range times(15, 300) {
				a := chanArgs{Name: uniqueName(t), Cap: capacity}
				ch := mustJoin[uint64](t, a)
				sleepers := []*proc{puppet(t, a), puppet(t, a)}
				for _, p := range sleepers {
					p.tell("recv")
				}
				p := spawn(t, roleCloser, a)
				p.expect("ready")
				p.tell("go")
				spinFor(300*time.Microsecond, r)
				p.signal(syscall.SIGKILL)
				p.kill()
				if ch.Stats().Closed {
					halves++
					for _, p := range sleepers {
						p.expect("closed")
					}
				} else {
					within(t, "sending to the sleepers", func() {
						if err := errors.Join(ch.Send(1), ch.Send(2)); err != nil {
							t.Error(err)
						}
					})
					for _, p := range sleepers {
						p.expect("ok")
					}
					if err := ch.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				}
				for _, p := range sleepers {
					p.tell("exit")
					p.wait()
				}
				ch.Detach()
			}
			t.Logf("closed before the death: %d", halves)
		})
	}
}
