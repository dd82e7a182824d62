package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

// newGroup is a group and a UDP port that nobody has at the moment.
func newGroup(t *testing.T) (group, port string) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer c.Close()
	group = fmt.Sprintf("239.255.%d.%d", rand.IntN(256), 1+rand.IntN(254))
	return group, strconv.Itoa(c.LocalAddr().(*net.UDPAddr).Port)
}

// listen starts a listener, and returns when it is one.
func listen(t *testing.T, path string, args ...string) *program.Process {
	t.Helper()
	p := program.Start(t, path, args...)
	said := p.ErrLine()
	if !strings.HasPrefix(said, "listening on ") {
		if strings.Contains(strings.ToLower(said), "no such device") {
			t.Skip("no multicast on the loopback device here:", said)
		}
		t.Fatal(said)
	}
	return p
}

func TestAllWhoListenReceive(t *testing.T) {
	multicast := program.Build(t)
	group, port := newGroup(t)
	to := group + ":" + port
	var all []*program.Process
	for range 2 {
		all = append(all, listen(t, multicast, "receive", "-n", "2", to))
	}
	program.Run(t, multicast, "send", to, "good", "morning")
	for _, l := range all {
		l.Ends(0)
		require.Equal(t, "good\nmorning\n", l.Out.String())
	}
}

func TestAProgramInCAtEitherEnd(t *testing.T) {
	multicast, peer := program.Build(t), program.BuildC(t, "testdata/peer.c")
	group, port := newGroup(t)
	to := group + ":" + port
	l := listen(t, multicast, "receive", "-n", "1", to)
	program.Run(t, peer, "send", group, port, "from C")
	l.Ends(0)
	require.Equal(t, "from C\n", l.Out.String())

	l = listen(t, peer, "receive", group, port)
	program.Run(t, multicast, "send", to, "from Go")
	l.Ends(0)
	require.Equal(t, "from Go\n", l.Out.String())
}

func TestAnInterruptEndsAListener(t *testing.T) {
	group, port := newGroup(t)
	l := listen(t, program.Build(t), "receive", group+":"+port)
	l.Signal(os.Interrupt)
	l.Ends(0)
}

func TestMistakesAreErrors(t *testing.T) {
	multicast := program.Build(t)
	for _, args := range [][]string{{}, {"receive"}, {"send", "239.1.2.3:4000"}, {"sing", "239.1.2.3:4000"}, {"receive", "-z", "239.1.2.3:4000"}} {
		program.Start(t, multicast, args...).Ends(2, "usage: ")
	}
	for _, where := range []string{"127.0.0.1:4000", "239.1.2.3", "nowhere", "239.1.2.3:99999", ":4000", ""} {
		program.Start(t, multicast, "receive", where).Ends(1, "multicast: ")
		program.Start(t, multicast, "send", where, "x").Ends(1, "multicast: ")
	}
}
