//go:build linux

package channel_test

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shmchan/shmchan/channel"
)

// shmDir is where names live unless a test says otherwise.
const shmDir = "/dev/shm"

// namePrefix begins every name that this test process makes, for itself and its
// children, so that runs side by side can tell their names apart.
var namePrefix = fmt.Sprintf("t%d-", os.Getpid())

var nameCount atomic.Int64

// newName returns a name nobody else uses. The caller unlinks it.
func newName(label string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, label)
	if len(clean) > 100 {
		clean = clean[len(clean)-100:]
	}
	return fmt.Sprintf("%s%s-%d", namePrefix, clean, nameCount.Add(1))
}

// uniqueName returns a name nobody else uses. Whatever stands under it is
// removed when the test ends.
func uniqueName(t testing.TB) string {
	t.Helper()
	name := newName(t.Name())
	t.Cleanup(func() { forget(name) })
	return name
}

// forget unlinks name. What Unlink refuses to remove, because it is no channel,
// goes all the same: a test made it.
func forget(name string) {
	if err := channel.Unlink(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		os.RemoveAll(filepath.Join(shmDir, name))
	}
}

// long says that the long versions of the tests were asked for.
func long() bool { return os.Getenv("SHMCHAN_LONG") == "1" }

// times returns the count for a normal run, or that for a long one.
func times(normal, whenLong int) int {
	if long() {
		return whenLong
	}
	return normal
}

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		runChild(role) // does not return
	}
	flag.Set("rapid.nofailfile", "true") // it prints the seed, that will do
	flag.Parse()
	startSpawner()
	warmUp()
	before := takeInventory()
	code := m.Run()
	if lost := before.leaked(); len(lost) > 0 {
		fmt.Fprintf(os.Stderr, "left behind after all tests:\n\t%s\n", strings.Join(lost, "\n\t"))
		code = 1
	}
	os.Exit(code)
}

// warmUp makes the Go runtime open what it opens once and keeps, such as the
// network poller's epoll descriptor, and the goroutine that hands out signals, which
// the fuzz engine starts.
func warmUp() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)
	signal.Stop(signals)
	r, w, err := os.Pipe()
	if err != nil {
		return
	}
	w.SetWriteDeadline(time.Now().Add(time.Hour))
	w.Close()
	r.Close()
	spawnerRun(func() { // os.StartProcess probes for pidfd once
		if p, err := os.StartProcess("/proc/self/exe", []string{"x"},
			&os.ProcAttr{Env: []string{childEnv + "=nothing"}}); err == nil {
			p.Wait()
		}
	})
}

// inventory is what a process must give back: names, descriptors, shared
// mappings and goroutines.
type inventory struct {
	descriptors map[string]int // by target of the link
	mappings    map[string]int // shared ones, by path
	goroutines  int
}

func takeInventory() inventory {
	runtime.GC()
	return inventory{openDescriptors(), sharedMappings(), runtime.NumGoroutine()}
}

// leaked says what is there now and was not before. Finalizers, cleanups and
// goroutines that are about to end get some time to do so.
func (before inventory) leaked() []string {
	var lost []string
	for range 100 {
		now := takeInventory()
		lost = ownNames()
		lost = append(lost, surplus("descriptor", before.descriptors, now.descriptors)...)
		lost = append(lost, surplus("mapping", before.mappings, now.mappings)...)
		if now.goroutines > before.goroutines {
			var b strings.Builder
			pprof.Lookup("goroutine").WriteTo(&b, 1)
			lost = append(lost, fmt.Sprintf("goroutines: %d before, %d now\n%s",
				before.goroutines, now.goroutines, b.String()))
		}
		if len(lost) == 0 {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return lost
}

func surplus(what string, before, now map[string]int) []string {
	var lost []string
	for k, n := range now {
		if n > before[k] {
			lost = append(lost, fmt.Sprintf("%s %s: %d before, %d now", what, k, before[k], n))
		}
	}
	sort.Strings(lost)
	return lost
}

func ownNames() []string {
	entries, err := os.ReadDir(shmDir)
	if err != nil {
		return []string{err.Error()}
	}
	var lost []string
	for _, e := range entries {
		if strings.Contains(e.Name(), namePrefix) {
			lost = append(lost, "name "+e.Name())
		}
	}
	return lost
}

func openDescriptors() map[string]int {
	found := map[string]int{}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return found
	}
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.HasSuffix(target, "/fd") {
			continue // the directory being read
		}
		// inode numbers of pipes and sockets differ from run to run of a
		// test, and say nothing
		if kind, _, ok := strings.Cut(target, ":["); ok {
			target = kind
		}
		found[target]++
	}
	return found
}

// sharedMappings counts the MAP_SHARED mappings of this process by path.
func sharedMappings() map[string]int {
	found := map[string]int{}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return found
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		// address perms offset dev inode path
		fields := strings.Fields(s.Text())
		if len(fields) < 6 || !strings.HasSuffix(fields[1], "s") {
			continue
		}
		found[strings.Join(fields[5:], " ")]++
	}
	return found
}
