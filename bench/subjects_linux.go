package main

import "slices"

// subjects are all, in the order of the table.
func subjects() []Subject {
	return slices.Concat(
		channelSubjects(),
		shmSubjects(),
		pipeSubjects(),
		mqSubjects(),
		socketSubjects(),
		crossSubjects(),
	)
}
