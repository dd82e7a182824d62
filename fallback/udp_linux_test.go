package fallback

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// udpForged sends datagrams from where another Conn sent before.
type udpForged struct {
	t  testing.TB
	c  *net.UDPConn
	id uint64
}

func (f udpForged) send(sequence uint64, msg string) {
	var trailer [udpTrailer]byte
	putUDPTrailer(&trailer, f.id, sequence)
	f.raw(msg + string(trailer[:]))
}

func (f udpForged) raw(datagram string) {
	_, err := f.c.Write([]byte(datagram))
	require.NoError(f.t, err)
}

// What the network does is done here by hand: datagrams that never come, come twice, come late.
func TestUDPTellsWhatTheNetworkDid(t *testing.T) {
	x, y := udpSockets(t)
	b, err := UDPFrom(y)
	require.NoError(t, err)
	defer b.Close()
	f := udpForged{t, x, 42}
	for _, s := range []uint64{0, 1, 1, 4, 3, 3, 0, 5} {
		f.send(s, fmt.Sprint(s))
	}
	for _, hostile := range []string{
		"", "x", strings.Repeat("x", udpTrailer), strings.Repeat("\x00", 100), strings.Repeat("\xff", 65507),
		"cut" + strings.Repeat("s", udpTrailer-1),
	} {
		f.raw(hostile)
	}
	f.send(6, "the end")
	for _, want := range []string{"0", "1", "4", "3", "5", "the end"} {
		msg, err := b.Receive(forever, nil)
		require.NoError(t, err)
		assert.Equal(t, want, string(msg))
	}
	assert.Equal(t, UDPStats{Received: 6, Lost: 1, Doubled: 3, Reordered: 1, Foreign: 6, Senders: 1}, b.Stats())
}

func TestUDPDropsWhatIsLongerThanAgreed(t *testing.T) {
	x, y := udpSockets(t)
	b, err := UDPFrom(y, UDPMaxMessage(1448))
	require.NoError(t, err)
	defer b.Close()
	require.ErrorIs(t, b.Send(forever, make([]byte, 1449)), ErrTooLarge)
	f := udpForged{t, x, 42}
	f.send(0, strings.Repeat("x", 1449))
	f.send(1, strings.Repeat("x", 1448))
	msg, err := b.Receive(forever, nil)
	require.NoError(t, err)
	assert.Len(t, msg, 1448)
	assert.EqualValues(t, 1, b.Stats().Foreign)
	for _, bytes := range []int{-1, 0, UDPMaxPayload - udpTrailer + 1} {
		_, err = UDP("127.0.0.1:0", "", UDPMaxMessage(bytes))
		require.ErrorIs(t, err, syscall.EINVAL)
	}
}

func TestUDPFloodOfForeignDatagramsDoesNotHoldUpContextOrClose(t *testing.T) {
	x, y := udpSockets(t)
	b, err := UDPFrom(y)
	require.NoError(t, err)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = x.Write([]byte("not ours"))
			}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err = b.Receive(ctx, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	done := make(chan error, 1)
	go func() { _, err := b.Receive(forever, nil); done <- err }()
	for before := b.Stats().Foreign; b.Stats().Foreign < before+10; {
		time.Sleep(time.Millisecond) // until it is under way
	}
	require.NoError(t, b.Close())
	require.ErrorIs(t, <-done, os.ErrClosed)
	close(stop)
	<-stopped
	assert.Positive(t, b.Stats().Foreign)
}

func TestUDPTellsThatTheReceiverWasTooSlow(t *testing.T) {
	a, b := udpPair(t, UDPBuffers(0, 4096))
	const n = 500
	for i := range n {
		require.NoError(t, a.Send(forever, fmt.Appendf(nil, "%d", i)))
	}
	var got uint64
	for {
		_, err := b.TryReceive(nil)
		if err != nil {
			require.ErrorIs(t, err, ErrWouldBlock)
			break
		}
		got++
	}
	require.Less(t, got, uint64(n), "the buffer holds all")
	require.NoError(t, a.Send(forever, []byte("the next shows it")))
	_, err := b.Receive(forever, nil)
	require.NoError(t, err)
	stats := b.Stats()
	assert.Equal(t, n-got, stats.Lost)
	assert.Equal(t, n-got, stats.Overflow)
	assert.Equal(t, got+1, stats.Received)
	assert.EqualValues(t, n+1, a.Stats().Sent)
}

func TestUDPToNobodyIsEPIPENowAndThen(t *testing.T) {
	a, b := udpPair(t)
	require.NoError(t, b.Close())
	refused := 0
	for refused < 2 { // the ICMP message comes back within the send, on loopback
		if err := a.Send(forever, []byte("x")); err != nil {
			require.ErrorIs(t, err, syscall.EPIPE)
			refused++
		}
	}
	assert.EqualValues(t, 2, a.Stats().Refused)
	// A receiver does not fall over it.
	require.NoError(t, a.Send(forever, []byte("x")))
	_, err := a.TryReceive(nil)
	require.ErrorIs(t, err, ErrWouldBlock)
	assert.EqualValues(t, 3, a.Stats().Refused)
}

func TestUDPReceiverHearsManyAndAnswers(t *testing.T) {
	for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
		server, err := UDP(host, "")
		if err != nil {
			t.Log("no IPv6 here: ", err)
			continue
		}
		defer server.Close()
		require.ErrorIs(t, server.Send(forever, nil), errors.ErrUnsupported)
		var clients [3]*UDPConn
		for i := range clients {
			c, err := UDP("", server.LocalAddr().String())
			require.NoError(t, err)
			defer c.Close()
			clients[i] = c
			require.NoError(t, c.Send(forever, []byte{byte(i)}))
		}
		for range clients {
			msg, from, err := server.ReceiveFrom(forever, nil)
			require.NoError(t, err)
			assert.Equal(t, clients[msg[0]].LocalAddr(), from)
			require.NoError(t, server.SendTo(forever, msg, from))
		}
		for i, c := range clients {
			msg, err := c.Receive(forever, nil)
			require.NoError(t, err)
			assert.Equal(t, []byte{byte(i)}, msg)
		}
		assert.Equal(t, UDPStats{Sent: 3, Received: 3, Senders: 3}, server.Stats())
		require.ErrorIs(t, server.SendTo(forever, nil, netip.AddrPort{}), syscall.EAFNOSUPPORT)
	}
}

func TestUDPMulticastReachesAllWhoJoined(t *testing.T) {
	group := fmt.Sprintf("239.%d.%d.%d:0", 1+os.Getpid()%250, os.Getpid()/250%250, packetCounter.Add(1)%250+1)
	first, err := UDP(group, "", UDPInterface("lo"))
	if err != nil {
		t.Skip("no multicast here: ", err)
	}
	defer first.Close()
	addr := first.LocalAddr().String()
	second, err := UDP(addr, "", UDPInterface("lo"))
	require.NoError(t, err, "several receive at one address")
	defer second.Close()
	both, err := UDP(addr, addr, UDPInterface("lo"), UDPTTL(0))
	require.NoError(t, err)
	defer both.Close()
	sender, err := UDP("", addr, UDPInterface("lo"), UDPTTL(0))
	require.NoError(t, err)
	defer sender.Close()
	mute, err := UDP("", addr, UDPInterface("lo"), UDPTTL(0), UDPLoopback(false))
	require.NoError(t, err)
	defer mute.Close()

	// (What goes out to lo comes in again by itself, so only the option can be looked at.)
	require.NoError(t, controlSocket(mute, func(fd int) error {
		on, err := unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP)
		assert.Zero(t, on)
		return err
	}))
	require.NoError(t, both.Send(forever, []byte("one")))
	require.NoError(t, sender.Send(forever, []byte("two")))
	for name, c := range map[string]*UDPConn{"first": first, "second": second} {
		for _, want := range []string{"one", "two"} {
			msg, err := c.Receive(forever, nil)
			require.NoError(t, err)
			assert.Equal(t, want, string(msg), name)
		}
	}
	msg, err := both.Receive(forever, nil)
	require.NoError(t, err)
	assert.Equal(t, "two", string(msg), "not its own")
	assert.EqualValues(t, 1, both.Stats().Own)
	assert.False(t, sender.Capabilities().Receive)
	_, err = sender.Receive(forever, nil)
	require.ErrorIs(t, err, errors.ErrUnsupported)

	member := first.LocalAddr().Addr()
	require.ErrorIs(t, first.JoinGroup(member, "lo"), syscall.EADDRINUSE)
	require.NoError(t, first.LeaveGroup(member, "lo"))
	require.ErrorIs(t, first.LeaveGroup(member, "lo"), syscall.EADDRNOTAVAIL)
	require.NoError(t, first.JoinGroup(member, "lo"))
	require.ErrorIs(t, first.JoinGroup(netip.MustParseAddr("127.0.0.1"), "lo"), syscall.EINVAL)
	require.Error(t, first.JoinGroup(member, "none such"))
	_, err = UDP(addr, "", UDPInterface("none such"))
	require.ErrorContains(t, err, "none such")
}

func TestUDPBroadcastNeedsTheOption(t *testing.T) {
	receiver, err := UDP("127.255.255.255:0", "", UDPBroadcast())
	if err != nil {
		t.Skip("no broadcast address on loopback: ", err)
	}
	defer receiver.Close()
	to := receiver.LocalAddr().String()
	_, err = UDP("", to)
	require.ErrorIs(t, err, syscall.EACCES)
	sender, err := UDP("", to, UDPBroadcast())
	require.NoError(t, err)
	defer sender.Close()
	require.NoError(t, sender.Send(forever, []byte("to all")))
	msg, from, err := receiver.ReceiveFrom(forever, nil)
	require.NoError(t, err)
	assert.Equal(t, "to all", string(msg))
	assert.Equal(t, sender.LocalAddr().Port(), from.Port())
	assert.False(t, sender.Capabilities().Receive)
}

func TestUDPRefusesBadAddresses(t *testing.T) {
	for _, c := range [][2]string{{"nonsense", ""}, {"", "nonsense"}, {"127.0.0.1:99999", ""}, {"127.0.0.1:0", "127.0.0.1:x"}} {
		_, err := UDP(c[0], c[1])
		require.Error(t, err, "%q", c)
	}
	a, err := UDP("127.0.0.1:0", "")
	require.NoError(t, err)
	defer a.Close()
	_, err = UDP(a.LocalAddr().String(), "")
	require.ErrorIs(t, err, unix.EADDRINUSE)
}

// Who waits in the kernel enters what it has got before anybody receives the next one.
func TestUDPCountsInOrderWithTwoReceivers(t *testing.T) {
	a, b := udpPair(t)
	const bursts, burst = 1000, 4
	got := make(chan struct{}, burst)
	done := make(chan error, 2)
	go func() {
		for {
			if _, err := b.Receive(forever, nil); err != nil {
				done <- err
				return
			}
			got <- struct{}{}
		}
	}()
	go func() {
		for {
			switch _, err := b.TryReceive(nil); {
			case err == nil:
				got <- struct{}{}
			case !errors.Is(err, ErrWouldBlock):
				done <- err
				return
			default:
				runtime.Gosched()
			}
		}
	}()
	for range bursts {
		for range burst {
			require.NoError(t, a.Send(forever, []byte("x")))
		}
		for range burst {
			<-got
		}
	}
	require.NoError(t, b.Close())
	require.ErrorIs(t, <-done, os.ErrClosed)
	require.ErrorIs(t, <-done, os.ErrClosed)
	require.Equal(t, UDPStats{Received: bursts * burst, Senders: 1}, b.Stats())
}
