package futexsem

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// childEnv, set in a child's environment, makes the test binary run a role instead of tests.
const childEnv = "FUTEXSEM_TEST_ROLE"

// namePrefix starts every name that this run makes in /dev/shm. Copies of the
// test that run side by side, in PID namespaces of their own perhaps, differ in it.
var namePrefix = "futexsem-test-" + rand.Text()

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		os.Exit(runRole(role, os.Args[1:]))
	}
	debug.SetTraceback("all") // what the watchdog's panic prints
	fdsBefore, goroutinesBefore := openFiles(), runtime.NumGoroutine()
	code := m.Run()
	if builtDir != "" {
		os.RemoveAll(builtDir)
	}
	if code == 0 {
		if left := leftovers(fdsBefore, goroutinesBefore); left != "" {
			fmt.Fprintf(os.Stderr, "left behind:\n%s", left)
			code = 1
		}
	}
	os.Exit(code)
}

// leftovers says what the tests have not given back.
func leftovers(fdsBefore map[string]int, goroutinesBefore int) string {
	var out strings.Builder
	// A goroutine that has done its last act is still counted for a moment.
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > goroutinesBefore; runtime.Gosched() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			fmt.Fprintf(&out, "goroutines: %d, before %d\n%s\n", runtime.NumGoroutine(), goroutinesBefore,
				stacks[:runtime.Stack(stacks, true)])
			break
		}
	}
	for file, n := range openFiles() {
		if n > fdsBefore[file] {
			fmt.Fprintf(&out, "descriptor: %s\n", file)
		}
	}
	names, _ := filepath.Glob(semDir + "/*" + namePrefix + "*")
	for _, name := range names {
		fmt.Fprintf(&out, "name: %s\n", name)
	}
	maps, _ := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, semDir) {
			fmt.Fprintf(&out, "mapping: %s", line)
		}
	}
	return out.String()
}

// openFiles counts this process's descriptors by what they are open on, but
// those of the runtime's poller, which stay once they are made.
func openFiles() map[string]int {
	files := map[string]int{}
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		file, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err == nil && !strings.HasPrefix(file, "anon_inode:[event") {
			files[file]++
		}
	}
	return files
}

// guard ends the whole run, with all stacks, when a test has not ended by itself. It is
// there to explain a deadlock, not to time anything.
func guard(t *testing.T) {
	t.Helper()
	name := t.Name()
	timer := time.AfterFunc(3*time.Minute, func() { panic("watchdog: " + name + " is stuck") })
	t.Cleanup(func() { timer.Stop() })
}

var nameCount atomic.Int64

// newName returns a name that nothing has, to be used in /dev/shm.
func newName() string { return fmt.Sprintf("%s-%d", namePrefix, nameCount.Add(1)) }

// newSemName returns a name for a semaphore, which is removed at the end if it is there.
func newSemName(t *testing.T) string {
	t.Helper()
	name := newName()
	t.Cleanup(func() { _ = UnlinkNamed(name) })
	return name
}

const objectSize = 4096

// newObject makes a POSIX shared-memory object and maps it.
func newObject(t *testing.T) (name string, mem []byte) {
	t.Helper()
	name = newName()
	f, err := os.OpenFile(semDir+"/"+name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { os.Remove(f.Name()) })
	require.NoError(t, f.Truncate(objectSize))
	require.NoError(t, f.Close())
	mem, err = mapObject(name)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Munmap(mem)) })
	return name, mem
}

func mapObject(name string) ([]byte, error) {
	f, err := os.OpenFile(semDir+"/"+name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return unix.Mmap(int(f.Fd()), 0, objectSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// newTestSem makes an unnamed semaphore in anonymous shared memory.
func newTestSem(t *testing.T, value uint32) *Sem {
	t.Helper()
	mem, err := unix.Mmap(-1, 0, objectSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Munmap(mem)) })
	s, err := Init(mem, value)
	require.NoError(t, err)
	return s
}

// awaitWaiters returns when n are counted as waiting. The count is the event:
// whoever is counted finds any token that is posted from now on.
func awaitWaiters(s *Sem, n int) {
	for i := 0; s.cell.waiters() != uint32(n); i++ {
		if i < 1000 {
			runtime.Gosched()
		} else {
			time.Sleep(100 * time.Microsecond)
		}
	}
}

// requireIdle asserts that a semaphore ended as it should: this value, nobody counted.
func requireIdle(t *testing.T, s *Sem, value int) {
	t.Helper()
	require.Equal(t, value, s.Value(), "value")
	require.Zero(t, s.cell.waiters(), "waiters")
}

// A child is another process in a role of this test.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
}

// startChild runs the test binary in a role. The child ends when the test does,
// at the latest: its standard input does.
func startChild(t *testing.T, role string, args ...string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	return start(t, cmd)
}

func start(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	err = cmd.Start()
	if errors.Is(err, syscall.ENOEXEC) {
		t.Skip("this system cannot start the test binary a second time (emulated without binfmt_misc?)")
	}
	require.NoError(t, err)
	c := &child{cmd: cmd, stdin: stdin, out: bufio.NewReader(stdout)}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			c.kill()
		}
	})
	return c
}

// line returns the next line of the child's output, "" at its end.
func (c *child) line() string {
	s, _ := c.out.ReadString('\n')
	return strings.TrimSuffix(s, "\n")
}

// succeed waits for the child to end by itself, well.
func (c *child) succeed(t *testing.T) {
	t.Helper()
	_, _ = io.Copy(io.Discard, c.out) // Wait closes the pipe, so read it out first
	require.NoError(t, c.cmd.Wait())
}

// kill ends the child with SIGKILL, and returns when it is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// dismiss ends the standard input of a child that works until then, and waits for it.
func (c *child) dismiss(t *testing.T) {
	t.Helper()
	require.NoError(t, c.stdin.Close())
	c.succeed(t)
}

// runRole is a child's main function.
func runRole(role string, args []string) (code int) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(os.Stderr, "child %s %q: %v\n", role, args, r)
			code = 2
		}
	}()
	f, ok := roles[role]
	if !ok {
		panic("no such role")
	}
	go func() { // the parent is gone, or wants us gone
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	f(args)
	return 0
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func number(s string) int { return must(strconv.Atoi(s)) }
