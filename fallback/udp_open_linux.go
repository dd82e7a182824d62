package fallback

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// openUDP opens the socket. to is where to send if it is not connected. (Package net is not
// asked: it would bind to all addresses instead of a multicast group's, and permit broadcast.)
func openUDP(local, remote string, config *udpConfig) (sock *packetSocket, to *netip.AddrPort, err error) {
	near, err := resolveUDP(local)
	if err != nil {
		return nil, nil, err
	}
	far, err := resolveUDP(remote)
	if err != nil {
		return nil, nil, err
	}
	// The remote address is many hosts', and what they send comes from addresses of their own.
	many := remote != "" && (far.Addr().IsMulticast() || config.broadcast)
	connect := remote != "" && (!many || local == "")
	six := near.Addr().Is6() || !near.Addr().IsValid() && (far.Addr().Is6() || remote == "")
	fd, err := socketUDP(six)
	if errors.Is(err, unix.EAFNOSUPPORT) && !near.Addr().IsValid() && remote == "" {
		six = false // a system without IPv6
		fd, err = socketUDP(six)
	}
	if err != nil {
		return nil, nil, err
	}
	sock = newPacketSocket(fd)
	opened := sock
	defer func() {
		if err != nil {
			_ = opened.Close()
		}
	}()
	if err = setUDPOptions(fd, six, many || near.Addr().IsMulticast(), config); err != nil {
		return nil, nil, err
	}
	if !connect || local != "" {
		if err = unix.Bind(fd, toSockaddr(near, six)); err != nil {
			return nil, nil, os.NewSyscallError("bind", err)
		}
	}
	for _, group := range []netip.Addr{near.Addr(), far.Addr()} {
		if group.IsMulticast() && !connect {
			if err = joinUDP(sock, group, config.device, true); err != nil && !errors.Is(err, unix.EADDRINUSE) {
				return nil, nil, err
			}
			err = nil
		}
	}
	switch {
	case connect:
		err = os.NewSyscallError("connect", unix.Connect(fd, toSockaddr(far, six)))
		return sock, nil, err
	case remote != "":
		return sock, &far, nil
	}
	return sock, nil, nil
}

func socketUDP(six bool) (fd int, err error) {
	if !six {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return fd, os.NewSyscallError("socket", err)
	}
	fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil { // IPv4 as well
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0))
		if err != nil {
			unix.Close(fd)
		}
		return fd, err
	}
	return -1, os.NewSyscallError("socket", err)
}

// resolveUDP is "host:port" as an address; "" is none, ":port" one without a host. A zone
// becomes a number.
func resolveUDP(s string) (netip.AddrPort, error) {
	if s == "" {
		return netip.AddrPort{}, nil
	}
	u, err := net.ResolveUDPAddr("udp", s)
	if err != nil {
		return netip.AddrPort{}, err
	}
	a := u.AddrPort()
	addr := a.Addr().Unmap()
	if zone := addr.Zone(); zone != "" {
		if _, err := strconv.ParseUint(zone, 10, 32); err != nil {
			device, err := net.InterfaceByName(zone)
			if err != nil {
				return netip.AddrPort{}, fmt.Errorf("interface %q: %w", zone, err)
			}
			addr = addr.WithZone(strconv.Itoa(device.Index))
		}
	}
	return netip.AddrPortFrom(addr, a.Port()), nil
}

func toSockaddr(a netip.AddrPort, six bool) unix.Sockaddr {
	switch {
	case six && a.Addr().IsValid():
		scope, _ := strconv.ParseUint(a.Addr().Zone(), 10, 32)
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: uint32(scope)}
	case six:
		return &unix.SockaddrInet6{Port: int(a.Port())}
	case a.Addr().IsValid():
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet4{Port: int(a.Port())}
}

// fromSockaddr is the zero value for what is no Internet address.
func fromSockaddr(s unix.Sockaddr) (a netip.AddrPort, six bool) {
	switch s := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port)), false
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(s.Addr).Unmap()
		if s.ZoneId != 0 {
			addr = addr.WithZone(strconv.FormatUint(uint64(s.ZoneId), 10))
		}
		return netip.AddrPortFrom(addr, uint16(s.Port)), true
	}
	return netip.AddrPort{}, false
}

// setUDPOptions sets what must be set before bind and connect.
func setUDPOptions(fd int, six, many bool, config *udpConfig) (err error) {
	set := func(level, option, value int) {
		if err == nil {
			err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, option, value))
		}
	}
	if config.broadcast {
		set(unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
	}
	if many {
		set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) // each of them gets a copy
		// Not what others on this machine have joined. (IPv6: Linux 4.20.)
		if six {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
		} else {
			set(unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
		}
	}
	if config.ttl >= 0 {
		if six {
			set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, config.ttl)
			set(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, config.ttl)
		} else {
			set(unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, config.ttl)
			if config.ttl > 0 { // which unicast does not have
				set(unix.IPPROTO_IP, unix.IP_TTL, config.ttl)
			}
		}
	}
	if config.loopback != nil {
		on := 0
		if *config.loopback {
			on = 1
		}
		if six {
			set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, on)
		} else {
			set(unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, on)
		}
	}
	if err == nil && config.device != "" {
		var device *net.Interface
		if device, err = net.InterfaceByName(config.device); err != nil {
			return fmt.Errorf("interface %q: %w", config.device, err)
		}
		if six {
			set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, device.Index)
		} else {
			err = os.NewSyscallError("setsockopt", unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF,
				&unix.IPMreqn{Ifindex: int32(device.Index)}))
		}
	}
	return err
}

// joinUDP joins or leaves a multicast group.
func joinUDP(c syscall.Conn, group netip.Addr, deviceName string, join bool) error {
	index := 0
	if deviceName != "" {
		device, err := net.InterfaceByName(deviceName)
		if err != nil {
			return fmt.Errorf("interface %q: %w", deviceName, err)
		}
		index = device.Index
	}
	return controlSocket(c, func(fd int) error {
		if group.Is4() {
			option := unix.IP_DROP_MEMBERSHIP
			if join {
				option = unix.IP_ADD_MEMBERSHIP
			}
			err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, option,
				&unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(index)})
			return os.NewSyscallError("setsockopt", err)
		}
		option := unix.IPV6_LEAVE_GROUP
		if join {
			option = unix.IPV6_JOIN_GROUP
		}
		err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, option,
			&unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(index)})
		return os.NewSyscallError("setsockopt", err)
	})
}
