package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOneWritesAnotherReads(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command here to build the example with")
	}
	dir := t.TempDir()
	program, file := filepath.Join(dir, "filemap"), filepath.Join(dir, "file")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s", said)
	run := func(args ...string) (string, int) {
		cmd := exec.Command(program, args...)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	out, code := run(file)
	require.Equal(t, 1, code)
	require.Contains(t, out, "no such file")
	out, code = run(file, "a longer text")
	require.Equal(t, "", out)
	require.Zero(t, code)
	_, code = run(file, "short")
	require.Zero(t, code)
	out, code = run(file)
	require.Equal(t, "short\n", out)
	require.Zero(t, code)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Len(t, b, 4096)
	require.True(t, strings.HasPrefix(string(b), "short\x00er text\x00\x00"))

	require.NoError(t, os.WriteFile(file, []byte("by other means"), 0o600))
	out, _ = run(file)
	require.Equal(t, "by other means\n", out)
	_, code = run(file, strings.Repeat("x", 4096))
	require.Equal(t, 1, code)
	_, code = run()
	require.Equal(t, 2, code)
}
