package channel

import (
	"reflect"
	"time"
	"unsafe"
)

// Ordinary Go channels in a Select. While it waits for one of them it is in a Go select
// statement of its type, for several in reflect.Select; the shared channels' words are then
// watched on its behalf (futexsem.Sleeper.Watch).

// goChannel is a Go channel of some T: goRecv[T] or goSend[T].
type goChannel interface {
	// try makes one attempt.
	try(c *Case) bool
	// wait blocks until the case happens, true, or other receives.
	wait(c *Case, other <-chan struct{}) bool
	// reflected is the case for reflect.Select.
	reflected(c *Case) reflect.SelectCase
	// took is told what reflect.Select received.
	took(c *Case, v reflect.Value, ok bool)
}

type (
	goRecv[T any] <-chan T
	goSend[T any] chan<- T
)

// GoRecvCase is case v, ok = <-ch for an ordinary Go channel, in the same Select as shared ones. A
// nil ch is never ready; v and ok may be nil. A timeout is GoRecvCase(time.After(d), nil, nil).
func GoRecvCase[T any](ch <-chan T, v *T, ok *bool) Case {
	if ch == nil {
		return Case{}
	}
	return Case{goes: goRecv[T](ch), kind: caseRecv, v: unsafe.Pointer(v), ok: ok}
}

// GoSendCase is case ch <- v for an ordinary Go channel. A nil ch is never ready; a closed
// one panics if it is chosen, as in Go.
func GoSendCase[T any](ch chan<- T, v T) Case {
	if ch == nil {
		return Case{}
	}
	own := new(T)
	*own = v
	return Case{goes: goSend[T](ch), kind: caseSend, v: unsafe.Pointer(own)}
}

func (ch goRecv[T]) try(c *Case) bool {
	select {
	case v, ok := <-ch:
		received(c, v, ok)
		return true
	default:
		return false
	}
}

func (ch goRecv[T]) wait(c *Case, other <-chan struct{}) bool {
	select {
	case v, ok := <-ch:
		received(c, v, ok)
		return true
	case <-other:
		return false
	}
}

func (ch goRecv[T]) reflected(*Case) reflect.SelectCase {
	return reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf((<-chan T)(ch))}
}

func (ch goRecv[T]) took(c *Case, v reflect.Value, ok bool) {
	var value T
	if ok {
		reflect.ValueOf(&value).Elem().Set(v)
	}
	received(c, value, ok)
}

func received[T any](c *Case, v T, ok bool) {
	if c.v != nil {
		*(*T)(c.v) = v
	}
	if c.ok != nil {
		*c.ok = ok
	}
}

func (ch goSend[T]) try(c *Case) bool {
	select {
	case ch <- *(*T)(c.v):
		return true
	default:
		return false
	}
}

func (ch goSend[T]) wait(c *Case, other <-chan struct{}) bool {
	select {
	case ch <- *(*T)(c.v):
		return true
	case <-other:
		return false
	}
}

func (ch goSend[T]) reflected(c *Case) reflect.SelectCase {
	return reflect.SelectCase{
		Dir: reflect.SelectSend, Chan: reflect.ValueOf((chan<- T)(ch)), Send: reflect.ValueOf((*T)(c.v)).Elem(),
	}
}

func (ch goSend[T]) took(*Case, reflect.Value, bool) {}

// sleepBesideGo is sleep where there are Go channels.
func (s *selection) sleepBesideGo(timeout time.Duration) (chosen int, done bool) {
	if timeout >= 0 {
		defer time.AfterFunc(timeout, s.w.Wake).Stop()
	}
	s.w.Watch(s.words)
	defer s.w.Unwatch()
	if s.gos == 1 {
		for i := range s.cases {
			if c := &s.cases[i]; c.goes != nil {
				return c.index, c.goes.wait(&c.Case, s.w.C())
			}
		}
	}
	rs := make([]reflect.SelectCase, 0, s.gos+1)
	which := make([]*selected, 0, s.gos)
	for i := range s.cases {
		if c := &s.cases[i]; c.goes != nil {
			rs = append(rs, c.goes.reflected(&c.Case))
			which = append(which, c)
		}
	}
	rs = append(rs, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(s.w.C())})
	n, v, ok := reflect.Select(rs)
	if n == len(which) {
		return -1, false
	}
	which[n].goes.took(&which[n].Case, v, ok)
	return which[n].index, true
}
