//go:build race

package channel

import (
	"runtime"
	"sync"

	"github.com/shmchan/shmchan/ring"
	"github.com/shmchan/shmchan/shm"
)

// raceBuild says whether the race detector is there.
const raceBuild = true

// raceIgnore makes the race detector ignore the synchronisation of this goroutine
// until raceHeed: locks and counters of ours would hide races of the user's.
func raceIgnore() { runtime.RaceDisable() }
func raceHeed()   { runtime.RaceEnable() }

// All handles of this process on one object share the race detector's view of it.
var raceSyncs = struct {
	sync.Mutex
	byID map[[2]uint64]*sharedSync
}{byID: make(map[[2]uint64]*sharedSync)}

type sharedSync struct {
	sync  *ring.RaceSync
	users int
}

func raceSyncFor(obj *shm.Object, g *ring.Geometry) (*ring.RaceSync, func()) {
	dev, ino := obj.ID()
	id := [2]uint64{dev, ino}
	raceSyncs.Lock()
	defer raceSyncs.Unlock()
	s := raceSyncs.byID[id]
	if s == nil {
		s = &sharedSync{sync: ring.NewRaceSync(g)}
		raceSyncs.byID[id] = s
	}
	s.users++
	return s.sync, func() {
		raceSyncs.Lock()
		defer raceSyncs.Unlock()
		if s.users--; s.users == 0 {
			delete(raceSyncs.byID, id)
		}
	}
}
