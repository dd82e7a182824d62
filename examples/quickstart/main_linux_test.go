package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const patience = time.Minute // the watchdog's

// build makes the program as a newcomer's go run does, without a C compiler.
func build(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command here to build the example with")
	}
	program := filepath.Join(t.TempDir(), "quickstart")
	cmd := exec.Command("go", "build", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
	return program
}

func start(t *testing.T, program string, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd = exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		left, err := filepath.Glob(fmt.Sprintf("/dev/shm/quickstart-%d-*", cmd.Process.Pid))
		require.NoError(t, err)
		assert.Empty(t, left)
	})
	return cmd, stdout, stderr
}

func TestTheExampleDoesItsJobAndMeasures(t *testing.T) {
	cmd, stdout, stderr := start(t, build(t), "-short")
	require.NoError(t, cmd.Wait(), "%s", stderr)
	assert.Empty(t, stderr.String())
	out := stdout.String()
	t.Log("\n" + out)
	assert.Contains(t, out, "sent 100000 orders to a child process and received 100000 fills, all as expected")
	for _, row := range []string{
		`shmchan, two processes +\d+\.\d+ M/s`, `Go channel, one process +\d+\.\d+ M/s`, `pipe, two processes +\d+\.\d+ M/s`,
		`shmchan, two processes, spinning +\d+ ns`, `Go channel, one process +\d+ ns`, `pipe, two processes +\d+ ns`,
	} {
		assert.Regexp(t, regexp.MustCompile(`(?m)^`+row), out)
	}
}

func TestAnInterruptEndsBothProcessesAndRemovesTheNames(t *testing.T) {
	cmd, _, stderr := start(t, build(t))
	waitFor(t, func() bool {
		names, _ := filepath.Glob(fmt.Sprintf("/dev/shm/quickstart-%d-*", cmd.Process.Pid))
		return len(names) == 6
	})
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	assert.Error(t, cmd.Wait())
	assert.Equal(t, 1, cmd.ProcessState.ExitCode())
	assert.True(t, strings.HasPrefix(stderr.String(), "quickstart: "), "%s", stderr)
}

func TestADeadChildIsAnErrorOfTheParent(t *testing.T) {
	if _, err := os.Stat("/proc/thread-self/children"); err != nil {
		t.Skip("this kernel does not list a process's children")
	}
	cmd, _, stderr := start(t, build(t))
	child := 0
	waitFor(t, func() bool {
		// The child may be any thread's.
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", cmd.Process.Pid))
		for _, list := range lists {
			text, _ := os.ReadFile(list)
			if n, _ := fmt.Sscan(string(text), &child); n != 1 {
				continue
			}
			// Go forks for a moment to see what the kernel can do; that is not it.
			if line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child)); strings.Contains(string(line), "-child") {
				return true
			}
		}
		return false
	})
	require.NoError(t, syscall.Kill(child, syscall.SIGKILL))
	assert.Error(t, cmd.Wait())
	assert.Equal(t, 1, cmd.ProcessState.ExitCode())
	assert.Contains(t, stderr.String(), "quickstart: ")
}

func waitFor(t *testing.T, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come")
		}
	}
}
