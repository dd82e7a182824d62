package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const patience = time.Minute // the watchdog's

var names atomic.Int64

// uniqueName is a semaphore's name that nobody else uses, removed when the test ends.
func uniqueName(t *testing.T) string {
	name := fmt.Sprintf("/namedsem-%d-%d", os.Getpid(), names.Add(1))
	t.Cleanup(func() { os.Remove(file(name)) })
	return name
}

// file is where the C library keeps the semaphore.
func file(name string) string { return "/dev/shm/sem." + name[1:] }

// build makes the program as go run does.
func build(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command here to build the example with")
	}
	program := filepath.Join(t.TempDir(), "example")
	cmd := exec.Command("go", "build", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
	return program
}

// buildC compiles a program of testdata, or skips the test.
func buildC(t *testing.T, source string) string {
	t.Helper()
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	if _, err := exec.LookPath(cc); err != nil {
		t.Skip("no C compiler (cc or $CC): no C program at the other end was tried")
	}
	program := filepath.Join(t.TempDir(), strings.TrimSuffix(source, ".c"))
	said, err := exec.Command(cc, "-O1", "-Wall", "-o", program, filepath.Join("testdata", source), "-pthread", "-lrt").CombinedOutput()
	require.NoError(t, err, "%s", said)
	return program
}

func command(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, program, args...)
}

// holding starts a command under the semaphore, which says "held" when it has it.
// It goes on until release is called.
func holding(t *testing.T, program string, args ...string) (cmd *exec.Cmd, release func()) {
	t.Helper()
	cmd = command(t, program, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { in.Close() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "held\n", line)
	return cmd, func() { in.Close() }
}

func TestTheExitStatusIsTheCommands(t *testing.T) {
	program, name := build(t), uniqueName(t)
	notExecutable := filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.WriteFile(notExecutable, nil, 0o600))
	for _, c := range []struct {
		status int
		args   []string
	}{
		{0, []string{name, "sh", "-c", "exit 0"}},
		{1, []string{name, "sh", "-c", "exit 1"}},
		{42, []string{name, "sh", "-c", "exit 42"}},
		{128 + 9, []string{name, "sh", "-c", "kill -9 $$"}},
		{127, []string{name, "no-such-command-anywhere"}},
		{126, []string{name, notExecutable}},
		{125, []string{"/a/b", "sh", "-c", "exit 0"}},
		{125, []string{name}},
		{125, []string{"-u", uniqueName(t)}},
		{0, []string{name, "sh", "-c", "exit 0"}}, // it was given back each time
		{0, []string{"-u", name}},
	} {
		cmd := command(t, program, c.args...)
		_, _ = cmd.CombinedOutput()
		require.Equal(t, c.status, cmd.ProcessState.ExitCode(), c.args)
	}
	require.NoFileExists(t, file(name))
}

func TestStandardStreamsAreTheCommands(t *testing.T) {
	cmd := command(t, build(t), uniqueName(t), "sh", "-c", "cat; echo err >&2")
	cmd.Stdin = strings.NewReader("in")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Equal(t, "in", string(out))
	require.Equal(t, "err\n", stderr.String())
}

// A counter in a file that each command reads, and writes one higher, is right only if
// none ran beside another.
func TestOneCommandRunsAtATime(t *testing.T) {
	program, name := build(t), uniqueName(t)
	counter := filepath.Join(t.TempDir(), "counter")
	require.NoError(t, os.WriteFile(counter, []byte("0\n"), 0o600))
	const commands = 30
	var wg sync.WaitGroup
	for range commands {
		wg.Go(func() {
			out, err := command(t, program, name, "sh", "-c", `n=$(cat "$1"); echo $((n+1)) >"$1"`, "sh", counter).CombinedOutput()
			assert.NoError(t, err, "%s", out)
		})
	}
	wg.Wait()
	text, err := os.ReadFile(counter)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintln(commands), string(text))
}

const hold = "echo held; cat >/dev/null"

func TestSeveralAtATimeIfAskedFor(t *testing.T) {
	program, name := build(t), uniqueName(t)
	a, releaseA := holding(t, program, "-n", "2", name, "sh", "-c", hold)
	b, releaseB := holding(t, program, "-n", "2", name, "sh", "-c", hold)
	releaseA()
	releaseB()
	require.NoError(t, a.Wait())
	require.NoError(t, b.Wait())
}

func TestASignalWhileWaitingEndsTheWait(t *testing.T) {
	program, name := build(t), uniqueName(t)
	held, release := holding(t, program, name, "sh", "-c", hold)
	ran := filepath.Join(t.TempDir(), "ran")
	waiting := command(t, program, name, "sh", "-c", `: >"$0"`, ran)
	require.NoError(t, waiting.Start())
	waits(t, waiting.Process.Pid)
	require.NoError(t, waiting.Process.Signal(syscall.SIGTERM))
	require.Error(t, waiting.Wait())
	require.Equal(t, 128+int(syscall.SIGTERM), waiting.ProcessState.ExitCode())
	require.NoFileExists(t, ran)
	release()
	require.NoError(t, held.Wait())
	require.NoError(t, command(t, program, name, "sh", "-c", "exit 0").Run(), "the token is there")
}

// waits returns when the process has opened a semaphore: then it catches signals, and waits
// or is about to.
func waits(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		require.NoError(t, err)
		if strings.Contains(string(text), "/dev/shm/sem.") {
			return
		}
		require.True(t, time.Now().Before(deadline), "it does not wait")
	}
}

func TestASignalIsPassedOnToTheCommand(t *testing.T) {
	program, name := build(t), uniqueName(t)
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		cmd, _ := holding(t, program, name, "sh", "-c", fmt.Sprintf(`trap 'exit 9' %d; echo held; while :; do read x; done`, int(s)))
		require.NoError(t, cmd.Process.Signal(s))
		// The shell ends its read for the trap.
		require.Error(t, cmd.Wait())
		require.Equal(t, 9, cmd.ProcessState.ExitCode(), s)
	}
	require.NoError(t, command(t, program, name, "sh", "-c", "exit 0").Run(), "the token was given back")
}

func TestACProgramMeetsIt(t *testing.T) {
	peer, program, name := buildC(t, "peer.c"), build(t), uniqueName(t)
	value := func() string {
		out, err := command(t, peer, "value", name).Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}
	// C holds it: ours waits, and runs when C gives it back.
	c, release := holding(t, peer, "hold", name)
	require.Equal(t, "0", value())
	ours := command(t, program, name, "sh", "-c", "exit 0")
	require.NoError(t, ours.Start())
	waits(t, ours.Process.Pid)
	release()
	require.NoError(t, c.Wait())
	require.NoError(t, ours.Wait())
	require.Equal(t, "1", value())

	// Ours holds it: C waits.
	held, release := holding(t, program, name, "sh", "-c", hold)
	require.Equal(t, "0", value())
	release()
	require.NoError(t, held.Wait())
	c, release = holding(t, peer, "hold", name)
	release()
	require.NoError(t, c.Wait())
}
