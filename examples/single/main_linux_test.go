package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/fallback"
)

func buildSingle(t *testing.T) (program, lock string) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command here to build the example with")
	}
	dir := t.TempDir()
	program = filepath.Join(dir, "single")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s", said)
	return program, filepath.Join(dir, "lock")
}

func status(t *testing.T, program string, args ...string) int {
	err := exec.Command(program, args...).Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return ended.ExitCode()
	}
	require.NoError(t, err)
	return 0
}

func TestStatusIsTheCommands(t *testing.T) {
	program, lock := buildSingle(t)
	require.Equal(t, 0, status(t, program, lock, "sh", "-c", "exit 0"))
	require.Equal(t, 7, status(t, program, lock, "sh", "-c", "exit 7"))
	require.Equal(t, 128+9, status(t, program, lock, "sh", "-c", "kill -9 $$"))
	require.Equal(t, 127, status(t, program, lock, "/no/such/command"))
	require.Equal(t, 2, status(t, program, lock))
	require.Equal(t, 1, status(t, program, filepath.Dir(lock)+"/none/lock", "sh", "-c", "exit 0"))
}

// The lock is the command's: single may be killed, and the second instance still waits.
func TestASecondInstanceIsRefusedAsLongAsTheCommandLives(t *testing.T) {
	program, lock := buildSingle(t)
	first := exec.Command(program, lock, "sh", "-c", "echo runs; read line; echo ends")
	theirIn, in, err := os.Pipe() // not StdinPipe, which Wait closes
	require.NoError(t, err)
	defer in.Close()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	first.Stdin, first.Stdout = theirIn, w
	require.NoError(t, first.Start())
	theirIn.Close()
	w.Close()
	lines := bufio.NewReader(r)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "runs\n", line)
	require.Equal(t, 75, status(t, program, lock, "sh", "-c", "exit 0"))
	require.NoError(t, first.Process.Kill())
	_ = first.Wait()
	require.Equal(t, 75, status(t, program, lock, "sh", "-c", "exit 0"), "single is dead, its command lives")
	in.Close()
	line, err = lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ends\n", line)
	// The command's end, and with it the lock's, comes a moment after its last line.
	f, err := os.Open(lock)
	require.NoError(t, err)
	require.NoError(t, fallback.Flock(t.Context(), f, fallback.LockExclusive))
	require.NoError(t, f.Close())
	require.Equal(t, 0, status(t, program, lock, "sh", "-c", "exit 0"))
}

func TestSignalsArePassedOn(t *testing.T) {
	program, lock := buildSingle(t)
	cmd := exec.Command(program, lock, "sh", "-c", "trap 'exit 5' TERM; echo ready; read line")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer in.Close()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Error(t, cmd.Wait())
	require.Equal(t, 5, cmd.ProcessState.ExitCode())
}
