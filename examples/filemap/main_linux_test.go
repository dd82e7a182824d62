package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

func TestOneWritesAnotherReads(t *testing.T) {
	filemap, file := program.Build(t), filepath.Join(t.TempDir(), "file")
	program.Start(t, filemap, file).Ends(1, "no such file")
	require.Empty(t, program.Run(t, filemap, file, "a longer text"))
	program.Run(t, filemap, file, "short")
	require.Equal(t, "short\n", program.Run(t, filemap, file))
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Len(t, b, 4096)
	require.True(t, strings.HasPrefix(string(b), "short\x00er text\x00\x00"))

	require.NoError(t, os.WriteFile(file, []byte("by other means"), 0o600))
	require.Equal(t, "by other means\n", program.Run(t, filemap, file))
}

func TestAProgramInCMapsTheSameFile(t *testing.T) {
	filemap, peer, file := program.Build(t), program.BuildC(t, "testdata/peer.c"), filepath.Join(t.TempDir(), "file")
	program.Run(t, filemap, file, "from Go")
	require.Equal(t, "from Go\n", program.Run(t, peer, "get", file))
	program.Run(t, peer, "put", file, "from C")
	require.Equal(t, "from C\n", program.Run(t, filemap, file))
}

func TestMistakesAreErrors(t *testing.T) {
	filemap, dir := program.Build(t), t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, args := range [][]string{{dir}, {dir, "x"}, {file}, {filepath.Join(dir, "none", "file"), "x"}, {file, strings.Repeat("x", 4096)}} {
		program.Start(t, filemap, args...).Ends(1, "filemap: ")
	}
	for _, args := range [][]string{{}, {file, "a", "b"}, {"-z", file}} {
		program.Start(t, filemap, args...).Ends(2, "usage: ")
	}
}
