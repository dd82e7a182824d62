// Package program builds and runs programs in tests: the examples, the C programs at their
// other ends, the tool of cmd/shmchan. Every process is killed, with all that it has
// started, when its test ends, or earlier by a watchdog if it hangs.
package program

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is the watchdog's: nothing here takes so long unless it hangs.
const Patience = time.Minute

// built is where Build and BuildC put programs: made at the first use, for all tests of the
// test binary.
var built struct {
	mu  sync.Mutex
	dir string
	// by the source, "." being the package's own main; one that does not compile is not
	// tried again
	programs map[string]result
}

type result struct {
	path string
	said []byte
	err  error
}

// Main is the TestMain of a package whose tests build programs: m.Run, and then the
// programs are removed. The caller exits with what it returns.
func Main(m *testing.M) int {
	defer func() { os.RemoveAll(built.dir) }()
	return m.Run()
}

// Build compiles the main package under test, as go run does and without cgo, once for all
// tests, and returns its path. Without a go command the test is skipped.
func Build(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command here to build the program with")
	}
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return compile(t, ".", filepath.Base(folder), func(path string) *exec.Cmd {
		cmd := exec.Command("go", "build", "-o", path, ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		return cmd
	})
}

// BuildC compiles a C program by $CC or cc, once for all tests, and returns its path. source
// is relative to the package under test. Without a compiler the test is skipped.
func BuildC(t testing.TB, source string) string {
	t.Helper()
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	if _, err := exec.LookPath(cc); err != nil {
		t.Skip("no C compiler (cc or $CC): no C program at the other end was tried")
	}
	return compile(t, source, "c-"+strings.TrimSuffix(filepath.Base(source), ".c"), func(path string) *exec.Cmd {
		return exec.Command(cc, "-O1", "-Wall", "-o", path, source, "-pthread", "-lrt")
	})
}

func compile(t testing.TB, source, name string, compiler func(path string) *exec.Cmd) string {
	t.Helper()
	built.mu.Lock()
	defer built.mu.Unlock()
	r, ok := built.programs[source]
	if !ok {
		if built.dir == "" {
			dir, err := os.MkdirTemp("", "shmchan-programs-*")
			if err != nil {
				t.Fatal(err)
			}
			built.dir, built.programs = dir, map[string]result{}
		}
		r.path = filepath.Join(built.dir, name)
		r.said, r.err = compiler(r.path).CombinedOutput()
		built.programs[source] = r
	}
	if r.err != nil {
		t.Fatalf("%s does not compile: %v\n%s", source, r.err, r.said)
	}
	return r.path
}

// Name is a POSIX name, with its leading slash, that nobody else uses.
func Name(what string) string { return "/shmchan-test-" + what + "-" + rand.Text() }

// Until returns when the condition holds. It is for what sends no event, as a file's coming.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to be: ", what)
		}
	}
}

// Exists returns when something has the path.
func Exists(t testing.TB, path string) {
	t.Helper()
	Until(t, fmt.Sprintf("%s exists", path), func() bool {
		_, err := os.Lstat(path)
		return err == nil
	})
}
