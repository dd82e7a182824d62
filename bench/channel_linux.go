package main

import (
	"errors"
	"fmt"

	"github.com/shmchan/shmchan/channel"
)

// The channel itself, one for each direction, without names.

func channelSubjects() []Subject {
	var all []Subject
	for _, mode := range []struct {
		name string
		opt  channel.Option
	}{{"SPSC", channel.SPSC()}, {"MPMC", channel.MPMC()}} {
		all = append(
			all,
			channelSubject(Info{Carrier: "channel of uint64, " + mode.name, Sizes: []int{8}}, mode.opt, newWords),
			channelSubject(Info{
				Carrier: "channel of []byte, " + mode.name, Sizes: bothSizes,
				Note: "Recv makes a new slice of each message",
			}, mode.opt, newSlices),
			channelSubject(Info{
				Carrier: "channel of []byte, " + mode.name + ", in place", Sizes: bothSizes,
				Note: "Reserve, which makes a slice header, and RecvFunc",
			}, mode.opt, newLoans),
		)
	}
	return all
}

const (
	channelCapacity = 4096
	channelSpace    = 1 << 20 // bytes of messages, as of a Shm Conn
)

func channelSubject[T any](info Info, mode channel.Option, end func(tx, rx *channel.Chan[T]) End) Subject {
	info.Form = formOurs
	return subject{
		info,
		func(*Scene) (sides [2]Side, err error) {
			for range sides {
				c, err := channel.New[T](channelCapacity, mode, channel.Space(channelSpace))
				if err != nil {
					return sides, err
				}
				defer c.Detach()
				for side := range sides { // side 0 sends into the first
					f, err := c.File()
					if err != nil {
						return sides, err
					}
					sides[side].Files = append(sides[side].Files, f)
				}
			}
			return sides, nil
		},
		func(g Given) (End, error) {
			var c [2]*channel.Chan[T]
			for i := range c {
				var err error
				if c[i], err = channel.FromFile[T](g.Files[i]); err != nil {
					return nil, err
				}
				g.Files[i].Close()
			}
			return end(c[g.Side], c[1-g.Side]), nil
		},
	}
}

// ends are the channels of both directions.
type ends[T any] struct{ tx, rx *channel.Chan[T] }

func (e ends[T]) close() error { return errors.Join(e.tx.Detach(), e.rx.Detach()) }

func (e ends[T]) recv() (T, error) {
	v, ok := e.rx.Recv()
	if !ok {
		err := e.rx.Err()
		if err == nil {
			err = channel.ErrClosed
		}
		return v, err
	}
	return v, nil
}

// words are numbers as they are.
type words struct{ ends[uint64] }

func newWords(tx, rx *channel.Chan[uint64]) End { return words{ends[uint64]{tx, rx}} }

func (e words) Put(m message) error { return e.tx.Send(m.seq) }

func (e words) Take(m message) error {
	v, err := e.recv()
	if err == nil && v != m.seq {
		err = fmt.Errorf("message %d: number %d", m.seq, v)
	}
	return err
}

func (e words) Close() error { return e.close() }

func (e words) Flood(from, n uint64) error {
	for seq := from; seq < from+n; seq++ {
		if err := e.tx.Send(seq); err != nil {
			return err
		}
	}
	return nil
}

func (e words) Drain(from, n uint64) error {
	for seq := from; seq < from+n; seq++ {
		if v, ok := e.rx.Recv(); !ok || v != seq {
			return errors.Join(fmt.Errorf("message %d: number %d, %t", seq, v, ok), e.rx.Err())
		}
	}
	return nil
}

// sliceEnds go through Send and Recv.
type sliceEnds struct{ ends[[]byte] }

func newSlices(tx, rx *channel.Chan[[]byte]) End { return newBytesEnd(sliceEnds{ends[[]byte]{tx, rx}}) }

func (c sliceEnds) send(msg []byte) error { return c.tx.Send(msg) }

func (c sliceEnds) receive([]byte) ([]byte, error) { return c.recv() }

// loans are written and read where they lie.
type loans struct {
	ends[[]byte]
	want  message
	check func(*[]byte) error // made once: it looks at want
}

func newLoans(tx, rx *channel.Chan[[]byte]) End {
	e := &loans{ends: ends[[]byte]{tx, rx}}
	e.check = func(msg *[]byte) error { return e.want.verify(*msg) }
	return e
}

func (e *loans) Put(m message) error {
	l, err := e.tx.Reserve(m.size)
	if err != nil {
		return err
	}
	m.write(*l.Value)
	return l.Commit()
}

func (e *loans) Take(m message) error {
	e.want = m
	return e.rx.RecvFunc(e.check)
}

func (e *loans) Close() error { return e.close() }
