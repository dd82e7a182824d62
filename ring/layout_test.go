package ring

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// TestLayoutIsWhatItWas: ABI 1 in numbers. Whoever changes one changes the ABI.
func TestLayoutIsWhatItWas(t *testing.T) {
	if ABI != 1 || Magic != 0x016e6168636d6873 {
		t.Fatalf("ABI %d, magic %#x: this table is for another", ABI, Magic)
	}
	for name, x := range map[string][2]uint64{
		"magic":            {hdrMagic, 0},
		"ABI":              {hdrABI, 8},
		"flags":            {hdrFlags, 12},
		"size":             {hdrSize, 16},
		"capacity":         {hdrCapacity, 24},
		"element":          {hdrElem, 32},
		"max message":      {hdrMaxMessage, 40},
		"space":            {hdrSpace, 48},
		"fingerprint":      {hdrFingerprint, 56},
		"description":      {hdrDesc, 512},
		"seats":            {hdrSeats, 68},
		"desks":            {hdrDesks, 72},
		"records":          {hdrRecords, 76},
		"slots":            {hdrSlots, 80},
		"blocks":           {hdrBlocks, 88},
		"stride":           {hdrStride, 96},
		"units":            {hdrUnits, 104},
		"unit":             {hdrUnit, 112},
		"seats at":         {hdrOffSeats, 120},
		"desks at":         {hdrOffDesks, 128},
		"records at":       {hdrOffRecords, 136},
		"slots at":         {hdrOffSlots, 144},
		"owners at":        {hdrOffOwners, 152},
		"units at":         {hdrOffUnits, 160},
		"births at":        {hdrOffBirths, 168},
		"payload at":       {hdrOffPayload, 176},
		"recv event":       {offRecvEvent, 2048},
		"send event":       {offSendEvent, 2176},
		"closed":           {offClosed, 2304},
		"returned":         {offReturned, 2308},
		"ever sent":        {offEverSent, 2312},
		"ever received":    {offEverRecv, 2316},
		"members":          {offMembers, 2320},
		"loans":            {offLoans, 2324},
		"redelivered":      {offRedeliver, 2328},
		"tail":             {offTail, 2432},
		"head":             {offHead, 2560},
		"lock":             {offLock, 2688},
		"journal":          {offJournal, 2816},
		"space head":       {offSpaceHead, 2944},
		"closed at":        {offClosedAt, 3072},
		"sender's seat":    {offSenderSeat, 3200},
		"receiver's seat":  {offRecvSeat, 3208},
		"header":           {headerSize, 4096},
		"seat":             {seatSize, 64},
		"seat's pid":       {uint64(unsafe.Offsetof(seatEntry{}.pid)), 8},
		"seat's holds":     {uint64(unsafe.Offsetof(seatEntry{}.holds)), 12},
		"seat's start":     {uint64(unsafe.Offsetof(seatEntry{}.start)), 16},
		"seat's namespace": {uint64(unsafe.Offsetof(seatEntry{}.nsInode)), 24},
		"desk":             {deskSize, 128},
		"desk's block":     {uint64(unsafe.Offsetof(deskEntry{}.priv)), 8},
		"desk's next":      {uint64(unsafe.Offsetof(deskEntry{}.next)), 16},
		"desk's next pos":  {uint64(unsafe.Offsetof(deskEntry{}.nextPos)), 24},
		"desk's free pos":  {uint64(unsafe.Offsetof(deskEntry{}.freePos)), 32},
		"desk's free unit": {uint64(unsafe.Offsetof(deskEntry{}.freeUnit)), 40},
		"desk's free word": {uint64(unsafe.Offsetof(deskEntry{}.freeWord)), 48},
		"record":           {recordSize, 32},
		"record's block":   {uint64(unsafe.Offsetof(recordEntry{}.block)), 8},
		"record's pos":     {uint64(unsafe.Offsetof(recordEntry{}.pos)), 16},
		"record's unit":    {uint64(unsafe.Offsetof(recordEntry{}.unit)), 24},
		"journal's op":     {jOp, 0},
		"journal's from":   {jFrom, 1},
		"journal's to":     {jTo, 3},
		"journal's block":  {jBlock, 5},
		"journal's record": {jRecord, 6},
		"journal's owner":  {jOwner, 7},
		"EMPTY":            {stateEmpty, 1},
		"FULL":             {stateFull, 2},
		"BARE":             {stateBare, 3},
		"HELD":             {stateHeld, 4},
		"WANT":             {stateWant, 5},
		"OFFER":            {stateOffer, 6},
		"GIVEN":            {stateGiven, 7},
		"C":                {flagC, 8},
		"LOAN":             {recLoan, 1},
		"HOLD":             {recHold, 2},
		"RETURNED":         {recReturned, 3},
		"move":             {opMove, 1},
		"take":             {opTake, 2},
		"put":              {opPut, 3},
		"commit":           {opCommit, 4},
		"evict":            {opEvict, 5},
		"WAIT":             {EventWait, 1},
		"CLOSING":          {EventClosing, 2},
		"step":             {EventStep, 4},
		"joined":           {SeatJoined, 1},
		"sender":           {SeatSender, 2},
		"receiver":         {SeatReceiver, 4},
	} {
		if x[0] != x[1] {
			t.Errorf("%s: %d, was %d", name, x[0], x[1])
		}
	}
	for _, x := range []struct {
		p                             Params
		desks, records, blocks, units uint64
		slotsAt, payloadAt            uint64
		size                          int64
		lapShift, unitLapShift        uint
	}{
		{elems(1), 128, 1, 129, 0, 36992, 37760, 40960, 20, 10},
		{elems(1000), 128, 1000, 1128, 0, 68864, 81536, 94208, 23, 10},
		{Params{Capacity: 4096, Elem: 200}, 128, 1024, 4224, 0, 69632, 119296, 1204224, 25, 10},
		{Params{Capacity: 10, Elem: 65536}, 16, 10, 26, 0, 22912, 23168, 1728512, 17, 10},
		{elems(1 << 24), 128, 1024, 1<<24 + 128, 0, 69632, 201396736, 335618048, 37, 10},
		{elems(0), 128, 0, 128, 0, 36864, 37376, 40960, 20, 10},
		{spscElems(4096), 0, 0, 4096, 0, 20480, 20480, 53248, 25, 10},
	} {
		g, err := Layout(x.p)
		if err != nil {
			t.Fatal(err)
		}
		c := newWordCodec(g)
		if g.desks != x.desks || g.records != x.records || g.blocks != x.blocks || g.units != x.units ||
			g.offSlots != x.slotsAt || g.offPayload != x.payloadAt || g.Size() != x.size ||
			c.lapShift != x.lapShift || c.unitLapShift != x.unitLapShift {
			t.Errorf("%+v: %+v %+v", x.p, *g, c)
		}
	}
}

// TestANewChannelInBytes: what Format writes, found by offset alone.
func TestANewChannelInBytes(t *testing.T) {
	p := Params{Capacity: 3, Elem: 24, Fingerprint: 0x1122334455667788, Description: "a test"}
	w := newWorld(t, p)
	u64 := func(off uint64) uint64 { return binary.LittleEndian.Uint64(w.mem[off:]) }
	u32 := func(off uint64) uint32 { return binary.LittleEndian.Uint32(w.mem[off:]) }
	if string(w.mem[:8]) != "shmchan\x01" {
		t.Errorf("begins with %q", w.mem[:8])
	}
	if u64(56) != p.Fingerprint || u32(64) != 6 || string(w.mem[512:518]) != "a test" {
		t.Error("no fingerprint or description")
	}
	if u64(24) != 3 || u64(32) != 24 || u64(16) != uint64(len(w.mem)) || u64(96) != 24 {
		t.Error("capacity, element, size or stride")
	}
	slots, desks := u64(144), u64(128)
	for i := range uint64(3) {
		if got := u64(slots + 8*i); got != i<<4|1 {
			t.Errorf("slot %d is %#x", i, got)
		}
	}
	for i := range uint64(u32(72)) {
		if u64(desks+128*i) != 0 || u64(desks+128*i+8) != 3+i || u64(desks+128*i+16) != 3+i {
			t.Errorf("desk %d", i)
		}
	}
	g, err := Inspect(w.mem)
	if err != nil || g.Params != p {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestInspectRefuses(t *testing.T) {
	good := newWorld(t, elems(3)).mem
	for name, x := range map[string]struct {
		change func(mem []byte) []byte
		err    error
		text   string
	}{
		"nothing":          {func([]byte) []byte { return nil }, ErrNotChannel, "0 bytes"},
		"zeros":            {func(mem []byte) []byte { clear(mem); return mem }, ErrNotChannel, "magic"},
		"noise":            {func(mem []byte) []byte { mem[3] ^= 1; return mem }, ErrNotChannel, "magic"},
		"another ABI":      {func(mem []byte) []byte { mem[8]++; return mem }, ErrABI, "2"},
		"too short":        {func(mem []byte) []byte { return mem[:len(mem)-4096] }, ErrNotChannel, "bytes"},
		"another size":     {func(mem []byte) []byte { mem[16]++; return mem }, ErrNotChannel, "size"},
		"flags":            {func(mem []byte) []byte { mem[12] = 8; return mem }, ErrNotChannel, "flags"},
		"another offset":   {func(mem []byte) []byte { mem[144]++; return mem }, ErrNotChannel, "slots"},
		"a huge capacity":  {func(mem []byte) []byte { mem[31] = 1; return mem }, ErrNotChannel, "capacity"},
		"a huge element":   {func(mem []byte) []byte { mem[38] = 1; return mem }, ErrNotChannel, "element"},
		"long description": {func(mem []byte) []byte { mem[66] = 1; return mem }, ErrNotChannel, "description"},
	} {
		mem := alignedBytes(int64(len(good)))
		copy(mem, good)
		_, err := Inspect(x.change(mem))
		if !errors.Is(err, x.err) || !strings.Contains(err.Error(), x.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Inspect(good[1 : len(good)-3]); err == nil {
		t.Error("memory that is not aligned")
	}
	if err := Format(good[:4096], &Geometry{}); err == nil {
		t.Error("format of memory of another size")
	}
}

// TestLayoutOfAnything: no parameters make Layout panic or go on for ever, and what it
// accepts is in order and fits.
func TestLayoutOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wide := func(name string) uint64 {
			return rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 100), rapid.Just(uint64(1<<24)),
				rapid.Just(uint64(1<<30)), rapid.Just(uint64(1<<40)), rapid.Uint64Range(1, 1<<24)).Draw(t, name)
		}
		p := Params{
			Flags: rapid.Uint32Range(0, 4).Draw(t, "flags"), Capacity: wide("capacity"),
			Elem: wide("element"), MaxMessage: wide("max message"), Space: wide("space"),
		}
		g, err := Layout(p)
		if err != nil {
			if !errors.Is(err, ErrGeometry) {
				t.Fatalf("%v", err)
			}
			return
		}
		offs := []uint64{
			headerSize, g.offSeats + 1, g.offDesks, g.offRecords, g.offSlots, g.offOwners, g.offUnits,
			g.offBirths, g.offPayload, g.totalSize + 1,
		}
		for i := range offs[1:] {
			if offs[i+1] < offs[i] {
				t.Fatalf("%+v: section %d before %d", *g, i+1, i)
			}
		}
		if g.totalSize%4096 != 0 || g.offPayload+max(g.blocks*g.stride, g.units*g.unit) > g.totalSize {
			t.Fatalf("%+v: size", *g)
		}
		if p.Packed() && (g.units+1)*g.unit <= p.Space {
			t.Fatalf("%+v: %d bytes of space", *g, g.units*g.unit)
		}
		if c := newWordCodec(g); !p.SPSC() && (c.lapShift > 64-27 || c.unitLapShift > 32) {
			t.Fatalf("%+v: laps of %d and %d bits", *g, 64-c.lapShift, 64-c.unitLapShift)
		}
	})
}
