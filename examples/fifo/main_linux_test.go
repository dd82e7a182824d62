package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "fifo")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

// start starts a command that is killed at the end of the test at the latest.
func start(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

func TestServerPrintsTheLinesOfItsClients(t *testing.T) {
	program, path := build(t), filepath.Join(t.TempDir(), "lines")
	// This test's own end keeps the server from seeing an end of file between clients.
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	keep, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer keep.Close()

	var out bytes.Buffer
	server := exec.Command(program, "server", path)
	server.Stdout = &out
	start(t, server)
	var clients []*exec.Cmd
	want := map[string]bool{}
	for i := range 3 {
		var lines strings.Builder
		for n := range 200 {
			line := fmt.Sprintf("client %d line %d %s", i, n, strings.Repeat("x", n))
			want[line] = true
			fmt.Fprintln(&lines, line)
		}
		client := exec.Command(program, "client", path)
		client.Stdin = strings.NewReader(lines.String())
		clients = append(clients, start(t, client))
	}
	for _, c := range clients {
		require.NoError(t, c.Wait())
	}
	require.NoError(t, keep.Close())
	require.NoError(t, server.Wait())
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		require.True(t, want[line], "%q was not sent, or came twice", line)
		delete(want, line)
	}
	require.Empty(t, want)
	_, err = os.Lstat(path)
	require.NoError(t, err, "the server has not made it, so it does not remove it")
}

func TestServerMeetsTheShell(t *testing.T) {
	program, path := build(t), filepath.Join(t.TempDir(), "lines")
	var out bytes.Buffer
	server := exec.Command(program, "server", path)
	server.Stdout = &out
	start(t, server)
	// The shell's redirection blocks in open(2) until the server is there; before the FIFO is, it
	// would make a file.
	shell := exec.Command("sh", "-c", `until [ -p "$0" ]; do :; done; echo hello > "$0"`, path)
	require.NoError(t, start(t, shell).Wait())
	require.NoError(t, server.Wait())
	require.Equal(t, "hello\n", out.String())
	_, err := os.Lstat(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestBadArgumentsAreRefused(t *testing.T) {
	program, path := build(t), filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	for _, args := range [][]string{{}, {"server"}, {"nobody", path}, {"server", path}, {"client", path}} {
		require.Error(t, exec.Command(program, args...).Run(), "%q", args)
	}
}
