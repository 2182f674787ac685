package sockets

import (
	"net"
	"net/netip"
	"slices"
	"testing"
)

const (
	udp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  127: 0101A8C0:0045 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12345 2 0000000000000000 0
  128: 0100007F:1234 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 12346 2 0000000000000000 0
garbage
`
	tcp6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1 0000000000000000 100 0 0 10 0
   1: 0000000000000000FFFF00000101A8C0:0016 0000000000000000FFFF00000201A8C0:C350 01 00000000:00000000 00:00000000 00000000     0        0 778 1 0000000000000000 100 0 0 10 0
`
)

func TestParse(t *testing.T) {
	at := netip.MustParseAddrPort
	want := []Socket{
		{"udp", at("192.168.1.1:69"), at("0.0.0.0:0"), Unconnected, "12345"},
		{"udp", at("127.0.0.1:4660"), at("127.0.0.1:53"), Established, "12346"},
		{"tcp", at("[::]:22"), at("[::]:0"), Listen, "777"},
		{"tcp", at("192.168.1.1:22"), at("192.168.1.2:50000"), Established, "778"},
	}
	if got := slices.Concat(Parse([]byte(udp), "udp"), Parse([]byte(tcp6), "tcp")); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// This machine's own tables show a socket of this test.
func TestRead(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	all, err := Read("/proc")
	if err != nil {
		t.Fatal(err)
	}
	own := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	if !slices.ContainsFunc(all, func(s Socket) bool { return s.Protocol == "udp" && s.Local == own && s.State == Unconnected }) {
		t.Errorf("%v is not among %+v", own, all)
	}
}
