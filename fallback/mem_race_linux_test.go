//go:build race

package fallback

const memRaceBuild = true
