package main

import (
	"os"
	"path/filepath"
	"strconv"
)

// A Subject is one way to carry messages between two processes. Those of one carrier
// stand beside each other in the table, so they are measured in turns.
//
// To add one: a file of its own (or of its group's), and a line in subjects.
type Subject interface {
	Info() Info

	// Prepare is called in the parent, before each round: it makes the object and says
	// what the two processes get of it. Side 0 asks and sends, side 1 answers and
	// receives; both directions must work.
	Prepare(*Scene) ([2]Side, error)

	// Join is called in the child, with what Prepare gave to this side.
	Join(Given) (End, error)
}

// Info is what the table has to know of a Subject.
type Info struct {
	Carrier string // the row
	Form    string // the column: formOurs, formBlocking, formPolled, or a name of its own
	Sizes   []int  // bytes of the messages to measure with
	Lossy   bool   // loses what it has no room for: at most window messages are under way
	Alone   bool   // side 0 gets its own messages back, side 1 does nothing: trips only
	Note    string // what a reader of the figure must know
}

// small and large are the sizes of messages that figures are for, in bytes.
const (
	small = 64
	large = 64 << 10
)

var bothSizes = []int{small, large}

// The forms that have columns of their own. Others get a table of their own.
const (
	formOurs     = "ours"         // what this project offers
	formBlocking = "raw blocking" // the bare system calls, on blocking descriptors
	formPolled   = "raw polled"   // the same on non-blocking ones, in the runtime's poller
)

// A Side is what one of the two processes gets.
type Side struct {
	Files   []*os.File // descriptors 3, 4, …; closed in the parent once the child has them
	Args    []string
	Program string // what to start instead of this program; speaks the protocol of child.go
}

// Given is a Side as the child sees it.
type Given struct {
	Side  int
	Files []*os.File
	Args  []string
}

// An End is what one process holds. One goroutine uses it. Messages are numbered; what
// number n looks like is in message.go.
type End interface {
	Put(m message) error  // makes that message and sends it
	Take(m message) error // receives one message, which must be that one
	Close() error
}

// A flooder is an End with loops of its own, for what is so fast that a call through
// an interface for each message would show.
type flooder interface {
	Flood(from, n uint64) error // Put, n times
	Drain(from, n uint64) error // Take, n times
}

// A Scene is where Prepare finds room for names. What is in its directory is removed.
type Scene struct {
	dir      string
	counter  int
	programs map[string]string // compiled, by source
}

// Path is a path that nothing has yet.
func (s *Scene) Path() string { return filepath.Join(s.dir, strconv.Itoa(s.next())) }

// Name is a name that nothing else has, for objects that are not in a directory.
func (s *Scene) Name() string {
	return "shmchan-bench-" + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(s.next())
}

func (s *Scene) next() int {
	s.counter++
	return s.counter
}

// tasks are what is measured of each size.
func (i Info) tasks() []string {
	if i.Alone {
		return []string{"trip"}
	}
	return []string{"trip", "flood"}
}

// idle is side 1 where side 0 is alone.
type idle struct{}

func (idle) Put(message) error  { return nil }
func (idle) Take(message) error { return nil }
func (idle) Close() error       { return nil }

// A subject is a Subject made of functions.
type subject struct {
	info    Info
	prepare func(*Scene) ([2]Side, error)
	join    func(Given) (End, error)
}

func (s subject) Info() Info                         { return s.info }
func (s subject) Prepare(sc *Scene) ([2]Side, error) { return s.prepare(sc) }
func (s subject) Join(g Given) (End, error)          { return s.join(g) }
