//go:build !race

package ring

// RaceEnabled says that this is a race build.
const RaceEnabled = false

// RaceSync is for race builds; here it does nothing.
type RaceSync struct{}

// NewRaceSync returns nil outside race builds.
func NewRaceSync(*Geometry) *RaceSync { return nil }

func (*RaceSync) sending(uint64)  {}
func (*RaceSync) given(uint64)    {}
func (*RaceSync) received(uint64) {}
func (*RaceSync) freeing(uint64)  {}
func (*RaceSync) closing()        {}
func (*RaceSync) ended()          {}
