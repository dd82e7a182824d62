package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheChildWritesWhatTheParentReads(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command here to build the example with")
	}
	program := filepath.Join(t.TempDir(), "anonmap")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s", said)
	for text, want := range map[string]string{"abc": "cba\n", "grüße": "eßürg\n", "": "\n"} {
		out, err := exec.Command(program, text).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Equal(t, want, string(out))
	}
	out, err := exec.Command(program, strings.Repeat("x", 4089)).CombinedOutput()
	require.Error(t, err)
	require.Equal(t, "anonmap: the text is too long\n", string(out))
}
