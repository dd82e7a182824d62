package fallback

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pipeStamp fills msg so that a torn or mixed one is noticed.
func pipeStamp(msg []byte, sender, seq uint32) {
	for i := range msg {
		msg[i] = byte(uint32(i)*7 + sender + seq)
	}
	binary.LittleEndian.PutUint32(msg, sender)
	binary.LittleEndian.PutUint32(msg[4:], seq)
	binary.LittleEndian.PutUint32(msg[8:], crc32.ChecksumIEEE(msg[12:]))
}

func pipeReadStamp(msg []byte) (sender, seq uint32, err error) {
	if len(msg) < 12 || binary.LittleEndian.Uint32(msg[8:]) != crc32.ChecksumIEEE(msg[12:]) {
		return 0, 0, fmt.Errorf("a torn message of %d bytes", len(msg))
	}
	return binary.LittleEndian.Uint32(msg), binary.LittleEndian.Uint32(msg[4:]), nil
}

func init() {
	// Sends messages of all sizes into a FIFO: a number of them, or until killed.
	roles["fifo writer"] = func() {
		var sender, count uint32
		var path string
		if _, err := fmt.Sscanf(os.Getenv("SHMCHAN_ARG"), "%d %d %s", &sender, &count, &path); err != nil {
			panic(err)
		}
		w, err := FIFO(context.Background(), path, os.O_WRONLY)
		if err != nil {
			panic(err)
		}
		rnd := rand.New(rand.NewPCG(uint64(sender), 1))
		for seq := uint32(0); seq < count || count == 0; seq++ {
			msg := make([]byte, 12+rnd.IntN(60_000))
			pipeStamp(msg, sender, seq)
			if err := w.Send(context.Background(), msg); err != nil {
				panic(err)
			}
		}
	}
	// A Conn over standard output whose reader is gone: EPIPE, and life goes on.
	roles["pipe to nobody"] = func() {
		c, err := PipeConn(nil, os.Stdout)
		if err != nil {
			panic(err)
		}
		fmt.Fprint(os.Stderr, c.Send(forever, []byte("x")))
	}
	roles["pipe to nobody, by os"] = func() {
		_, err := os.Stdout.WriteString("x")
		fmt.Fprint(os.Stderr, "survived: ", err)
	}
	roles["pipe echo"] = func() {
		c, err := PipeConn(os.Stdin, os.Stdout)
		if err != nil {
			panic(err)
		}
		for {
			msg, err := c.Receive(forever, nil)
			if err != nil {
				return
			}
			if err := c.Send(forever, msg); err != nil {
				panic(err)
			}
		}
	}
}

func startPipeChild(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
}

func TestFIFOMessagesOfSeveralProcessesNeverMix(t *testing.T) {
	pipeGuard(t)
	path := fifoPath(t)
	r, err := FIFO(forever, path, os.O_RDONLY|os.O_CREATE)
	require.NoError(t, err)
	pipeCleanup(t, r)
	const writers, count = 4, 150
	var children []*exec.Cmd
	for i := range writers {
		cmd := pipeChild("fifo writer", fmt.Sprintf("%d %d %s", i, count, path))
		startPipeChild(t, cmd)
		children = append(children, cmd)
	}
	next := map[uint32]uint32{}
	var buf []byte
	for n := 0; n < writers*count; {
		buf, err = r.Receive(forever, buf[:0])
		if err == io.EOF { // a writer may have ended before the next began
			continue
		}
		require.NoError(t, err)
		sender, seq, err := pipeReadStamp(buf)
		require.NoError(t, err)
		require.Equal(t, next[sender], seq)
		next[sender]++
		n++
	}
	for _, c := range children {
		require.NoError(t, c.Wait())
	}
}

func TestFIFOSurvivesWritersKilledInMidMessage(t *testing.T) {
	pipeGuard(t)
	path := fifoPath(t)
	r, err := FIFO(forever, path, os.O_RDONLY|os.O_CREATE, FIFOAwaitWriters())
	require.NoError(t, err)
	pipeCleanup(t, r)
	kills := 30
	if testing.Short() {
		kills = 5
	}
	steady := pipeChild("fifo writer", "0 0 "+path)
	startPipeChild(t, steady)
	next := map[uint32]uint32{}
	var buf []byte
	receive := func() uint32 {
		buf, err = r.Receive(forever, buf[:0])
		require.NoError(t, err)
		sender, seq, err := pipeReadStamp(buf)
		require.NoError(t, err)
		require.Equal(t, next[sender], seq, "sender %d", sender)
		next[sender]++
		return sender
	}
	for i := range uint32(kills) {
		victim := pipeChild("fifo writer", fmt.Sprintf("%d 0 %s", i+1, path))
		startPipeChild(t, victim)
		for receive() != i+1 { // until it is at it
		}
		for range rand.IntN(5) {
			receive()
		}
		require.NoError(t, victim.Process.Kill())
		_ = victim.Wait()
		for receive() != 0 { // the other one goes on
		}
	}
	// What the dead have left unfinished does not stay.
	parts := &r.(*pipeConn).r.parts
	require.Less(t, len(parts.parts), 2*pipeAskAt+2)
	require.NoError(t, steady.Process.Kill())
	_ = steady.Wait()
}

func TestPipeOverStandardOutputGivesEPIPENotSIGPIPE(t *testing.T) {
	run := func(role string) (said string, err error) {
		r, w := pipeOSFiles(t)
		require.NoError(t, r.Close())
		cmd := pipeChild(role, "")
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = w, &stderr
		err = cmd.Run()
		return stderr.String(), err
	}
	said, err := run("pipe to nobody")
	require.NoError(t, err)
	require.Contains(t, said, unix.EPIPE.Error())

	_, err = run("pipe to nobody, by os")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, syscall.SIGPIPE, exit.Sys().(syscall.WaitStatus).Signal())
}

func TestPipeOverInheritedStandardStreams(t *testing.T) {
	pipeGuard(t)
	r1, w1 := pipeOSFiles(t)
	r2, w2 := pipeOSFiles(t)
	cmd := pipeChild("pipe echo", "")
	cmd.Stdin, cmd.Stdout = r1, w2
	startPipeChild(t, cmd)
	r1.Close()
	w2.Close()
	c, err := PipeConn(r2, w1)
	require.NoError(t, err)
	pipeCleanup(t, c)
	for _, n := range []int{0, 1, 5000, 65536} {
		msg := pipePattern(n, 1)
		require.NoError(t, c.Send(forever, msg))
		got, err := c.Receive(forever, nil)
		require.NoError(t, err)
		require.Equal(t, string(msg), string(got))
	}
	require.NoError(t, c.CloseSend())
	_, err = c.Receive(forever, nil)
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, cmd.Wait())
}
