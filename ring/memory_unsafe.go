package ring

import "unsafe"

// The accessors to shared memory. Every offset handed to u32 and u64 is a
// constant of layout.go below headerSize, or a section's offset that Layout
// computed and Inspect compared with the size of the memory; every table is
// reached through a slice, whose index Go checks.

func u32(base unsafe.Pointer, off uintptr) *uint32 { return (*uint32)(unsafe.Add(base, off)) }
func u64(base unsafe.Pointer, off uintptr) *uint64 { return (*uint64)(unsafe.Add(base, off)) }

// view lays the tables over mem, which is of g.Size() bytes and aligned to 8.
func view(mem []byte, g *Geometry) *Queue {
	base := unsafe.Pointer(unsafe.SliceData(mem))
	q := &Queue{Geometry: *g, wordCodec: newWordCodec(g), base: base, patience: 1<<16 + int(min(8*(g.slots+g.units), 1<<30))}
	q.seatT = unsafe.Slice((*seatEntry)(unsafe.Add(base, g.offSeats)), g.seats)
	q.deskT = unsafe.Slice((*deskEntry)(unsafe.Add(base, g.offDesks)), g.desks)
	q.recT = unsafe.Slice((*recordEntry)(unsafe.Add(base, g.offRecords)), g.records)
	switch g.slotSize {
	case 8:
		q.slots = unsafe.Slice((*uint64)(unsafe.Add(base, g.offSlots)), g.slots)
	case 16:
		q.desc = unsafe.Slice((*uint64)(unsafe.Add(base, g.offSlots)), 2*g.slots)
	}
	if g.offUnits > g.offOwners {
		q.owners = unsafe.Slice((*uint32)(unsafe.Add(base, g.offOwners)), g.blocks)
	}
	if g.offPayload > g.offUnits {
		q.unitW = unsafe.Slice((*uint64)(unsafe.Add(base, g.offUnits)), g.units)
		q.births = unsafe.Slice((*birth)(unsafe.Add(base, g.offBirths)), g.units)
	}
	return q
}

// blockAt is the memory of block b, which must be below q.blocks.
func (q *Queue) blockAt(b uint64) unsafe.Pointer {
	return unsafe.Add(q.base, q.offPayload+b*q.stride)
}

// spaceAt is where unit u of Space begins; the caller has checked that what it will
// touch lies inside the extent.
func (q *Queue) spaceAt(u uint64) unsafe.Pointer {
	return unsafe.Add(q.base, q.offPayload+u*q.unit)
}

func littleEndian() bool {
	x := uint16(1)
	return *(*byte)(unsafe.Pointer(&x)) == 1
}
