package shm

// LockBase is the offset of lock byte 0 in an object's file, lock byte i is at
// LockBase+i. It lies beyond whatever a file can hold in practice: a lock needs
// no byte to be there, see fcntl_locking(2). Part of the format: a peer in
// another language that wants to see the same locks asks for the same bytes.
const LockBase int64 = 1 << 62
