package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var names atomic.Int64

// uniqueName is a POSIX name that nobody else uses, removed when the test ends.
func uniqueName(t *testing.T) string {
	name := fmt.Sprintf("/shm-example-%d-%d", os.Getpid(), names.Add(1))
	t.Cleanup(func() { os.Remove("/dev/shm" + name) })
	return name
}

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

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%v: %s", args, &stderr)
	return string(out)
}

// texts are of sizes around a page's.
var texts = []string{"hello, shared memory", "", strings.Repeat("x", 4095), strings.Repeat("y", 4096), strings.Repeat("z", 10_000), "ä"}

func TestWhatIsWrittenIsRead(t *testing.T) {
	program, name := build(t), uniqueName(t)
	for _, text := range append(texts, texts[1], texts[0]) { // replacing each other
		run(t, program, "write", name, text)
		require.Equal(t, text+"\n", run(t, program, "read", name))
	}
	info, err := os.Stat("/dev/shm" + name)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
}

func TestACProgramReadsAndWritesTheSameObject(t *testing.T) {
	peer, program, name := buildC(t, "peer.c"), build(t), uniqueName(t)
	for _, text := range texts {
		run(t, program, "write", name, text)
		require.Equal(t, text, run(t, peer, "gets", name))
		require.Equal(t, text, strings.TrimSuffix(run(t, peer, "get", name), "\x00"))
	}
	name = uniqueName(t)
	run(t, peer, "put", name, "hello from C")
	require.Equal(t, "hello from C\n", run(t, program, "read", name))
	run(t, program, "write", name, "bye") // into C's object
	require.Equal(t, "bye", run(t, peer, "get", name))
}

func TestMistakesAreErrors(t *testing.T) {
	program := build(t)
	for status, lines := range map[int][][]string{
		1: {{"read", uniqueName(t)}, {"write", "/a/b", "x"}, {"write", "", "x"}},
		2: {{}, {"read"}, {"write", "/x"}, {"sing", "/x"}},
	} {
		for _, args := range lines {
			cmd := exec.Command(program, args...)
			out, err := cmd.CombinedOutput()
			require.Error(t, err)
			assert.Equal(t, status, cmd.ProcessState.ExitCode(), args)
			assert.NotEmpty(t, out)
		}
	}
}
