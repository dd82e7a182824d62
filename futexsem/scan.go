package futexsem

import "time"

// Scanned: words that nobody's thread sleeps on, because the kernel has no
// futex_waitv(2) (before Linux 5.16), a seccomp filter refuses it, or this is not
// Linux. One goroutine reads them all, every 0.2 ms when something happens, every 5 ms
// when nothing does, and only while there are any. That is the slow way: a
// sleeper is late by as much (Go's timers make 1 ms of the shorter pause in a process that is idle
// otherwise), and each look costs a cache miss for each word that changed. Ten
// thousand idle words take 4 % of a processor.
//
// Invariants: running is true while the goroutine runs, and changes under the mutex; the
// goroutine ends only when it sees an empty table under the mutex, so a
// registration always has somebody who looks.

const (
	scanShortest = 200 * time.Microsecond
	scanLongest  = 5 * time.Millisecond
	scanChunk    = 256 // words read under the mutex at a time
)

// A scanner is a table whose words are read by one goroutine.
type scanner struct {
	table
	running bool
	eager   bool // something was added
}

var scanned scanner

// register adds r, and starts the goroutine if it does not run.
func (b *scanner) register(r *registration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(r)
	b.eager = true
	if !b.running {
		b.running = true
		go b.run()
	}
}

func (b *scanner) run() {
	for pause := scanShortest; ; {
		time.Sleep(pause)
		fired := b.lookAtAll()
		b.mu.Lock()
		if fired > 0 || b.eager {
			pause = scanShortest
		} else {
			pause = min(pause+pause/4, scanLongest)
		}
		b.eager = false
		if len(b.live) == 0 {
			b.running = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
	}
}

// lookAtAll looks at every word, letting go of the mutex now and then. What is moved to where
// it has been already is seen the next time.
func (b *table) lookAtAll() (fired int) {
	for from := 0; ; from += scanChunk {
		b.mu.Lock()
		if from >= len(b.live) {
			b.mu.Unlock()
			return fired
		}
		fired += b.look(from, scanChunk)
		b.mu.Unlock()
	}
}
