package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = time.Minute // the watchdog's

func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "sockets")
	cmd := exec.Command("go", "build", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

// buildC compiles the C program that may stand at either end. "": there is no compiler.
func buildC(t *testing.T) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		return ""
	}
	program := filepath.Join(t.TempDir(), "peer")
	out, err := exec.Command(cc, "-Wall", "-o", program, "testdata/peer.c").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

// transfer runs a server, then a client with input, and returns what the server printed.
func transfer(t *testing.T, server, client []string, path, input string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out, said bytes.Buffer
	s := exec.CommandContext(ctx, server[0], server[1:]...)
	s.Stdout, s.Stderr = &out, &said
	require.NoError(t, s.Start())
	for { // the server is there when its socket is
		if _, err := os.Lstat(path); err == nil {
			break
		}
		require.NoError(t, ctx.Err(), "no server: %s", &said)
		time.Sleep(time.Millisecond)
	}
	c := exec.CommandContext(ctx, client[0], client[1:]...)
	c.Stdin = strings.NewReader(input)
	msg, err := c.CombinedOutput()
	require.NoError(t, err, "%s", msg)
	require.NoError(t, s.Wait(), "%s", &said)
	_, err = os.Lstat(path)
	require.ErrorIs(t, err, os.ErrNotExist, "the server leaves no name")
	return out.String()
}

func TestEachKindCarriesStandardInput(t *testing.T) {
	program := build(t)
	peer := buildC(t)
	for _, ends := range []string{"Go and Go", "C sends", "C receives"} {
		for _, kind := range []string{"stream", "dgram", "seqpacket"} {
			t.Run(ends+"/"+kind, func(t *testing.T) {
				if ends != "Go and Go" && peer == "" {
					t.Skip("no C compiler here: the C program at the other end is not tried")
				}
				path := filepath.Join(t.TempDir(), "s")
				input, n := "one\ntwo words\nthree\n", "1"
				if kind == "dgram" {
					n = "3"
				}
				if kind == "stream" {
					input = strings.Repeat("0123456789abcdef\n", 100_000)
				}
				server := []string{program, "-n", n, kind, "server", path}
				client := []string{program, kind, "client", path}
				switch ends {
				case "C sends":
					client[0] = peer
				case "C receives":
					server = []string{peer, kind, "server", path, n}
				}
				require.Equal(t, input, transfer(t, server, client, path, input))
			})
		}
	}
}

func TestWrongCommandLineIsRefused(t *testing.T) {
	program := build(t)
	for _, args := range [][]string{{}, {"stream"}, {"telegraph", "server", "x"}, {"stream", "waiter", "x"}} {
		var exit *exec.ExitError
		require.ErrorAs(t, exec.Command(program, args...).Run(), &exit, fmt.Sprint(args))
		require.Equal(t, 2, exit.ExitCode())
	}
	out, err := exec.Command(program, "stream", "client", filepath.Join(t.TempDir(), "absent")).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "no such file")
}
