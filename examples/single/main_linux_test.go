package main

import (
	"bufio"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/fallback"
	"github.com/shmchan/shmchan/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

func status(t *testing.T, path string, args ...string) int {
	t.Helper()
	return program.Start(t, path, args...).Status()
}

// newLock is the path of a lock file that nobody has.
func newLock(t *testing.T) string { return filepath.Join(t.TempDir(), "lock") }

func TestStatusIsTheCommands(t *testing.T) {
	single, lock := program.Build(t), newLock(t)
	require.Equal(t, 0, status(t, single, lock, "sh", "-c", "exit 0"))
	require.Equal(t, 7, status(t, single, lock, "sh", "-c", "exit 7"))
	require.Equal(t, 128+9, status(t, single, lock, "sh", "-c", "kill -9 $$"))
	require.Equal(t, 127, status(t, single, lock, "/no/such/command"))
	for _, args := range [][]string{{}, {lock}} {
		program.Start(t, single, args...).Ends(2, "usage: ")
	}
	program.Start(t, single, filepath.Dir(lock)+"/none/lock", "sh", "-c", "exit 0").Ends(1, "single: ")
	program.Start(t, single, filepath.Dir(lock), "sh", "-c", "exit 0").Ends(1, "single: ")
}

// The lock is the command's: single may be killed, and the second instance still waits.
func TestASecondInstanceIsRefusedAsLongAsTheCommandLives(t *testing.T) {
	single, lock := program.Build(t), newLock(t)
	theirIn, in, err := os.Pipe() // not StdinPipe, which the end of single closes
	require.NoError(t, err)
	defer in.Close()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	first := program.New(t, single, lock, "sh", "-c", "echo runs; read line; echo ends")
	first.Stdin, first.Stdout, first.Stderr = theirIn, w, nil
	first.Start()
	theirIn.Close()
	w.Close()
	lines := bufio.NewReader(r)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "runs\n", line)
	program.Start(t, single, lock, "sh", "-c", "exit 0").Ends(75, "another instance runs")
	first.Signal(os.Kill)
	first.Ends(128 + 9)
	require.Equal(t, 75, status(t, single, lock, "sh", "-c", "exit 0"), "single is dead, its command lives")
	in.Close()
	line, err = lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ends\n", line)
	// The command's end, and with it the lock's, comes a moment after its last line.
	f, err := os.Open(lock)
	require.NoError(t, err)
	require.NoError(t, fallback.Flock(t.Context(), f, fallback.LockExclusive))
	require.NoError(t, f.Close())
	require.Equal(t, 0, status(t, single, lock, "sh", "-c", "exit 0"))
}

func TestSignalsArePassedOn(t *testing.T) {
	single, lock := program.Build(t), newLock(t)
	cmd := program.New(t, single, lock, "sh", "-c", "trap 'exit 5' TERM; echo ready; read line")
	_, err := cmd.StdinPipe()
	require.NoError(t, err)
	cmd.Start()
	require.Equal(t, "ready", cmd.Line())
	cmd.Signal(syscall.SIGTERM)
	cmd.Ends(5)
}

func TestAProgramInCMeetsTheLock(t *testing.T) {
	single, peer, lock := program.Build(t), program.BuildC(t, "testdata/peer.c"), newLock(t)
	c := program.New(t, peer, "hold", lock)
	in, err := c.StdinPipe()
	require.NoError(t, err)
	c.Start()
	require.Equal(t, "held", c.Line())
	require.Equal(t, 75, status(t, single, lock, "sh", "-c", "exit 0"))
	in.Close()
	c.Ends(0)

	ours := program.New(t, single, lock, "sh", "-c", "echo held; read line")
	in, err = ours.StdinPipe()
	require.NoError(t, err)
	ours.Start()
	require.Equal(t, "held", ours.Line())
	require.Equal(t, 3, status(t, peer, "try", lock))
	in.Close()
	require.Equal(t, 1, ours.Status(), "sh's read meets the end of its input")
	require.Equal(t, 0, status(t, peer, "try", lock))
}
