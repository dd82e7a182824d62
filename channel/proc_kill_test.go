//go:build linux

package channel_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shmchan/shmchan/channel"
)

// Survival: processes are killed or stopped at random moments, and the others
// go on. Each process has an id of its own, and notes in the tally what it did.

type lifeArgs struct {
	chanArgs
	ID    uint32
	Dir   string // of the tally
	Style string
	Seed  uint64
	Slow  bool // pauses between messages, so that the other side sleeps
}

// linger is the slow side's pause.
func (a lifeArgs) linger(r *rand.Rand) {
	if a.Slow {
		time.Sleep(time.Duration(r.IntN(100)) * time.Microsecond)
	}
}

var (
	roleLifeSend = role("life-send", func(c *child, a lifeArgs) { traffics[a.Kind].sendOn(c, a) })
	roleLifeRecv = role("life-recv", func(c *child, a lifeArgs) { traffics[a.Kind].recvOn(c, a) })
)

// listen sets a flag when the parent says something.
func (c *child) listen() *atomic.Bool {
	var told atomic.Bool
	go func() { c.hear(); told.Store(true) }()
	return &told
}

// sendOn sends without end, and notes each Send that has returned. Told so, it
// finishes the one that it is at and leaves.
func (p payload[T]) sendOn(c *child, a lifeArgs) {
	y, err := openTally(a.Dir)
	c.must(err)
	ch, err := join[T](a.chanArgs)
	c.must(err)
	r := rand.New(rand.NewPCG(a.Seed, 1))
	stop := c.listen()
	for seq := uint32(0); !stop.Load(); seq++ {
		style := []string{"plain", "try", "ctx", "loan"}[r.IntN(4)]
		if _, err := p.sendSome(ch, stamp{a.ID, seq}, 1, style, r); err != nil {
			c.fatalf("sender %d, %s in style %s: %v", a.ID, a.chanArgs, style, err)
		}
		y.sent(a.ID).Store(seq + 1)
		a.linger(r)
	}
}

// recvOn receives without end and records each message before it takes the
// next: after it took it, or in style func before. In style drain it takes what
// is there, and leaves.
func (p payload[T]) recvOn(c *child, a lifeArgs) {
	y, err := openTally(a.Dir)
	c.must(err)
	note, err := y.recorder(a.ID)
	c.must(err)
	ch, err := join[T](a.chanArgs)
	c.must(err)
	r := rand.New(rand.NewPCG(a.Seed, 2))
	keep := func(v T) error {
		s, err := p.read(v)
		if err != nil {
			return err
		}
		return note(s)
	}
	if a.Style == "drain" {
		for {
			v, err := ch.TryRecv()
			if errors.Is(err, channel.ErrEmpty) {
				c.must(ch.Detach())
				return
			}
			c.must(err)
			c.must(keep(v))
		}
	}
	for {
		more, err := recvSome(ch, keep, a.Style, r)
		if err != nil || !more {
			c.fatalf("receiver %d, %s in style %s: %v; Err %v", a.ID, a.chanArgs, a.Style, err, ch.Err())
		}
		a.linger(r)
	}
}

// life is one process of a survival run, past or present.
type life struct {
	*proc
	id     uint32
	sends  bool
	style  string
	killed bool
}

// noted is how much this life has done.
func (l *life) noted(y *tally) uint32 {
	if l.sends {
		return y.sent(l.id).Load()
	}
	return y.received(l.id).Load()
}

// survival is one channel and those who live and die on it.
type survival struct {
	chanArgs
	t     *testing.T
	tally *tally
	rng   *rand.Rand
	slow  string // which side is slow
	all   []*life
	alive []*life
}

func newSurvival(t *testing.T, a chanArgs, seed uint64) *survival {
	a.Name = uniqueName(t)
	s := &survival{chanArgs: a, t: t, tally: newTally(t), rng: rand.New(rand.NewPCG(seed, 0))}
	s.slow = []string{"nobody", "senders", "receivers"}[s.rng.IntN(3)]
	n := 2
	if a.SPSC {
		n = 1
	}
	for range n {
		s.start(true)
		s.start(false)
	}
	return s
}

func (s *survival) start(sends bool) *life {
	s.t.Helper()
	l := &life{id: uint32(len(s.all)), sends: sends, style: "send"}
	role := roleLifeSend
	if !sends {
		role = roleLifeRecv
		l.style = []string{"plain", "try", "ctx", "func"}[s.rng.IntN(4)]
	}
	slow := sends && s.slow == "senders" || !sends && s.slow == "receivers"
	l.proc = spawn(s.t, role, lifeArgs{s.chanArgs, l.id, s.tally.dir, l.style, s.rng.Uint64(), slow})
	s.all = append(s.all, l)
	s.alive = append(s.alive, l)
	return l
}

// stuck fails the test and tells where everybody is.
func (s *survival) stuck(waitingFor string) {
	s.t.Helper()
	for _, l := range s.alive {
		s.t.Logf("process %d (%s): noted %d", l.id, l.style, l.noted(s.tally))
		l.signal(syscall.SIGCONT)
		l.signal(syscall.SIGQUIT)
		select {
		case <-l.done:
		case <-time.After(5 * time.Second):
		}
		s.t.Logf("process %d:%s", l.id, l.story())
	}
	s.t.Fatalf("waited %v for %s", watchdog, waitingFor)
}

func (s *survival) await(what string, cond func() bool) {
	s.t.Helper()
	for end := time.Now().Add(watchdog); !cond(); time.Sleep(50 * time.Microsecond) {
		for _, l := range s.alive {
			select {
			case <-l.done:
				s.t.Fatalf("process %d ended by itself: %v%s", l.id, l.err, l.story())
			default:
			}
		}
		if time.Now().After(end) {
			s.stuck(what)
		}
	}
}

// victim picks one who lives, sends or receives, and waits until it has done
// something and a random moment has passed.
func (s *survival) victim(sends bool) *life {
	s.t.Helper()
	var able []*life
	for _, l := range s.alive {
		if l.sends == sends {
			able = append(able, l)
		}
	}
	l := able[s.rng.IntN(len(able))]
	noted := l.noted(s.tally)
	s.await("progress of a process", func() bool { return l.noted(s.tally) > noted })
	for end := time.Now().Add(time.Duration(s.rng.IntN(300)) * time.Microsecond); time.Now().Before(end); {
	}
	return l
}

func (s *survival) end(l *life) {
	l.kill()
	l.killed = true
	for i, other := range s.alive {
		if other == l {
			s.alive = append(s.alive[:i], s.alive[i+1:]...)
			break
		}
	}
}

// finish ends all gracefully, checks the books and that the channel is as new.
func (s *survival) finish() {
	s.t.Helper()
	for _, l := range s.alive {
		if l.sends {
			l.tell("stop")
		}
	}
	for _, l := range s.alive {
		if !l.sends {
			continue
		}
		select {
		case <-l.done:
		case <-time.After(watchdog):
			s.stuck("a sender to finish its last Send")
		}
		l.wait()
	}
	for _, l := range append([]*life(nil), s.alive...) {
		if !l.sends {
			s.end(l)
		}
	}
	s.alive = nil
	drain := &life{id: uint32(len(s.all)), style: "drain"}
	s.all = append(s.all, drain)
	spawn(s.t, roleLifeRecv, lifeArgs{chanArgs: s.chanArgs, ID: drain.id, Dir: s.tally.dir, Style: drain.style}).wait()
	s.audit()
	s.asNew()
}

// audit holds the records against what senders noted.
func (s *survival) audit() {
	s.t.Helper()
	holders := map[stamp][]*life{}
	last := map[*life]stamp{}
	mayLose, mayLate, late := 0, 0, 0
	for _, l := range s.all {
		if l.sends {
			continue
		}
		if l.killed {
			mayLate++
			if l.style != "func" {
				mayLose++
			}
		}
		newest := map[uint32]uint32{}
		for _, m := range s.tally.record(s.t, l.id) {
			holders[m] = append(holders[m], l)
			last[l] = m
			if top, ok := newest[m.From]; ok && m.Seq < top {
				late++
			} else {
				newest[m.From] = m.Seq
			}
		}
	}
	if s.SPSC {
		mayLate = 0
	}
	if late > mayLate {
		s.t.Errorf("order: %d messages came after younger ones of the same sender, %d could have been redelivered", late, mayLate)
	}
	var lost []stamp
	total := 0
	for _, l := range s.all {
		if !l.sends {
			continue
		}
		n := s.tally.sent(l.id).Load()
		total += int(n)
		for seq := range n {
			if len(holders[stamp{l.id, seq}]) == 0 {
				lost = append(lost, stamp{l.id, seq})
			}
		}
	}
	if len(lost) > mayLose {
		s.t.Errorf("%d messages lost whose Send had returned, %d receivers died with one in hand: %v", len(lost), mayLose, lost)
	}
	for m, by := range holders {
		sender := s.all[m.From]
		n := s.tally.sent(m.From).Load()
		if m.Seq > n || m.Seq == n && !sender.killed {
			s.t.Errorf("message %v came, but its sender noted %d (killed: %v)", m, n, sender.killed)
		}
		inHand := 0
		for _, l := range by {
			if l.killed && l.style == "func" && last[l] == m {
				inHand++
			}
		}
		if len(by)-1 > inHand {
			s.t.Errorf("message %v came %d times, to %v", m, len(by), describe(by))
		}
	}
	s.t.Logf("slow: %s; %d lives, %d messages, %d lost with their takers, %d late", s.slow, len(s.all), total, len(lost), late)
}

func describe(lives []*life) (d []any) {
	for _, l := range lives {
		d = append(d, l.id, l.style, l.killed)
	}
	return d
}

// asNew demands that fresh processes can use the channel fully.
func (s *survival) asNew() {
	s.t.Helper()
	ch := traffics[s.Kind].openAny(s.t, s.chanArgs)
	if st := ch.Stats(); ch.Len() != 0 || st.Members != 1 || st.Loans != 0 {
		s.t.Errorf("after all deaths: Len %d, %+v", ch.Len(), st)
	}
	a := trafficArgs{chanArgs: s.chanArgs, From: 1 << 20, Count: uint32(3*s.Cap + 10)}
	recv := spawn(s.t, roleRecv, a)
	spawn(s.t, roleSend, a).wait()
	recv.expect("ready")
	if err := ch.Close(); err != nil {
		s.t.Errorf("Close: %v", err)
	}
	var got []uint64
	recv.expect("got", &got)
	recv.wait()
	book := newLedger(s.t)
	book.add(got, true)
	book.settle(map[uint32]uint32{a.From: a.Count})
	if n := ch.Len(); n != 0 {
		s.t.Errorf("Len %d at the end", n)
	}
}

func survivals(t *testing.T, caps []int, run func(t *testing.T, a chanArgs, seed uint64)) {
	seed := uint64(time.Now().UnixNano())
	for _, kind := range []string{"line", "bytes"} {
		bothModes(t, caps, func(t *testing.T, spsc bool, capacity int) {
			a := chanArgs{Kind: kind, Cap: capacity, SPSC: spsc, Space: 1 << 18}
			seed++
			t.Run(kind, func(t *testing.T) {
				t.Logf("seed %d", seed)
				run(t, a, seed)
			})
		})
	}
}

func TestSurviveSIGKILLAtRandomMoments(t *testing.T) {
	survivals(t, []int{0, 1, 4, 100}, func(t *testing.T, a chanArgs, seed uint64) {
		s := newSurvival(t, a, seed)
		for range times(20, 140) {
			sends := s.rng.IntN(2) == 0
			l := s.victim(sends)
			if s.rng.IntN(8) == 0 && !a.SPSC { // one of the other side with it
				other := s.victim(!sends)
				s.end(other)
				s.start(other.sends)
			}
			s.end(l)
			s.start(l.sends)
		}
		s.finish()
	})
}

// A stopped process is not dead: nothing of its is taken away, and those that
// need nothing of it go on.
func TestSurviveSIGSTOPAtRandomMoments(t *testing.T) {
	survivals(t, []int{0, 1, 4, 100}, func(t *testing.T, a chanArgs, seed uint64) {
		s := newSurvival(t, a, seed)
		for range times(10, 300) {
			l := s.victim(s.rng.IntN(2) == 0)
			l.signal(syscall.SIGSTOP)
			// One stopped process holds one place, or one partner of a rendezvous.
			if !a.SPSC && a.Cap != 1 {
				s.progressWithout(l)
			}
			if s.rng.IntN(4) == 0 { // it dies stopped
				s.end(l)
				s.start(l.sends)
				continue
			}
			l.signal(syscall.SIGCONT)
		}
		s.finish()
	})
}

// progressWithout waits until others have sent and received more than the
// channel holds; or sees that the stopped one has the slow path's lock, which holds
// up whoever needs it until the stopped one goes on or dies (ARCHITECTURE.md).
func (s *survival) progressWithout(stopped *life) {
	s.t.Helper()
	count := func(sends bool) (n uint32) {
		for _, l := range s.alive {
			if l != stopped && l.sends == sends {
				n += l.noted(s.tally)
			}
		}
		return n
	}
	enough := uint32(2*s.Cap + 10)
	sent, received := count(true)+enough, count(false)+enough
	s.await("progress of the others while one is stopped", func() bool {
		return count(true) >= sent && count(false) >= received || s.locker() == stopped.cmd.Process.Pid
	})
}

// locker is the process that has the slow path's lock, 0 for none. The offsets are
// LAYOUT.md's.
func (s *survival) locker() int {
	s.t.Helper()
	f, err := os.Open("/dev/shm/" + s.Name)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	word := func(off int64) uint64 {
		var b [8]byte
		if _, err := f.ReadAt(b[:], off); err != nil {
			s.t.Fatal(err)
		}
		return binary.LittleEndian.Uint64(b[:])
	}
	owner := word(2688)
	if owner == 0 {
		return 0
	}
	return int(uint32(word(4096 + 64*int64(owner&0xffff-1) + 8)))
}
