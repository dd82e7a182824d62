package fallback

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func init() {
	checks = append(checks,
		check{name: "goroutines and descriptors are given back", run: checkLeaks, needs: needsOpen, alone: true},
	)
}

// openFilesNow is this process's descriptors by what they are open on, but those of the
// runtime's poller, which stay once they are made.
func openFilesNow() map[string]string {
	files := map[string]string{}
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		file, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name()))
		if err == nil && !strings.HasPrefix(file, "anon_inode:[eventpoll]") && !strings.HasSuffix(file, "/fd") {
			files[fd.Name()] = file
		}
	}
	return files
}

func countFiles() int { return len(openFilesNow()) }

// awaitFiles waits until there are no more than n descriptors. A descriptor that is closed while a
// call uses it goes when the call returns, which may be a moment later, and so after n were counted.
func awaitFiles(t testing.TB, after string, n int) {
	t.Helper()
	deadline := time.Now().Add(patienceOf(t))
	for countFiles() > n {
		if time.Now().After(deadline) {
			t.Fatalf("after %q: %d descriptors, there were %d: %v", after, countFiles(), n, openFilesNow())
		}
		time.Sleep(time.Millisecond)
	}
}

func awaitGoroutines(t testing.TB, after string, n int) {
	t.Helper()
	deadline := time.Now().Add(patienceOf(t))
	for runtime.NumGoroutine() > n {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<18)
			t.Fatalf("after %q: %d goroutines, there were %d\n%s", after, runtime.NumGoroutine(), n, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(time.Millisecond)
	}
}

// checkLeaks uses a carrier in all the ways that other checks do, and counts. The first
// time does not count: what a process needs once (a poller) it may keep.
func checkLeaks(t testing.TB, c carrier) {
	for i, use := range []string{
		"contexts of two Receives do not meet",
		"a context that ends wakes a blocked Send",
		"Close wakes blocked Receives",
		"Close wakes blocked Sends",
		"Close in the middle of traffic",
		"Close: the other side drains, then io.EOF, and cannot send",
		"files are passed on",
		"many goroutines on both ends: each message once",
	} {
		if testing.Short() && i%3 != 0 {
			continue
		}
		k := findCheck(use)
		var files, goroutines int
		for i := range 2 {
			runtime.GC() // files that nobody closes would be closed by it: they do not count
			if i == 1 {
				files, goroutines = countFiles(), runtime.NumGoroutine()
			}
			if failures := observe(t, patienceOf(t), func(t testing.TB) { k.run(t, c) }); len(failures) > 0 {
				t.Fatalf("%s: %s", use, strings.Join(failures, "; "))
			}
		}
		awaitGoroutines(t, use, goroutines)
		awaitFiles(t, use, files)
	}
}
