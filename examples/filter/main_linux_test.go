package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFilterCountsTheNamesInAFolder(t *testing.T) {
	program := filepath.Join(t.TempDir(), "filter")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, n := range []int{0, 3, 5000} {
		dir := t.TempDir()
		for i := range n {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "name-"+strconv.Itoa(i)), nil, 0o600))
		}
		out, err := exec.Command(program, dir).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Equal(t, strconv.Itoa(n), strings.TrimSpace(string(out)))
	}
	out, err = exec.Command(program, filepath.Join(t.TempDir(), "nothing")).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "ls")
}
