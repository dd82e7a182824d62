package fallback

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// golden is what each carrier is expected to be able to do, at its ends a and b (the
// same where b is empty), and how many allocations a message may cost: none, unless
// the reason stands beside it. A change here is a change of the contract.
var golden = map[string]goldenRow{
	"reference": {kind: KindShared, a: "Send Receive Ordered Reliable Priorities Boundaries Pollable Descriptors HalfClose EndOfFile Credentials"},

	"CrossMemory":             {kind: KindCrossMemory, a: "Send Receive Ordered Reliable Boundaries Pollable Permission HalfClose EndOfFile Credentials"},
	"FIFO":                    {kind: KindFIFO, a: "Send Ordered Reliable ManySenders HalfClose EndOfFile", b: "Receive Ordered Reliable ManySenders EndOfFile"},
	"FIFOSoleWriter":          {kind: KindFIFO, a: "Send Ordered Reliable HalfClose EndOfFile", b: "Receive Ordered Reliable EndOfFile"},
	"MQ":                      {kind: KindMQ, a: "Send Receive Ordered Reliable ManySenders ManyReceivers Priorities Boundaries Outlives Pollable"},
	"MQByName":                {kind: KindMQ, a: "Send Ordered Reliable ManySenders ManyReceivers Priorities Boundaries Outlives"},
	"MQOneWay":                {kind: KindMQ, a: "Send Ordered Reliable ManySenders ManyReceivers Priorities Boundaries Outlives", b: "Receive Ordered Reliable ManySenders ManyReceivers Priorities Boundaries Outlives Pollable"},
	"PacketPipe":              {kind: KindPipe, a: "Send Ordered Reliable ManySenders ManyReceivers Boundaries HalfClose EndOfFile", b: "Receive Ordered Reliable ManySenders ManyReceivers Boundaries Pollable EndOfFile"},
	"Pipe":                    {kind: KindPipe, a: "Send Ordered Reliable HalfClose EndOfFile", b: "Receive Ordered Reliable EndOfFile"},
	"PipeDuplex":              {kind: KindPipe, a: "Send Receive Ordered Reliable HalfClose EndOfFile"},
	"PipeManyWriters":         {kind: KindPipe, a: "Send Ordered Reliable ManySenders HalfClose EndOfFile", b: "Receive Ordered Reliable ManySenders EndOfFile"},
	"PipePollable":            {kind: KindPipe, a: "Send Ordered Reliable HalfClose EndOfFile", b: "Receive Ordered Reliable Pollable EndOfFile"},
	"Shm":                     {kind: KindShm, a: "Send Receive Ordered Reliable HalfClose EndOfFile Credentials"},
	"TCP":                     {kind: KindTCP, a: "Send Receive Ordered Reliable Network Pollable HalfClose EndOfFile"},
	"UDP":                     {kind: KindUDP, a: "Send Receive ManySenders ManyReceivers Boundaries Network Pollable"},
	"UDP, many senders":       {kind: KindUDP, a: "Send Receive ManySenders ManyReceivers Boundaries Network Pollable", b: "Receive ManySenders ManyReceivers Boundaries Network Pollable"},
	"UnixDatagram":            {kind: KindUnixDatagram, a: "Send Receive Ordered Reliable ManySenders ManyReceivers Boundaries Pollable Descriptors Credentials"},
	"UnixDatagram, addressed": {kind: KindUnixDatagram, a: "Send Ordered Reliable ManySenders ManyReceivers Boundaries Pollable Descriptors", b: "Receive Ordered Reliable ManySenders ManyReceivers Boundaries Pollable Descriptors"},
	"UnixSeqpacket":           {kind: KindUnixSeqpacket, a: "Send Receive Ordered Reliable ManySenders ManyReceivers Boundaries Pollable Descriptors HalfClose EndOfFile Credentials"},
	"UnixSeqpacket, by child": {kind: KindUnixSeqpacket, a: "Send Receive Ordered Reliable Boundaries Pollable Descriptors HalfClose EndOfFile Credentials"},
	"UnixSeqpacket, dialled":  {kind: KindUnixSeqpacket, a: "Send Receive Ordered Reliable ManySenders ManyReceivers Boundaries Pollable Descriptors HalfClose EndOfFile Credentials"},
	"UnixStream":              {kind: KindUnixStream, a: "Send Receive Ordered Reliable Pollable Descriptors HalfClose EndOfFile Credentials"},
}

type goldenRow struct {
	kind   Kind
	a, b   string
	allocs int
}

// flags are the names of what caps has.
func flags(caps Capabilities) string {
	var names []string
	v := reflect.ValueOf(caps)
	for i := range v.NumField() {
		if v.Field(i).Bool() {
			names = append(names, v.Type().Field(i).Name)
		}
	}
	return strings.Join(names, " ")
}

func TestCapabilitiesAreAsExpected(t *testing.T) {
	for _, c := range carriers {
		t.Run("carrier="+c.name, func(t *testing.T) {
			var a, b Conn
			if c.open != nil {
				a, b = c.open(t)
			} else {
				var files []*os.File
				var arg string
				var release func()
				a, files, arg, release = c.giveTo(t)
				start(t, c, files, arg, task{Do: "idle"})
				release()
			}
			row := goldenRow{kind: a.Kind(), a: flags(a.Capabilities())}
			if b != nil {
				if row.b = flags(b.Capabilities()); row.b == row.a {
					row.b = ""
				}
			}
			t.Logf("%s, at most %d bytes\n\ta: %s\n\tb: %s", row.kind, a.MaxMessage(), row.a, row.b)
			want, known := golden[c.name]
			row.allocs = want.allocs
			line := fmt.Sprintf("%q: {kind: %s, a: %q", c.name, kindConstant(row.kind), row.a)
			if row.b != "" {
				line += fmt.Sprintf(", b: %q", row.b)
			}
			if row.allocs != 0 {
				line += fmt.Sprintf(", allocs: %d", row.allocs)
			}
			line += "},"
			switch {
			case !known:
				t.Fatalf("golden, in conformance_table_linux_test.go, lacks this carrier. If this is right, add\n\t%s", line)
			case row != want:
				t.Fatalf("the capabilities have changed. If this is right, golden gets\n\t%s\nin place of\n\t%+v", line, want)
			}
		})
	}
}

func kindConstant(k Kind) string {
	names := map[Kind]string{
		KindShared: "KindShared", KindShm: "KindShm", KindPipe: "KindPipe", KindFIFO: "KindFIFO", KindMQ: "KindMQ",
		KindUnixStream: "KindUnixStream", KindUnixDatagram: "KindUnixDatagram", KindUnixSeqpacket: "KindUnixSeqpacket",
		KindTCP: "KindTCP", KindUDP: "KindUDP", KindCrossMemory: "KindCrossMemory",
	}
	if s, ok := names[k]; ok {
		return s
	}
	return fmt.Sprintf("Kind(%d)", k)
}
