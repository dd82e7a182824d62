package fallback

// Shared mappings. Package shm makes those that a channel lives in; what it does not
// have, a mapping of any file that is open already, is MapFile here. All of it in one
// table:
//
//	              anonymous             POSIX object         file
//	made by       shm.Memfd             shm.Create("", …)    shm.Create(dir, …)
//	joined by     shm.FromFile          shm.Open("", …)      shm.Open(dir, …), MapFile
//	a C program   memfd_create(2)       shm_open(3)          open(2), and mmap(2) all
//	name          none                  in /dev/shm          a pathname
//	handle        descriptor, passed    name or descriptor   name or descriptor
//	who may       who has it            mode bits            mode bits
//	lives until   the last lets go      shm_unlink, reboot   unlink
//	after a crash of the machine: gone  gone                 what was synced
//	size          sealed                may be truncated     may be truncated
//	given back by Object.Close          Close, Unlink        Close, Unlink
//
// # The mapping that a fork shares
//
// mmap(2) with MAP_SHARED|MAP_ANONYMOUS is what C programs use between a parent and the
// children that it forks. It cannot be had here: a Go program does not fork without exec
// (its other threads would be missing in the child), and exec drops every mapping. The
// same memory with a descriptor does what is wanted: shm.Memfd in the parent,
// Object.File in exec.Cmd's ExtraFiles, shm.FromFile in the child.
//
// # Writing through
//
// What is written into a shared mapping is at once what every other mapping and read(2)
// of that file sees. It is on the disk when the kernel gets around to it, or when Sync
// (msync(2)) returns. Without Sync a crash of the program loses nothing; one of the machine
// loses what it likes, in any order.
