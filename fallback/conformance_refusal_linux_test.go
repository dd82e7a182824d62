package fallback

import (
	"errors"
	"os"
	"testing"
)

func init() {
	checks = append(checks,
		check{name: "what a carrier cannot do it refuses by name", run: checkRefusals, needs: needsOpen},
		check{name: "capabilities do not contradict each other", run: checkSense, needs: needsOpen},
	)
}

func checkRefusals(t testing.TB, c carrier) {
	a, b := c.open(t)
	for _, end := range []struct {
		name string
		Conn
	}{{"a", a}, {"b", b}} {
		caps := end.Capabilities()
		for _, r := range []struct {
			has  bool
			what string
			call func() error
		}{
			{caps.Send, "Send", func() error { return end.Send(forever, []byte("x")) }},
			{caps.Send, "TrySend", func() error { return end.TrySend([]byte("x")) }},
			{caps.Receive, "Receive", func() error { _, err := end.Receive(forever, nil); return err }},
			{caps.Receive, "TryReceive", func() error { _, err := end.TryReceive(nil); return err }},
			{caps.Priorities && caps.Send, "SendPriority", func() error { return SendPriority(forever, end.Conn, []byte("x"), 1) }},
			{caps.Priorities && caps.Receive, "ReceivePriority", func() error { _, _, err := ReceivePriority(forever, end.Conn, nil); return err }},
			{caps.Descriptors && caps.Send, "SendFiles", func() error { return SendFiles(forever, end.Conn, []byte("x"), os.Stdin) }},
			{caps.Descriptors && caps.Receive, "ReceiveFiles", func() error { _, _, err := ReceiveFiles(forever, end.Conn, nil); return err }},
			{caps.Pollable, "RawConn", func() error { _, err := RawConn(end.Conn); return err }},
			{caps.Credentials, "Peer", func() error { _, err := end.Peer(); return err }},
			{caps.HalfClose && caps.Send, "CloseSend", end.CloseSend},
		} {
			if r.has {
				continue
			}
			_, err := begin(func() ([]byte, error) { return nil, r.call() }).wait(t, r.what)
			var refused *RefusedError
			switch {
			case !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &refused):
				t.Errorf("%s of end %s, which has no such ability: %v, want a RefusedError", r.what, end.name, err)
			case refused.Kind != end.Kind() || refused.What == "":
				t.Errorf("%s of end %s is refused as %q of %v", r.what, end.name, refused.What, refused.Kind)
			}
		}
	}
	// A refusal changes nothing.
	for _, w := range waysOf(a, b) {
		mustCarry(t, w.from, w.to, 1)
	}
}

func checkSense(t testing.TB, c carrier) {
	a, b := c.open(t)
	if a.Kind() != b.Kind() || a.Kind() == KindNone {
		t.Errorf("kinds %v and %v", a.Kind(), b.Kind())
	}
	if !a.Capabilities().Send {
		t.Errorf("end a cannot send")
	}
	for _, end := range []Conn{a, b} {
		caps := end.Capabilities()
		if caps != end.Capabilities() {
			t.Errorf("the capabilities change")
		}
		if !caps.Send && !caps.Receive {
			t.Errorf("an end that neither sends nor receives")
		}
		if caps.Outlives && caps.EndOfFile {
			t.Errorf("messages stay when all are gone, so nobody's end is the end")
		}
		if end.MaxMessage() < headerSize {
			t.Errorf("MaxMessage is %d", end.MaxMessage())
		}
	}
}
