//go:build !race

package fallback

const memRaceBuild = false
