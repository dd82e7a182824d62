package channel

import (
	"sync/atomic"
	"time"

	"github.com/shmchan/shmchan/futexsem"
	"github.com/shmchan/shmchan/ring"
)

// wait tries for a short while, then waits at all sides of its cases.
func (s *selection) wait() (int, error) {
	if i, done, err := s.spin(); done {
		return i, err
	}
	if err := s.join(); err != nil {
		return -1, err
	}
	stop := s.w.endWith(s.ctx)
	defer stop()
	for {
		s.prepare()
		if i, done, err := s.pass(); done {
			return i, err
		}
		if err := s.interrupted(); err != nil {
			return -1, err
		}
		if s.stale {
			continue
		}
		if i, done := s.sleep(); done {
			return i, nil
		}
	}
}

// spin passes over the cases a few times, as long as the most impatient of the handles
// would.
func (s *selection) spin() (int, bool, error) {
	limit := time.Duration(-1)
	for i := range s.cases {
		c := &s.cases[i]
		if c.on == nil || c.on.handle().over != nil {
			return -1, false, nil // what is over a Conn or a Go channel is not spun for
		}
		if d := c.on.handle().spinTime(s.sideOf(c)); limit < 0 || d < limit {
			limit = d
		}
	}
	if limit <= 0 {
		return -1, false, nil
	}
	limit = min(limit, spinLimit)
	begin := time.Now()
	for n := 0; time.Since(begin) < limit; n++ {
		pause(n)
		if i, done, err := s.pass(); done {
			for i := range s.cases {
				s.sideOf(&s.cases[i]).spin.won()
			}
			return i, true, err
		}
		if s.ctx != nil && n&7 == 7 && s.ctx.Err() != nil {
			return -1, true, opError("select", "", s.ctx.Err())
		}
	}
	for i := range s.cases {
		s.sideOf(&s.cases[i]).spin.missed()
	}
	return -1, false, nil
}

func (s *selection) sideOf(c *selected) *side {
	if c.kind == caseSend {
		return &c.on.handle().sendSide
	}
	return &c.on.handle().recvSide
}

// join takes a place at each side.
func (s *selection) join() error {
	s.w = getWaiter()
	if cap(s.places) < len(s.cases) {
		s.places = make([]sidePlace, 0, len(s.cases)) // the others point into it
	}
	for i := range s.cases {
		c := &s.cases[i]
		switch {
		case c.on == nil:
			continue
		case c.on.handle().over != nil:
			if c.via == nil {
				c.via = c.on.overCase(&c.Case)
			}
			c.cancel = c.via.register(&waker{sleeper: s.w.Sleeper})
			continue
		}
		at, err := s.placeAt(c)
		if err != nil {
			return err
		}
		c.at = at
	}
	return nil
}

// placeAt is the place at the side of the case, which may be that of another case, too.
func (s *selection) placeAt(c *selected) (*sidePlace, error) {
	k, side := c.on.handle(), s.sideOf(c)
	for i := range s.places {
		if s.places[i].side == side {
			return &s.places[i], nil
		}
	}
	if !k.enter() {
		return nil, opError("select", k.name, ErrDetached)
	}
	n := len(s.places)
	s.places = s.places[:n+1]
	p := &s.places[n]
	*p = sidePlace{k: k, side: side, event: k.q.RecvEvent(), send: c.kind == caseSend}
	p.w, p.want.k = s.w, k
	if p.send {
		p.event = k.q.SendEvent()
		if k.kind.meeting() {
			k.q.Choosing(1)
		}
	}
	side.join(&p.place)
	return p, nil
}

// leave gives up all places, with what came in there and was not chosen.
func (s *selection) leave() {
	for i := range s.cases {
		if cancel := s.cases[i].cancel; cancel != nil {
			cancel()
		}
	}
	for i := range s.places {
		p := &s.places[i]
		p.give()
		p.side.quit(&p.place)
		p.k.leave()
	}
	clear(s.places)
	s.places = s.places[:0]
	idleWaiters.Put(s.w)
	s.w = nil
}

// prepare reads the words to sleep on, before the cases are tried (S1).
func (s *selection) prepare() {
	s.words, s.stale = s.words[:0], false
	fence := false
	for i := range s.places {
		p := &s.places[i]
		if !p.leads() {
			continue
		}
		s.words = append(s.words, futexsem.Word{Addr: p.event, Val: ring.PrepareWait(p.event)})
		fence = fence || p.k.kind.spsc()
		if p.k.kind.meeting() {
			p.side.rouse()
		}
	}
	if fence {
		for i := range s.places {
			if s.places[i].k.kind.spsc() {
				s.places[i].k.Fence() // of all processes: one is enough
				break
			}
		}
	}
}

// interrupted says why the wait is over, if it is for a reason of its own.
func (s *selection) interrupted() error {
	if s.ctx != nil && s.ctx.Err() != nil {
		return opError("select", "", s.ctx.Err())
	}
	for i := range s.places {
		if k := s.places[i].k; k.detached.Load() {
			return opError("select", k.name, ErrDetached)
		}
	}
	return nil
}

// sleep waits until there is news from some side, or a case of a Go channel happens.
func (s *selection) sleep() (chosen int, done bool) {
	timeout := time.Duration(-1)
	for i := range s.places {
		k := s.places[i].k
		if k.cfg.spin.kind == spinBusy && s.gos == 0 {
			pause(spinRounds)
			k.lookAround()
			return -1, false
		}
		k.watch.ensure(k)
		if k.watch.mustAsk() {
			timeout = askEvery
		}
	}
	if len(s.places) > 0 {
		s.places[0].side.sleeps.Add(1)
	}
	if s.gos == 0 {
		s.w.Sleep(s.words, timeout)
	} else {
		chosen, done = s.sleepBesideGo(timeout)
	}
	s.woken(timeout)
	return chosen, done
}

// woken looks for members that cannot be watched, and counts.
func (s *selection) woken(timeout time.Duration) {
	for _, w := range s.words {
		if atomic.LoadUint32(w.Addr) != w.Val {
			return
		}
	}
	if len(s.words) == 0 {
		return
	}
	s.places[0].side.spurious.Add(1)
	if timeout < 0 {
		return
	}
	for i := range s.places {
		if k := s.places[i].k; k.watch.mustAsk() {
			k.sweep()
		}
	}
}
