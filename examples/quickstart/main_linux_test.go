package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

func start(t *testing.T, args ...string) *program.Process {
	t.Helper()
	p := program.Start(t, program.Build(t), args...)
	t.Cleanup(func() {
		left, err := filepath.Glob(fmt.Sprintf("/dev/shm/quickstart-%d-*", p.Process.Pid))
		require.NoError(t, err)
		assert.Empty(t, left)
	})
	return p
}

func TestTheExampleDoesItsJobAndMeasures(t *testing.T) {
	p := start(t, "-short")
	p.Ends(0)
	assert.Empty(t, p.Err.String())
	out := p.Out.String()
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
	p := start(t)
	program.Until(t, "its six names are there", func() bool {
		names, _ := filepath.Glob(fmt.Sprintf("/dev/shm/quickstart-%d-*", p.Process.Pid))
		return len(names) == 6
	})
	p.Signal(syscall.SIGINT)
	p.Ends(1)
	assert.True(t, strings.HasPrefix(p.Err.String(), "quickstart: "), "%s", p.Err)
}

func TestADeadChildIsAnErrorOfTheParent(t *testing.T) {
	if _, err := os.Stat("/proc/thread-self/children"); err != nil {
		t.Skip("this kernel does not list a process's children")
	}
	p := start(t)
	child := 0
	program.Until(t, "it has a child", func() bool {
		// The child may be any thread's.
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.Process.Pid))
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
	p.Ends(1, "quickstart: ")
}
