package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParentSendsToChild(t *testing.T) {
	program := filepath.Join(t.TempDir(), "pipe")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command(program).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, `received "hello, child"
received "a message is what is sent at once,\nwhatever is in it"
received "bye"
end of file
`, string(out))
}
