package futexsem

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The stress: in each process a few owners, each with a page of the object and a Sleeper that
// it uses in all manners, mapping the page anew now and then. Its driver, in
// another process, changes one word and waits for the acknowledgement; a waker in its own
// process does the same with Wake. Nothing else happens to these, so one wake-up that is lost
// stops an owner for ever, and the watchdog says which.

func init() {
	roles["stress"] = stress
}

const (
	stressOwners = 12 // in a process
	stressWords  = 4  // of an owner; the next is stepped at the end

	stressEnd = stressWords
	stressAck = stressWords + 1
)

func TestSleepersOfSeveralProcessesLoseNoWakeUp(t *testing.T) {
	guard(t)
	last := time.Second
	if os.Getenv("SHMCHAN_LONG") == "1" {
		last = time.Minute
	}
	name := newName()
	f, err := os.OpenFile(semDir+"/"+name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { os.Remove(f.Name()) })
	require.NoError(t, f.Truncate(int64(len(ways)*stressOwners*objectSize)))
	require.NoError(t, f.Close())
	var children []*child
	for i := range ways {
		children = append(children, startChild(t, "stress", name, strconv.Itoa(i), last.String()))
	}
	for i, c := range children {
		line := c.line()
		require.NotEmpty(t, line, "the process that sleeps %s", ways[i].name)
		t.Logf("%s: %s", ways[i].name, line)
	}
	for _, c := range children {
		c.dismiss(t)
	}
}

// stress is one of the processes. OBJECT WAY TIME
func stress(args []string) {
	file := must(os.OpenFile(semDir+"/"+args[0], os.O_RDWR, 0))
	me, last := number(args[1]), must(time.ParseDuration(args[2]))
	w := ways[me]
	w.noWaitv = w.noWaitv || !probeWaitv()
	choose(w)
	var watched watchdog
	var changes, wakes atomic.Int64
	end := time.Now().Add(last)
	var wg sync.WaitGroup
	for i := range stressOwners {
		o := &stressOwner{file: file, page: me*stressOwners + i, sleeper: NewSleeper(), woke: make(chan struct{}, 1)}
		mine := watched.new(fmt.Sprintf("Wake of owner %d, which sleeps %s", i, w.name))
		wg.Go(o.run)
		wg.Go(func() {
			for !o.ended.Load() {
				mine.begin()
				o.asked.Add(1)
				o.sleeper.Wake()
				<-o.woke
				mine.end()
				wakes.Add(1)
				time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
			}
		})
		other := (me + 1) % len(ways)
		driver := watched.new(fmt.Sprintf("change of a word of owner %d in the process that sleeps %s, or its acknowledgement to %s",
			i, ways[other].name, w.name))
		wg.Go(func() {
			mem := must(mapPage(file, other*stressOwners+i))
			for on := true; on; {
				at := rand.IntN(stressWords)
				if time.Now().After(end) {
					at, on = stressEnd, false
				}
				driver.begin()
				ack := wordAt(mem, 64*stressAck)
				before := atomic.LoadUint32(ack)
				change(wordAt(mem, 64*at))
				for atomic.LoadUint32(ack) == before {
					_ = Wait(ack, before, -1)
				}
				driver.end()
				changes.Add(1)
			}
			check(unix.Munmap(mem))
		})
	}
	go watched.run()
	wg.Wait()
	fmt.Printf("%d changes and %d wakes noticed\n", changes.Load(), wakes.Load())
}

type stressOwner struct {
	file    *os.File
	page    int
	sleeper *Sleeper
	asked   atomic.Int32
	woke    chan struct{}
	ended   atomic.Bool
}

func (o *stressOwner) run() {
	mem := must(mapPage(o.file, o.page))
	var list [stressWords + 1]Word
	var told int32
	for {
		noticed := false
		for i := range list {
			list[i].Addr = wordAt(mem, 64*i)
			if now := atomic.LoadUint32(list[i].Addr); now != list[i].Val {
				list[i].Val, noticed = now, true
			}
		}
		if noticed {
			change(wordAt(mem, 64*stressAck))
		}
		if asked := o.asked.Load(); asked != told {
			told = asked
			o.woke <- struct{}{}
			noticed = true
		}
		if list[stressEnd].Val != 0 {
			break
		}
		if noticed && rand.IntN(4) != 0 {
			continue
		}
		switch rand.IntN(10) {
		case 0, 1, 2, 3:
			o.sleeper.Sleep(list[:], -1)
		case 4: // seldom: it makes up for what was lost
			o.sleeper.Sleep(list[:], time.Duration(rand.IntN(50))*time.Microsecond)
		case 5:
			o.sleeper.Watch(list[:])
			o.sleeper.Unwatch()
		default:
			o.sleeper.Watch(list[:])
			<-o.sleeper.C()
			o.sleeper.Unwatch()
		}
		if rand.IntN(4) == 0 {
			check(unix.Munmap(mem)) // nothing touches it: SIGSEGV otherwise
			mem = must(mapPage(o.file, o.page))
		}
	}
	check(unix.Munmap(mem))
	o.ended.Store(true)
	select {
	case o.woke <- struct{}{}: // to a waker that asked too late
	default:
	}
}

func mapPage(file *os.File, page int) ([]byte, error) {
	return unix.Mmap(int(file.Fd()), int64(page)*objectSize, objectSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// A watchdog ends the process when something takes much too long, and says what.
type watchdog struct{ all []*watch }

type watch struct {
	what  string
	since atomic.Int64 // 0: nothing is under way
}

func (w *watchdog) new(what string) *watch {
	w.all = append(w.all, &watch{what: what})
	return w.all[len(w.all)-1]
}

func (w *watch) begin() { w.since.Store(time.Now().UnixNano()) }
func (w *watch) end()   { w.since.Store(0) }

func (w *watchdog) run() {
	for range time.Tick(time.Second) {
		for _, x := range w.all {
			if since := x.since.Load(); since != 0 && time.Now().UnixNano()-since > int64(time.Minute) {
				panic("lost: " + x.what)
			}
		}
	}
}
