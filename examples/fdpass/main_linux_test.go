package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = time.Minute // the watchdog's

func TestReceiverReadsAFileThatItCannotName(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "fdpass")
	cmd := exec.Command("go", "build", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("what is in it\n"), 0o600))
	senders := map[string]string{"Go sends": program}
	if cc, err := exec.LookPath("cc"); err == nil {
		peer := filepath.Join(dir, "peer")
		out, err := exec.Command(cc, "-Wall", "-o", peer, "testdata/send.c").CombinedOutput()
		require.NoError(t, err, "%s", out)
		senders["C sends"] = peer
	} else {
		t.Log("no C compiler here: only Go sends")
	}
	for name, sender := range senders {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			path := filepath.Join(t.TempDir(), "s")
			var out, said bytes.Buffer
			r := exec.CommandContext(ctx, program, "receive", path)
			r.Stdout, r.Stderr = &out, &said
			require.NoError(t, r.Start())
			for {
				if _, err := os.Lstat(path); err == nil {
					break
				}
				require.NoError(t, ctx.Err(), "no receiver: %s", &said)
				time.Sleep(time.Millisecond)
			}
			msg, err := exec.CommandContext(ctx, sender, "send", path, file).CombinedOutput()
			require.NoError(t, err, "%s", msg)
			require.NoError(t, r.Wait(), "%s", &said)
			require.Equal(t, "what is in it\n", out.String())
			require.Contains(t, said.String(), "a file from process ")
		})
	}
}
