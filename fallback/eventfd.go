package fallback

import "math"

// EventfdMax is the largest value that the counter of an Eventfd takes, eventfd(2).
const EventfdMax = math.MaxUint64 - 1
