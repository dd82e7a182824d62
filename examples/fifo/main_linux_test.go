package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

func TestServerPrintsTheLinesOfItsClients(t *testing.T) {
	fifo, path := program.Build(t), filepath.Join(t.TempDir(), "lines")
	// This test's own end keeps the server from seeing an end of file between clients.
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	keep, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer keep.Close()

	server := program.Start(t, fifo, "server", path)
	var clients []*program.Process
	want := map[string]bool{}
	for i := range 3 {
		var lines strings.Builder
		for n := range 200 {
			line := fmt.Sprintf("client %d line %d %s", i, n, strings.Repeat("x", n))
			want[line] = true
			fmt.Fprintln(&lines, line)
		}
		client := program.New(t, fifo, "client", path)
		client.Stdin = strings.NewReader(lines.String())
		clients = append(clients, client.Start())
	}
	for _, c := range clients {
		c.Ends(0)
	}
	require.NoError(t, keep.Close())
	server.Ends(0)
	for line := range strings.Lines(server.Out.String()) {
		line = strings.TrimSuffix(line, "\n")
		require.True(t, want[line], "%q was not sent, or came twice", line)
		delete(want, line)
	}
	require.Empty(t, want)
	_, err = os.Lstat(path)
	require.NoError(t, err, "the server has not made it, so it does not remove it")
}

func TestServerMeetsTheShell(t *testing.T) {
	fifo, path := program.Build(t), filepath.Join(t.TempDir(), "lines")
	server := program.Start(t, fifo, "server", path)
	// The shell's redirection blocks in open(2) until the server is there; before the FIFO is, it
	// would make a file.
	program.Exists(t, path)
	program.Run(t, "sh", "-c", `echo hello > "$0"`, path)
	server.Ends(0)
	require.Equal(t, "hello\n", server.Out.String())
	_, err := os.Lstat(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestAProgramInCAtEitherEnd(t *testing.T) {
	fifo, peer := program.Build(t), program.BuildC(t, "testdata/peer.c")
	text := strings.Repeat("a line\n", 100_000)
	for name, ends := range map[string][2]string{"C sends": {fifo, peer}, "C receives": {peer, fifo}} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lines")
			server := program.Start(t, ends[0], "server", path)
			program.Exists(t, path)
			client := program.New(t, ends[1], "client", path)
			client.Stdin = strings.NewReader(text)
			client.Start().Ends(0)
			server.Ends(0)
			require.Equal(t, text, server.Out.String())
		})
	}
}

func TestAnInterruptRemovesWhatTheServerHasMade(t *testing.T) {
	fifo, path := program.Build(t), filepath.Join(t.TempDir(), "lines")
	for _, connected := range []bool{false, true} {
		server := program.Start(t, fifo, "server", path)
		program.Exists(t, path)
		if connected {
			keep, err := os.OpenFile(path, os.O_WRONLY, 0) // returns when the server has opened it
			require.NoError(t, err)
			defer keep.Close()
		}
		server.Signal(os.Interrupt)
		server.Ends(1, "fifo: ")
		_, err := os.Lstat(path)
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
}

func TestMistakesAreErrors(t *testing.T) {
	fifo, path := program.Build(t), filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	for _, args := range [][]string{{}, {"server"}, {"nobody", path}, {"server", path, "x"}} {
		program.Start(t, fifo, args...).Ends(2, "usage: ")
	}
	for _, args := range [][]string{{"server", path}, {"client", path}, {"client", path + "-absent"}} {
		program.Start(t, fifo, args...).Ends(1, "fifo: ")
	}
}
