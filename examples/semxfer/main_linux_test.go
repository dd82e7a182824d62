package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

// newName is a POSIX name that nobody else uses. The writers remove it.
func newName(t *testing.T) string {
	name := program.Name("semxfer")
	t.Cleanup(func() {
		assert.NoFileExists(t, "/dev/shm"+name)
		os.Remove("/dev/shm" + name)
	})
	return name
}

// start starts one end.
func start(t *testing.T, in io.Reader, path string, args ...string) *program.Process {
	t.Helper()
	p := program.New(t, path, args...)
	p.Stdin = in
	return p.Start()
}

// whole returns when the object is there and has its length.
func whole(t *testing.T, name string) {
	t.Helper()
	program.Until(t, "the object is there", func() bool {
		info, err := os.Stat("/dev/shm" + name)
		return err == nil && info.Size() > 0
	})
}

// data is n bytes that are the same each time.
func data(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func transfer(t *testing.T, writer, reader string, n int, readerFirst bool) {
	name, sent := newName(t), data(n)
	var r *program.Process
	if readerFirst {
		r = start(t, nil, reader, "reader", name)
	}
	w := start(t, bytes.NewReader(sent), writer, "writer", name)
	if !readerFirst {
		whole(t, name)
		r = start(t, nil, reader, "reader", name)
	}
	r.Ends(0)
	w.Ends(0)
	require.Equal(t, n, r.Out.Len())
	require.Equal(t, sha256.Sum256(sent), sha256.Sum256([]byte(r.Out.String())))
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	semxfer := program.Build(t)
	for _, n := range []int{0, 1, 1023, 1024, 1025, 4_000_000} {
		for _, readerFirst := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes/reader first=%v", n, readerFirst), func(t *testing.T) {
				transfer(t, semxfer, semxfer, n, readerFirst)
			})
		}
	}
}

func TestACProgramAtEitherEnd(t *testing.T) {
	c, semxfer := program.BuildC(t, "testdata/semxfer.c"), program.Build(t)
	layout := program.Run(t, c, "layout")
	if want := fmt.Sprintf("%d %d %d %d\n", size, rsemAt, cntAt, bufAt); layout != want {
		t.Skipf("the C compiler makes programs of another kind: its layout is %s", layout)
	}
	for _, n := range []int{0, 1, 1024, 2_000_000} {
		t.Run(fmt.Sprintf("from C, %d bytes", n), func(t *testing.T) { transfer(t, c, semxfer, n, true) })
		t.Run(fmt.Sprintf("to C, %d bytes", n), func(t *testing.T) { transfer(t, semxfer, c, n, false) })
		t.Run(fmt.Sprintf("to a polite C program, %d bytes", n), func(t *testing.T) {
			t.Setenv("POLITE", "1")
			transfer(t, semxfer, c, n, false)
		})
	}
}

// startSilent starts a writer to whose input nothing comes.
func startSilent(t *testing.T, path, name string) *program.Process {
	t.Helper()
	in, keep, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { keep.Close() })
	defer in.Close()
	w := start(t, in, path, "writer", name)
	whole(t, name)
	return w
}

func TestAWriterReplacesWhatAKilledOneHasLeft(t *testing.T) {
	semxfer, name := program.Build(t), newName(t)
	left := startSilent(t, semxfer, name)
	left.Signal(os.Kill)
	left.Ends(128 + 9)
	old, err := os.Stat("/dev/shm" + name)
	require.NoError(t, err)
	w := start(t, strings.NewReader("new"), semxfer, "writer", name)
	program.Until(t, "the object is a new one", func() bool {
		now, err := os.Stat("/dev/shm" + name)
		return err == nil && !os.SameFile(old, now)
	})
	r := start(t, nil, semxfer, "reader", name)
	r.Ends(0)
	w.Ends(0)
	require.Equal(t, "new", r.Out.String())
}

func TestAReaderWaitsForAWriterWhoLives(t *testing.T) {
	semxfer, name := program.Build(t), newName(t)
	left := startSilent(t, semxfer, name)
	left.Signal(os.Kill)
	left.Ends(128 + 9)
	r := start(t, nil, semxfer, "reader", name)
	w := start(t, strings.NewReader("new"), semxfer, "writer", name)
	r.Ends(0)
	w.Ends(0)
	require.Equal(t, "new", r.Out.String())
}

// zeros never end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func TestAnEndNoticesThatTheOtherOneWasKilled(t *testing.T) {
	semxfer := program.Build(t)
	if !leases(t) {
		t.Skip("this kernel does not tell whether a file is open elsewhere")
	}
	for _, language := range []string{"Go", "C"} {
		// halfWay starts both ends, and returns when bytes have come through.
		halfWay := func(t *testing.T, writer, reader string) (w, r *program.Process, name string) {
			name = program.Name("semxfer")
			t.Cleanup(func() { os.Remove("/dev/shm" + name) })
			w = start(t, zeros{}, writer, "writer", name)
			whole(t, name)
			r = start(t, nil, reader, "reader", name)
			program.Until(t, "bytes have come", func() bool { return r.Out.Len() > 0 })
			return w, r, name
		}
		other := func(t *testing.T) string {
			if language == "C" {
				return program.BuildC(t, "testdata/semxfer.c")
			}
			return semxfer
		}
		t.Run("reader in "+language, func(t *testing.T) {
			w, r, name := halfWay(t, semxfer, other(t))
			r.Signal(os.Kill)
			w.Ends(1, "the other end has gone")
			require.NoFileExists(t, "/dev/shm"+name)
		})
		t.Run("writer in "+language, func(t *testing.T) {
			w, r, _ := halfWay(t, other(t), semxfer)
			w.Signal(os.Kill)
			r.Ends(1, "the other end has gone")
		})
	}
}

// leases reports whether alone can know.
func leases(t *testing.T) bool {
	t.Helper()
	name := newName(t)
	s, err := create(name)
	require.NoError(t, err)
	defer s.close()
	require.NoError(t, os.Remove("/dev/shm"+name))
	return alone(s.file)
}

func TestAnInterruptEndsEitherAndRemovesTheName(t *testing.T) {
	semxfer, name := program.Build(t), newName(t)
	w := startSilent(t, semxfer, name)
	r := start(t, nil, semxfer, "reader", name)
	program.Until(t, "it has the object", func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", r.Process.Pid))
		require.NoError(t, err)
		return strings.Contains(string(text), name)
	})
	r.Signal(os.Interrupt)
	r.Ends(1, "semxfer: ")
	w.Signal(os.Interrupt)
	w.Ends(1, "semxfer: ")
	require.NoFileExists(t, "/dev/shm"+name)
}

func TestMistakesAreErrors(t *testing.T) {
	semxfer := program.Build(t)
	for _, args := range [][]string{{"-wait", "20ms", "reader", newName(t)}, {"reader", "/a/b"}, {"writer", "/a/b"}, {"writer", ""}, {"reader", "/"}} {
		program.Start(t, semxfer, args...).Ends(1, "semxfer: ")
	}
	for _, args := range [][]string{{}, {"reader"}, {"sing", "/x"}, {"reader", "/x", "y"}, {"-z", "reader", "/x"}} {
		program.Start(t, semxfer, args...).Ends(2, "usage: ")
	}
}
