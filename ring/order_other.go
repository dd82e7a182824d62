//go:build !amd64 || race

package ring

import "sync/atomic"

// storeRelease64 publishes: what was written before is visible to whoever loads v.
// On arm64 this is STLR, a release store; elsewhere whatever the architecture needs.
func storeRelease64(p *uint64, v uint64) { atomic.StoreUint64(p, v) }

// storeRelease32 likewise.
func storeRelease32(p *uint32, v uint32) { atomic.StoreUint32(p, v) }
