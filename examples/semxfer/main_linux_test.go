package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const patience = time.Minute // the watchdog's

var names atomic.Int64

// uniqueName is a POSIX name that nobody else uses. The writers remove it.
func uniqueName(t *testing.T) string {
	name := fmt.Sprintf("/semxfer-%d-%d", os.Getpid(), names.Add(1))
	t.Cleanup(func() { assert.NoFileExists(t, "/dev/shm"+name); os.Remove("/dev/shm" + name) })
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

// process is a program under way, killed at the latest when the test ends.
type process struct {
	*exec.Cmd
	out, stderr bytes.Buffer
}

func start(t *testing.T, in io.Reader, program string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	p := &process{Cmd: exec.CommandContext(ctx, program, args...)}
	p.Stdin, p.Stdout, p.Stderr = in, &p.out, &p.stderr
	require.NoError(t, p.Start())
	return p
}

func (p *process) good(t *testing.T) {
	t.Helper()
	require.NoError(t, p.Wait(), "%v: %s", p.Args, &p.stderr)
}

func waitFor(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(path, "did not come")
		}
	}
}

// data is n bytes that are the same each time.
func data(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func transfer(t *testing.T, writer, reader string, n int, readerFirst bool) {
	name, sent := uniqueName(t), data(n)
	var r *process
	if readerFirst {
		r = start(t, nil, reader, "reader", name)
	}
	w := start(t, bytes.NewReader(sent), writer, "writer", name)
	if !readerFirst {
		waitFor(t, "/dev/shm"+name)
		r = start(t, nil, reader, "reader", name)
	}
	r.good(t)
	w.good(t)
	require.Equal(t, n, r.out.Len())
	require.Equal(t, sha256.Sum256(sent), sha256.Sum256(r.out.Bytes()))
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	program := build(t)
	for _, n := range []int{0, 1, 1023, 1024, 1025, 4_000_000} {
		for _, readerFirst := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes/reader first=%v", n, readerFirst), func(t *testing.T) {
				transfer(t, program, program, n, readerFirst)
			})
		}
	}
}

func TestACProgramAtEitherEnd(t *testing.T) {
	c, program := buildC(t, "semxfer.c"), build(t)
	layout, err := exec.Command(c, "layout").Output()
	require.NoError(t, err)
	if want := fmt.Sprintf("%d %d %d %d\n", size, rsemAt, cntAt, bufAt); string(layout) != want {
		t.Skipf("the C compiler makes programs of another kind: its layout is %s", layout)
	}
	for _, n := range []int{0, 1, 1024, 2_000_000} {
		t.Run(fmt.Sprintf("from C, %d bytes", n), func(t *testing.T) { transfer(t, c, program, n, true) })
		t.Run(fmt.Sprintf("to C, %d bytes", n), func(t *testing.T) { transfer(t, program, c, n, false) })
		t.Run(fmt.Sprintf("to a polite C program, %d bytes", n), func(t *testing.T) {
			t.Setenv("POLITE", "1")
			transfer(t, program, c, n, false)
		})
	}
}

// startSilent starts a writer to whose input nothing comes.
func startSilent(t *testing.T, program, name string) *process {
	t.Helper()
	in, keep, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { keep.Close() })
	defer in.Close()
	w := start(t, in, program, "writer", name)
	waitFor(t, "/dev/shm"+name)
	return w
}

func TestAWriterReplacesWhatAKilledOneHasLeft(t *testing.T) {
	program, name := build(t), uniqueName(t)
	left := startSilent(t, program, name)
	require.NoError(t, left.Process.Kill())
	require.Error(t, left.Wait())
	old, err := os.Stat("/dev/shm" + name)
	require.NoError(t, err)
	w := start(t, strings.NewReader("new"), program, "writer", name)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if now, err := os.Stat("/dev/shm" + name); err == nil && !os.SameFile(old, now) {
			break
		}
		require.True(t, time.Now().Before(deadline), "the object is still the old one")
	}
	r := start(t, nil, program, "reader", name)
	r.good(t)
	w.good(t)
	require.Equal(t, "new", r.out.String())
}

func TestAnInterruptEndsEitherAndRemovesTheName(t *testing.T) {
	program, name := build(t), uniqueName(t)
	w := startSilent(t, program, name)
	r := start(t, nil, program, "reader", name)
	require.NoError(t, w.Process.Signal(os.Interrupt))
	require.Error(t, w.Wait())
	require.Equal(t, 1, w.ProcessState.ExitCode())
	require.Contains(t, w.stderr.String(), "semxfer: ")
	require.NoError(t, r.Process.Signal(os.Interrupt))
	require.Error(t, r.Wait())
}

func TestMistakesAreErrors(t *testing.T) {
	program := build(t)
	for status, lines := range map[int][][]string{
		1: {{"-wait", "20ms", "reader", uniqueName(t)}, {"reader", "/a/b"}, {"writer", "/a/b"}},
		2: {{}, {"reader"}, {"sing", "/x"}},
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
