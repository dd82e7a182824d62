package shm

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// childEnv names the part that this program plays when a test starts it again.
const childEnv = "SHMCHAN_SHM_TEST_CHILD"

// childParts are filled in by the test files' init functions: the arguments are the
// command line's. An error goes to stderr, and the process exits with 1.
var childParts = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	if part := os.Getenv(childEnv); part != "" {
		if err := childParts[part](os.Args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "child %s: %v\n", part, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goroutines, before := runtime.NumGoroutine(), descriptors()
	code := m.Run()
	if left := leftovers(goroutines, before); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "left behind:\n%s", left)
		code = 1
	}
	os.Exit(code)
}

// leftovers says what the tests did not clear away.
func leftovers(goroutines int, before []string) string {
	var b strings.Builder
	names, _ := filepath.Glob(filepath.Join(DefaultDir, testPrefix+"*"))
	for _, name := range names {
		fmt.Fprintf(&b, "name %s\n", name)
	}
	maps, _ := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, testPrefix) || strings.Contains(line, "/memfd:") {
			fmt.Fprintf(&b, "mapping %s", line)
		}
	}
	// Goroutines that have done their work still need a moment to go.
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			fmt.Fprintf(&b, "%s\n", stacks[:runtime.Stack(stacks, true)])
			break
		}
	}
	for _, d := range descriptors() {
		if i := slices.Index(before, d); i >= 0 {
			before = slices.Delete(before, i, i+1)
			continue
		}
		fmt.Fprintf(&b, "descriptor of %s\n", d)
	}
	return b.String()
}

// descriptors lists what this process has open, without the runtime's own netpoller
// and pidfds, which come when first needed and stay.
func descriptors() (links []string) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		link, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.HasPrefix(link, "anon_inode:") || strings.HasPrefix(link, "/proc/") {
			continue
		}
		links = append(links, link)
	}
	return links
}

var (
	testPrefix = fmt.Sprintf("shmchan-test-shm-%d-", os.Getpid())
	testSerial atomic.Int64
)

// uniqueName is a name in DefaultDir that nobody else uses. It is gone after the test.
func uniqueName(t testing.TB) string {
	name := fmt.Sprintf("%s%d", testPrefix, testSerial.Add(1))
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Join(DefaultDir, name)) })
	return name
}

// memoryDir is an empty directory on DefaultDir's file system.
func memoryDir(t testing.TB) string {
	dir := filepath.Join(DefaultDir, uniqueName(t))
	require.NoError(t, os.Mkdir(dir, 0o777))
	require.NoError(t, os.Chmod(dir, 0o777))
	return dir
}

// diskDir is an empty directory whose contents outlive the power, or a skip.
func diskDir(t testing.TB) string {
	for _, parent := range []string{os.TempDir(), "."} {
		dir, err := os.MkdirTemp(parent, "shmchan-test-")
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		d, err := openDir(dir)
		require.NoError(t, err)
		memory, err := inMemory(d)
		closeFd(d)
		require.NoError(t, err)
		if !memory {
			dir, err = filepath.Abs(dir)
			require.NoError(t, err)
			return dir
		}
	}
	t.Skip("no directory on a disk file system: neither the temporary one nor this package's")
	return ""
}

// pattern is what a whole object holds: no page of it is like another.
func pattern(mem []byte, seed byte) error {
	for i := range mem {
		mem[i] = patternByte(i, seed)
	}
	return nil
}

func patternByte(i int, seed byte) byte { return byte(i) ^ byte(i>>8)*31 ^ byte(i>>16)*17 ^ seed | 1 }

func checkPattern(mem []byte, seed byte) error {
	for i, b := range mem {
		if b != patternByte(i, seed) {
			return fmt.Errorf("byte %d of %d is %#x, not %#x", i, len(mem), b, patternByte(i, seed))
		}
	}
	return nil
}

// child prepares this program in another part. Its stderr is the test's to see.
func child(t testing.TB, part string, args ...string) *exec.Cmd {
	require.Contains(t, childParts, part)
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	// A race build sleeps for a second at exit unless it is told not to.
	cmd.Env = append(os.Environ(), childEnv+"="+part, "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	return cmd
}

// runChild runs the part to its end and returns what it printed.
func runChild(t testing.TB, cmd *exec.Cmd) string {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	require.NoError(t, err, "%s%s", stdout.String(), stderr.String())
	return stdout.String()
}

// A talker is a child that says lines and lives until it is told to go.
type talker struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	stdin io.WriteCloser
	ended bool
}

// talk starts the part. Whatever the test does, the child does not outlive it.
func talk(t testing.TB, cmd *exec.Cmd) *talker {
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	r, w, err := os.Pipe() // not StdoutPipe: Wait must not wait for grandchildren
	require.NoError(t, err)
	cmd.Stdout = w
	require.NoError(t, cmd.Start())
	require.NoError(t, w.Close())
	k := &talker{cmd: cmd, lines: bufio.NewScanner(r), stdin: stdin}
	t.Cleanup(func() {
		k.kill()
		_ = r.Close()
	})
	return k
}

// line waits for the child's next line.
func (k *talker) line(t testing.TB) string {
	require.True(t, k.lines.Scan(), "the child ended before it said anything: %v", k.lines.Err())
	return k.lines.Text()
}

func (k *talker) kill() {
	if !k.ended {
		k.ended = true
		_ = k.cmd.Process.Kill()
		_ = k.cmd.Wait()
	}
}

// untilEOF blocks a child until its parent lets go of its stdin.
func untilEOF() { _, _ = io.Copy(io.Discard, os.Stdin) }

func needRoot(t testing.TB) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

const nobody = 65534

// asNobody drops the child's privileges.
func asNobody(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}
