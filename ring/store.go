package ring

// StoreRelease32 stores v such that what was written before is visible to whoever
// loads v. Unlike atomic.StoreUint32 it is no full fence on amd64.
func StoreRelease32(p *uint32, v uint32) { storeRelease32(p, v) }
