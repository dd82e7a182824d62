package fallback

// A UDPOption chooses how a Conn over UDP works.
type UDPOption func(*udpConfig)

type udpConfig struct {
	most          int
	send, receive int // buffers
	broadcast     bool
	device        string // "": the system chooses
	ttl           int    // -1: as it is
	loopback      *bool
}

func udpConfigOf(opts []UDPOption) udpConfig {
	c := udpConfig{most: UDPMaxPayload - udpTrailer, ttl: -1}
	for _, o := range opts {
		o(&c)
	}
	return c
}

// UDPMaxPayload is the longest datagram of UDP over IPv4, in bytes: 65,535 less the
// headers. Of it this package takes 24.
const UDPMaxPayload = 65507

// UDPMaxMessage is the longest message in bytes, at most (and without this option)
// UDPMaxPayload-24. Longer ones are refused (ErrTooLarge), and those that come are
// dropped. Whoever wants no datagram cut into fragments, of which
// each can be lost, says 1448 on an Ethernet (an MTU of 1500, less 28 of headers, less
// 24), 1428 over IPv6.
func UDPMaxMessage(bytes int) UDPOption { return func(c *udpConfig) { c.most = bytes } }

// UDPBuffers are SO_SNDBUF and SO_RCVBUF in bytes, see Buffers; 0 leaves one as it is.
// What comes while the receive buffer is full is lost, and UDPStats.Overflow counts it.
func UDPBuffers(send, receive int) UDPOption {
	return func(c *udpConfig) { c.send, c.receive = send, receive }
}

// UDPBroadcast permits a broadcast address as the remote one (SO_BROADCAST, socket(7)).
func UDPBroadcast() UDPOption { return func(c *udpConfig) { c.broadcast = true } }

// UDPInterface is the network interface by its name ("lo", "eth0"), on which multicast is
// sent and groups are joined. Without it the routes choose.
func UDPInterface(name string) UDPOption { return func(c *udpConfig) { c.device = name } }

// UDPTTL is how many routers a datagram may pass, 0 to 255: of multicast by default 1,
// this network only; 0 is this machine only.
func UDPTTL(hops int) UDPOption { return func(c *udpConfig) { c.ttl = hops } }

// UDPLoopback says whether multicast that is sent here is also received on this machine, by
// whoever has joined (by default it is; and always on the interface lo, which brings back
// all). A Conn never receives its own messages.
func UDPLoopback(on bool) UDPOption { return func(c *udpConfig) { c.loopback = &on } }
