package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = time.Minute // the watchdog's

// freePort is a UDP port that nobody has at the moment.
func freePort(t *testing.T) int {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

func TestAllWhoListenReceive(t *testing.T) {
	program := filepath.Join(t.TempDir(), "multicast")
	cmd := exec.Command("go", "build", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	group := fmt.Sprintf("239.255.%d.%d:%d", os.Getpid()>>8&0xff, os.Getpid()&0xff, freePort(t))
	type listener struct {
		cmd *exec.Cmd
		out *bufio.Reader
	}
	var all []listener
	for range 2 {
		l := listener{cmd: exec.CommandContext(ctx, program, "receive", "-n", "2", group)}
		stdout, err := l.cmd.StdoutPipe()
		require.NoError(t, err)
		stderr, err := l.cmd.StderrPipe()
		require.NoError(t, err)
		require.NoError(t, l.cmd.Start())
		said, err := bufio.NewReader(stderr).ReadString('\n')
		require.NoError(t, err)
		if !strings.HasPrefix(said, "listening on ") {
			_ = l.cmd.Wait()
			if strings.Contains(said, "no such device") {
				t.Skip("no multicast on the loopback device here:", said)
			}
			t.Fatal(said)
		}
		l.out = bufio.NewReader(stdout)
		all = append(all, l)
	}
	out, err = exec.CommandContext(ctx, program, "send", group, "good", "morning").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, l := range all {
		for _, want := range []string{"good\n", "morning\n"} {
			got, err := l.out.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		require.NoError(t, l.cmd.Wait())
	}
}
